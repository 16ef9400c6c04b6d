"""Who gets in, by which name, and what every answer says to the browser."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import pytest
from pydantic import SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from schemas.settings import ExplorerSettings, Settings
from workers.cli import settings_errors
from workers.explorer.guard import COOKIE, Guard, Token, host_name
from workers.explorer.log_in import own_page
from workers.explorer.serve import CannotServe, serve

TOKEN = "a token of some length"
HTML = {"accept": "text/html"}


async def _page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"seen {request.url.path}")


class Visitor:
    """Asks the guarded application, as a browser at ``host`` would."""

    def __init__(self, token: Token | None, host: str = "localhost:8080") -> None:
        inner = Starlette(routes=[Route("/{path:path}", _page)])
        self._transport = httpx.ASGITransport(Guard(inner, ["explorer.example"], token))
        self._base = f"http://{host}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url=self._base) as client:
                raw = {
                    name: value.encode() if isinstance(value, str) else value for name, value in (headers or {}).items()
                }
                return await client.get(path, headers=[(name.encode(), value) for name, value in raw.items()])

        return asyncio.run(ask())


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:1", "[::1]:80", "explorer.example", "EXPLORER.example."])
def test_own_names_are_answered(host: str) -> None:
    assert Visitor(None).get("/user", headers={"host": host}).text == "seen /user"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]", ""])
def test_another_name_is_refused_with_and_without_the_token(host: str) -> None:
    asked = {"host": host, "authorization": f"Bearer {TOKEN}"}
    for token in (None, Token(SecretStr(TOKEN))):
        assert Visitor(token).get("/api/user", headers=asked).status_code == 421


def test_with_a_token_nothing_is_answered_without_it() -> None:
    visitor = Visitor(Token(SecretStr(TOKEN)))
    for path in ("/api/user", "/static/main.js", "/report", "/"):
        refused = visitor.get(path)
        assert refused.status_code == 401
        assert "seen" not in refused.text
    for wrong in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
        assert visitor.get("/api/user", {"authorization": wrong}).status_code == 401
    assert visitor.get("/live").text == "seen /live"


def test_the_token_and_the_cookie_open_it() -> None:
    token = Token(SecretStr(TOKEN))
    assert Visitor(token).get("/api/user", headers={"authorization": f"Bearer {TOKEN}"}).text == "seen /api/user"
    assert Visitor(token).get("/api/user", headers={"cookie": f"{COOKIE}={token.cookie}"}).text == "seen /api/user"
    assert TOKEN not in token.cookie
    for wrong in (TOKEN, Token(SecretStr(f"{TOKEN}.")).cookie, ""):
        assert Visitor(token).get("/api/user", headers={"cookie": f"{COOKIE}={wrong}"}).status_code == 401


def test_a_page_leads_to_the_log_in_and_back() -> None:
    led = Visitor(Token(SecretStr(TOKEN))).get("/user?id=a%26b", headers=HTML)
    assert led.status_code == 303
    assert led.headers["location"] == "/login?next=%2Fuser%3Fid%3Da%2526b"


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/user?id=a%26b", "/user?id=a%26b"),
        ("/map", "/map"),
        ("//evil.example/user", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/report?version=x", "/"),
        (None, "/"),
    ],
)
def test_a_log_in_leads_to_own_views_only(address: str | None, page: str) -> None:
    assert own_page(address) == page


def test_every_answer_has_the_headers() -> None:
    visitors = (Visitor(None), Visitor(Token(SecretStr(TOKEN))), Visitor(None, "evil.example"))
    for answer in (visitor.get("/") for visitor in visitors):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


def test_host_name() -> None:
    assert [host_name(host) for host in ("A.b:1", "[::1]:2", "::1", "a")] == ["a.b", "::1", "", "a"]


def test_without_a_token_it_is_for_this_machine_only() -> None:
    for host in ("::", "192.0.2.1", "explorer.example"):
        with pytest.raises(CannotServe, match="LATENTSTREAM_EXPLORER__TOKEN"):
            serve(Settings(explorer=ExplorerSettings(host=host)), print)


def test_a_short_token_is_refused_and_never_shown() -> None:
    with pytest.raises(ValidationError) as refused:
        ExplorerSettings.model_validate({"token": "hunter2"})
    assert (
        settings_errors(refused.value)
        == "LATENTSTREAM_TOKEN: Value should have at least 16 items after validation, not 7"
    )
    assert "hunter2hunter2hunter2" not in repr(ExplorerSettings.model_validate({"token": "hunter2hunter2hunter2"}))
