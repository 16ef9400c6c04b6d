"""Logging in: the token is given once, and a cookie stands for it from then on."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from workers.explorer.answers import BadRequest
from workers.explorer.guard import COOKIE, LOGIN, Token
from workers.explorer.pages import STATIC, VIEWS

_LARGEST_FORM: Final = 4096
_PAGE: Final = (STATIC / "login.html").read_text()
_REFUSED_PAGE: Final = _PAGE.replace(' role="alert" hidden', ' role="alert"')


def log_in_routes(token: Token | None) -> list[Route]:
    """Return the page that asks for ``token``, and what takes it."""

    async def page(request: Request) -> Response:
        if token is None:
            return RedirectResponse(own_page(request.query_params.get("next")), 303)
        return HTMLResponse(_PAGE)

    async def take(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_FORM:
                raise BadRequest("that is too long for a token")
        given = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        if token is None or not token.is_given(given):
            return HTMLResponse(_REFUSED_PAGE, 401)
        answer = RedirectResponse(own_page(request.query_params.get("next")), 303)
        # What ends TLS before us is known by the page that the token was typed into.
        secure = request.headers.get("origin", "").startswith("https:")
        answer.set_cookie(COOKIE, token.cookie, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    return [Route(LOGIN, page), Route(LOGIN, take, methods=["POST"])]


def own_page(address: str | None) -> str:
    """Return ``address`` where it is one of our views, else the first view: nobody is led elsewhere by a log-in."""
    parts = urlsplit(address or "")
    if parts.scheme or parts.netloc or parts.path not in VIEWS:
        return VIEWS[0]
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
