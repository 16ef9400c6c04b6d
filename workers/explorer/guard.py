"""Who may ask: requests for another host are refused, and with a token those that do not have it."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "latentstream_explorer"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
LIVE: Final = "/live"
LOGIN: Final = "/login"
# What the log-in page needs, and what is on it is in the package for anybody to read.
_OPEN: Final = frozenset({LOGIN, "/static/style.css", "/static/icon.svg"})
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A report is a page of its own with pictures and style in it. No script runs in it, and only our page frames it.
REPORT_POLICY: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Token:
    """The secret that opens the explorer. The cookie does not hold it, but what only it can make."""

    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret.get_secret_value().encode()
        self.cookie = hmac.digest(self._secret, b"latentstream explorer", "sha256").hex()

    def is_given(self, text: str) -> bool:
        """Return whether ``text`` is the token; it takes as long whatever it is."""
        return hmac.compare_digest(text.encode(), self._secret)

    def is_in(self, headers: Headers) -> bool:
        """Return whether a request has it: in its ``Authorization``, or by the cookie of a log-in."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.is_given(given.strip())
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(cookie.encode(), self.cookie.encode())


class Guard:
    """Stands before the whole application.

    ``/live`` alone is for anybody: it tells whoever restarts containers that all is at work, and nothing else.

    Args:
        app: what is guarded.
        names: hosts under which it may be asked for beside those of the loopback interface. A page elsewhere whose
            name is made to lead here (DNS rebinding) asks for another.
        token: None where everybody on this machine may look.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], token: Token | None) -> None:
        self._app = app
        self._hosts = LOOPBACK | {name.lower() for name in names}
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application do it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith("/static/"):
                    # Asked for again by its ETag, so that a new version is taken at once.
                    headers["Cache-Control"] = "no-cache"
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if path == LIVE:
            return None
        if host_name(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse(
                "This name is not one of the explorer's. LATENTSTREAM_EXPLORER__NAMES lists those that it has.\n", 421
            )
        if self._token is None or path in _OPEN or self._token.is_in(headers):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{LOGIN}?{urlencode({'next': f'{path}?{query}' if query else path})}", 303)
        return JSONResponse({"problem": "the token is missing or wrong"}, 401, {"WWW-Authenticate": "Bearer"})


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without port and brackets, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()
