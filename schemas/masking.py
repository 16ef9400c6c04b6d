"""Addresses as they may be shown: without the passwords in them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

MASK: Final = "***"
_ADDRESS: Final = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]+")
_SECRETS: Final = ("password", "secret", "token", "credential", "key", "sig")


def masked_url(url: str) -> str:
    """Return ``url`` without user name and password, or only a mask where it is no sound URL.

    A password with an unescaped ``/``, ``?`` or ``#`` is cut in two by every URL parser, so an ``@`` behind
    the host is taken for such a one.
    """
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return MASK
    behind = parts.path + parts.query + parts.fragment
    if "://" not in url or "@" in behind or "@" in parts.netloc.rpartition("@")[0]:
        return MASK
    userinfo, at, host = parts.netloc.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    # A user name alone may be a token.
    shown = f"{user}:{MASK}@" if colon else f"{MASK}@" if at else ""
    query = "&".join(f"{name}={MASK if _is_secret(name) else value}" for name, value in parse_qsl(parts.query))
    return f"{parts.scheme}://{shown}{host}{parts.path}{'?' if query else ''}{query}"


def masked_text(text: str, url: str) -> str:
    """Return ``text``, which others wrote, with all addresses in it masked, and user and password of ``url``."""
    userinfo = url.partition("://")[2].rpartition("@")[0]
    password = userinfo.partition(":")[2]
    for secret in filter(None, (userinfo, password, unquote(password))):
        text = text.replace(secret, MASK)
    return _ADDRESS.sub(lambda address: masked_url(address[0]), text)


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRETS)
