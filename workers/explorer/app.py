"""The explorer as an ASGI application: JSON for the page, streams of server-sent events, and the page itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import msgspec
import redis
from kafka.errors import KafkaError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from models.errors import ModelError
from schemas.events import MAX_ID_LENGTH
from schemas.experiments import BadExperiment
from schemas.keys import PROFILE_NAME
from workers.errors import Repairable
from workers.explorer import items, letters, questions, versions
from workers.explorer.answers import (
    BadRequest,
    Kept,
    NotFound,
    as_binary,
    as_json,
    drawn,
    identifier,
    number,
    refused,
)
from workers.explorer.bundles import NotHere
from workers.explorer.guard import LIVE, REPORT_POLICY, Guard, Token
from workers.explorer.latent_map import LatentMap
from workers.explorer.live import Live
from workers.explorer.log_in import log_in_routes
from workers.explorer.pages import STATIC, VIEWS
from workers.explorer.scrapes import Scrapes
from workers.explorer.system import System
from workers.explorer.users import Users

# So many threads read Redis, Kafka and files for requests at the same time; others wait.
_AT_ONCE: Final = 8
# Readers of a topic, which take seconds: nobody waits for them who asks something else.
_TOPICS_AT_ONCE: Final = 2
_MOST_STREAMS: Final = 200
_STREAM_LOOK_S: Final = 0.05
_KEEP_ALIVE_S: Final = 15.0
_LETTERS_KEPT_S: Final = 3.0
_MODELS_KEPT_S: Final = 3.0
_EXPERIMENT_KEPT_S: Final = 5.0

_Value = TypeVar("_Value")


class Explorer:
    """The routes, and the threads that read for all pages."""

    def __init__(self, system: System, token: Token | None) -> None:
        self._system = system
        self._token = token
        self._live = Live(system)
        self._users = Users(system)
        self._map = LatentMap(system)
        self._scrapes = Scrapes(system.settings.explorer.workers)
        self._backgrounds = (self._live, self._users, self._map, self._scrapes)
        self._originals = items.Originals(system)
        self._kept = Kept()
        self._streams = 0
        # Streams end by themselves once it is set.
        self.closing = False

    def application(self) -> ASGIApp:
        """Return the whole application, guarded."""
        get = {
            LIVE: self._alive,
            "/api/live": self._stream_live,
            "/api/workers": self._workers,
            "/api/user": self._user,
            "/api/user/stream": self._stream_user,
            "/api/user/why": self._why,
            "/api/user/changes": self._changes,
            "/api/item": self._item,
            "/api/item/near": self._near,
            "/api/item/reconstruction": self._reconstruction,
            "/api/item/original": self._original,
            "/api/map": self._map_state,
            "/api/map/points": self._map_points,
            "/api/map/colours": self._map_colours,
            "/api/map/item": self._map_item,
            "/api/map/search": self._map_search,
            "/api/dead-letters": self._letters,
            "/api/models": self._models,
            "/api/experiment": self._experiment,
            "/report": self._report,
        }
        routes: list[BaseRoute] = [Route(path, endpoint) for path, endpoint in get.items()]
        routes += [Route(view, _shell) for view in VIEWS]
        routes += log_in_routes(self._token)
        routes += [Mount("/static", StaticFiles(directory=STATIC))]
        handlers: dict[Any, Any] = {BadRequest: refused(400), NotFound: refused(404), NotHere: refused(404)}
        troubles = (Repairable, ModelError, BadExperiment, redis.RedisError, KafkaError, OSError)
        handlers |= dict.fromkeys((*troubles, ValueError, msgspec.MsgspecError), refused(503))
        app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        explorer = self._system.settings.explorer
        return Guard(app, [*explorer.names, explorer.host], self._token)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        self._limit = anyio.CapacityLimiter(_AT_ONCE)
        self._patient = anyio.CapacityLimiter(_AT_ONCE)
        self._topics = anyio.CapacityLimiter(_TOPICS_AT_ONCE)
        for background in self._backgrounds:
            background.start()
        yield
        for background in self._backgrounds:
            await anyio.to_thread.run_sync(background.close)

    async def _run(self, function: Callable[..., _Value], *arguments: Any) -> _Value:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limit)

    async def _answer(self, function: Callable[..., Any], *arguments: Any) -> Response:
        return as_json(await self._run(function, *arguments))

    async def _waited_for(self, function: Callable[..., Any], *arguments: Any) -> Response:
        """Answer what a recommender may take seconds for, without keeping the others from being answered."""
        return as_json(await anyio.to_thread.run_sync(function, *arguments, limiter=self._patient))

    async def _read_from_topic(self, function: Callable[..., Any], *arguments: Any) -> Response:
        return as_json(await anyio.to_thread.run_sync(function, *arguments, limiter=self._topics))

    # Live

    async def _alive(self, request: Request) -> Response:  # noqa: ARG002
        for background in self._backgrounds:
            background.check()
        return PlainTextResponse("live\n")

    async def _workers(self, request: Request) -> Response:  # noqa: ARG002
        return as_json(self._scrapes.workers())

    async def _stream_live(self, request: Request) -> Response:  # noqa: ARG002
        seen = 0

        def news() -> list[bytes]:
            nonlocal seen
            seen, samples = self._live.since(seen)
            return samples

        return self._stream(news)

    async def _stream_user(self, request: Request) -> Response:
        user_id, seen = identifier(request), 0

        def news() -> list[bytes]:
            nonlocal seen
            changed = self._users.changed(user_id, seen)
            if changed is None:
                return []
            seen = changed[0]
            return [changed[1]]

        return self._stream(news)

    def _stream(self, news: Callable[[], list[bytes]]) -> Response:
        if self._streams >= _MOST_STREAMS:
            return as_json({"problem": f"{_MOST_STREAMS} pages are open already"}, 503)

        async def events() -> AsyncIterator[bytes]:
            self._streams += 1
            try:
                spoke_at = time.monotonic()
                while not self.closing:
                    found = news()
                    if found:
                        yield b"".join(b"data: " + data + b"\n\n" for data in found)
                        spoke_at = time.monotonic()
                    elif time.monotonic() - spoke_at > _KEEP_ALIVE_S:
                        yield b": nothing new\n\n"
                        spoke_at = time.monotonic()
                    await asyncio.sleep(_STREAM_LOOK_S)
            finally:
                self._streams -= 1

        return StreamingResponse(events(), media_type="text/event-stream")

    # Users

    async def _user(self, request: Request) -> Response:
        return await self._answer(self._users.read, identifier(request))

    async def _why(self, request: Request) -> Response:
        profile = request.query_params.get("profile")
        if profile is not None and not PROFILE_NAME.fullmatch(profile):
            raise BadRequest("that cannot be the name of a profile")
        return await self._waited_for(questions.why, self._system, identifier(request), profile)

    async def _changes(self, request: Request) -> Response:
        user_id, last = identifier(request), number(request, "last", 1, 50)

        def changes() -> questions.Changed:
            return questions.last_changed(self._system, self._users.history(user_id), last)

        return await self._waited_for(changes)

    # Items

    async def _item(self, request: Request) -> Response:
        return as_json(await self._stored(request))

    async def _stored(self, request: Request) -> items.Item:
        item_id = identifier(request)
        try:
            found = await self._run(items.stored, self._system, item_id)
        except ValueError as error:
            raise NotFound(f"what is stored of it cannot be read: {error}") from error
        if found is None:
            raise NotFound(
                "it is not stored: it was not published, was deleted, is not encoded yet, or could not be "
                "(see the dead letters)"
            )
        return found

    async def _near(self, request: Request) -> Response:
        return await self._waited_for(questions.near, self._system, identifier(request))

    async def _reconstruction(self, request: Request) -> Response:
        return await self._waited_for(questions.reconstruction, self._system, identifier(request))

    async def _original(self, request: Request) -> Response:
        return await self._read_from_topic(self._originals.find, await self._stored(request))

    # The map

    async def _map_state(self, request: Request) -> Response:  # noqa: ARG002
        return await self._answer(self._map.state)

    async def _map_points(self, request: Request) -> Response:
        return as_binary(await self._run(self._map.points, drawn(request)))

    async def _map_colours(self, request: Request) -> Response:
        by = request.query_params.get("by", "")
        return as_binary(await self._run(self._map.colours, drawn(request), by))

    async def _map_item(self, request: Request) -> Response:
        return await self._answer(self._map.item, drawn(request), number(request, "point", 0, 1 << 31))

    async def _map_search(self, request: Request) -> Response:
        text = request.query_params.get("text", "")
        if not 1 <= len(text) <= MAX_ID_LENGTH:
            raise BadRequest(f"`text` must have 1 to {MAX_ID_LENGTH} characters")
        return await self._answer(self._map.search, drawn(request), text)

    # What is listed

    async def _letters(self, request: Request) -> Response:  # noqa: ARG002
        make = partial(letters.read_letters, self._system.settings)
        return await self._read_from_topic(self._kept.get, "letters", _LETTERS_KEPT_S, make)

    async def _models(self, request: Request) -> Response:  # noqa: ARG002
        make = partial(versions.read_models, self._system)
        return await self._answer(self._kept.get, "models", _MODELS_KEPT_S, make)

    async def _experiment(self, request: Request) -> Response:  # noqa: ARG002
        make = partial(versions.read_running_experiment, self._system)
        return await self._answer(self._kept.get, "experiment", _EXPERIMENT_KEPT_S, make)

    async def _report(self, request: Request) -> Response:
        version = request.query_params.get("version", "")
        page = await self._run(versions.read_report, self._system.settings, version)
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


async def _shell(request: Request) -> Response:  # noqa: ARG001
    return FileResponse(STATIC / "index.html")
