"""The latent map: every item with a code as a point, laid out once for each model version and kept in memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
import redis
import structlog
from numpy.typing import NDArray

from models.codecs import Codec
from models.errors import ModelError
from schemas.keys import ItemKeys
from schemas.records import HEADER_BYTES, CodeRecord, unpack_codes, version_tag
from workers.background import Background
from workers.errors import Repairable
from workers.explorer.bundles import NotHere, codec
from workers.explorer.colours import Colours, Scale
from workers.explorer.projection import principal_plane, projected
from workers.explorer.system import System
from workers.lookup import serving_version
from workers.refusals import denial

log = structlog.get_logger()

# Beyond that a browser has too much to draw. A random choice of more is shown.
MOST_POINTS: Final = 1_000_000
FOUND: Final = 50
_BUCKETS_AT_A_TIME: Final = 64
_LOOK_S: Final = 2.0
# It is laid out anew when so much has come or gone, and in a small share of the time.
_CHANGED_SHARE: Final = 0.01
_REST: Final = 20


class MapChanged(NotHere):
    """The map that a page shows has been laid out anew."""


class State(msgspec.Struct, frozen=True):
    """What a page needs to know before it asks for points. ``map`` is empty until there is one."""

    map: str
    model: str
    points: int
    made_at: float
    reading: float
    view: tuple[float, float, float] = (0.0, 0.0, 1.0)
    colours: list[Scale] = []
    problem: str = ""


class Found(msgspec.Struct, frozen=True):
    """A point that a search has found, or that was clicked."""

    point: int
    item_id: str
    title: str | None
    x: float
    y: float


class _Drawn(NamedTuple):
    state: State
    ids: list[str]
    titles: list[str | None]
    places: NDArray[np.float32]  # [n, 2]
    colours: Colours
    counted: int
    took_s: float


class LatentMap(Background):
    """Reads all codes in the background, with pauses as long as the readings."""

    def __init__(self, system: System) -> None:
        super().__init__("map")
        self._system = system
        self._drawn: _Drawn | None = None
        self._version = ""
        self._reading = 0.0
        self._problem = ""

    def state(self) -> State:
        """Return how the map stands."""
        drawn = self._drawn
        if drawn is None:
            return State("", self._version, 0, 0.0, self._reading, problem=self._problem)
        return msgspec.structs.replace(drawn.state, reading=self._reading, problem=self._problem)

    def points(self, name: str) -> bytes:
        """Return the places of all points, float32 ``[n, 2]``, little-endian."""
        return self._own(name).places.astype("<f4").tobytes()

    def colours(self, name: str, by: str) -> bytes:
        """Return the place of each point on the scale ``by``, uint8 ``[n]``.

        Raises:
            MapChanged: there is no such scale any more.
        """
        try:
            return self._own(name).colours.levels(by).tobytes()
        except KeyError:
            raise MapChanged(f"nothing is coloured by {by!r}") from None

    def item(self, name: str, point: int) -> Found:
        """Return which item a point is."""
        drawn = self._own(name)
        if point >= len(drawn.ids):
            raise MapChanged("there is no such point")
        return _found(drawn, point)

    def search(self, name: str, text: str) -> list[Found]:
        """Return points whose id or title contains ``text``, the same id first."""
        drawn, wanted = self._own(name), text.casefold()
        hits: list[int] = []
        for point, (item_id, title) in enumerate(zip(drawn.ids, drawn.titles, strict=True)):
            if wanted == item_id.casefold():
                hits.insert(0, point)
            elif len(hits) < FOUND and (wanted in item_id.casefold() or (title and wanted in title.casefold())):
                hits.append(point)
        return [_found(drawn, point) for point in hits[:FOUND]]

    def loop(self) -> None:
        """Lay the map out whenever it is due."""
        while not self.stopping.is_set():
            try:
                self._look()
            except redis.RedisError as error:
                log.warning("map_retrying", error=type(error).__name__, reason=str(error))
                self._problem = f"Redis: {denial(error) or error}"
            except (Repairable, ModelError) as error:
                self._problem = str(error)
            except (ValueError, KeyError, msgspec.MsgspecError) as error:
                self._problem = f"what is stored cannot be read: {error}"
            self._reading = 0.0
            self.stopping.wait(_LOOK_S)

    def _look(self) -> None:
        system = self._system
        version = serving_version(system.redis, system.keys)
        if version is None:
            self._problem = "there is no model yet"
            return
        partitions = [system.keys.items(version, number) for number in range(system.item_partitions)]
        pipeline = system.redis.pipeline(transaction=False)
        for keys in partitions:
            pipeline.hmget(keys.position, "ids", "buckets")
        rows = [(int(ids or 0), int(buckets or 1)) for ids, buckets in pipeline.execute()]
        count = sum(ids for ids, _ in rows)
        drawn = self._drawn
        if drawn is not None and drawn.state.model == version:
            young = time.time() - drawn.state.made_at < _REST * drawn.took_s
            if abs(count - drawn.counted) <= _CHANGED_SHARE * count or young:
                self._problem = ""
                return
        self._version = version
        own_codec = codec(system.settings, version)
        if own_codec is None:
            raise NotHere(f"the model {version} has no content part, so that its items have no codes to draw")
        buckets = {keys: number for keys, (_, number) in zip(partitions, rows, strict=True)}
        # What was wrong is no more, or is found again.
        self._problem = ""
        made = self._draw(version, own_codec, buckets, count)
        if made is not None:
            self._drawn = made

    def _draw(self, version: str, own_codec: Codec, buckets: dict[ItemKeys, int], count: int) -> _Drawn | None:
        began = time.monotonic()
        ids: list[str] = []
        packed: list[NDArray[np.uint8]] = []
        colours = Colours()
        tag, rng = version_tag(version), np.random.default_rng(0)
        keep = min(1.0, MOST_POINTS / count) if count else 1.0
        for names, records, attributes in self._stored(buckets):
            rows = unpack_codes(records, tag, own_codec.code_bytes)
            chosen = np.flatnonzero(rows.coded & (rng.random(len(names)) < keep))
            packed.append(rows.packed[chosen])
            places = chosen.tolist()
            ids += [names[place] for place in places]
            colours.add(
                [attributes[place] for place in places],
                [CodeRecord.unpack(records[place][:HEADER_BYTES], tag) for place in places],
            )
        if self.stopping.is_set():
            return None
        # In any order of ids, so that what is drawn first does not hide what is like it.
        order = rng.permutation(len(ids))
        codes = np.concatenate(packed)[order, HEADER_BYTES:] if ids else np.empty((0, own_codec.code_bytes), np.uint8)
        places_of = projected(own_codec, codes, principal_plane(own_codec, codes, rng))
        colours.finish(order)
        state = State(secrets.token_hex(8), version, len(ids), time.time(), 0.0, _view(places_of), colours.scales())
        listed = order.tolist()
        return _Drawn(
            state,
            [ids[at] for at in listed],
            colours.titles(listed),
            places_of,
            colours,
            count,
            time.monotonic() - began,
        )

    def _stored(self, buckets: dict[ItemKeys, int]) -> Iterator[tuple[list[str], list[bytes], list[bytes]]]:
        """Yield ids, code records and attributes, some buckets at a time."""
        total, done = sum(buckets.values()), 0
        for keys, number in buckets.items():
            for start in range(0, number, _BUCKETS_AT_A_TIME):
                if self.stopping.is_set():
                    return
                began = time.monotonic()
                some = range(start, min(start + _BUCKETS_AT_A_TIME, number))
                pipeline = self._system.redis.pipeline(transaction=False)
                for bucket in some:
                    pipeline.hgetall(keys.codes(bucket))
                    pipeline.hgetall(keys.attributes(bucket))
                replies = cast(list[dict[bytes, bytes]], pipeline.execute())
                read_s = time.monotonic() - began
                for codes, attributes in zip(replies[::2], replies[1::2], strict=True):
                    names = [name.decode() for name in codes]
                    yield names, list(codes.values()), [attributes.get(name, b"") for name in codes]
                done += len(some)
                self._reading = done / total
                self.stopping.wait(read_s)

    def _own(self, name: str) -> _Drawn:
        drawn = self._drawn
        if drawn is None or drawn.state.map != name:
            raise MapChanged("the map has been laid out anew: load the page again")
        return drawn


def _found(drawn: _Drawn, point: int) -> Found:
    x, y = drawn.places[point].tolist()
    return Found(point, drawn.ids[point], drawn.titles[point], x, y)


def _view(places: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return the middle of what nearly all points lie in, and half of its longer side."""
    if not len(places):
        return 0.0, 0.0, 1.0
    low, high = np.quantile(places, (0.005, 0.995), axis=0)
    x, y = ((low + high) / 2).tolist()
    return x, y, float(max((high - low).max() / 2, 1e-6))
