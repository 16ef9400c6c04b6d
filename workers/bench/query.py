"""``latentstream bench query``: on-demand queries, filtered and not, beside Redis' own vector set; reads of lists.

All sides have one Redis server (append-only file on, as it is run for real), the same vectors, the same queries and the
same load. The vectors are GloVe's, scaled to length 1 and rounded by the codec of one byte a dimension, as the
recommender sees them: recall is against an exact search over these. An item never counts as its own neighbour.

Our replies are JSON and have scores. The vector set is asked for names alone, which costs it less.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np

from models.arrays import Ints
from schemas.documents import MAX_QUEUED, QueryReply, SimilarQuery
from workers.bench.glove_catalogue import GROUP, GROUPS
from workers.bench.query_rows import (
    GOOD_RECALL,
    Answers,
    Contender,
    Filtered,
    PeerAnswers,
    Ratios,
    Read,
    Row,
    ratios,
)
from workers.bench.query_sides import LONG_K, NAME, K, Say, Sides, Watch, prepared
from workers.bench.resp_load import (
    REQUEST_NUMBER,
    LoadGenerator,
    Traffic,
    answered,
    command,
    is_answered_query,
    is_string,
)
from workers.bench.vector_set import EFS, VectorSet, items_of

CLIENTS: Final = (1, 16, 64)
# Each setting of the peer is measured with so many, and with the others only those that ours is compared with.
SWEEP_CLIENTS: Final = 16
REPETITIONS: Final = 5
_WAIT_S: Final = 30
_REPLY: Final = msgspec.json.Decoder(QueryReply)


class Reads(msgspec.Struct, frozen=True):
    """GETs of finished lists, and of strings as long under keys of their own."""

    lists: list[Read]
    plain: list[Read]


class _Tried(NamedTuple):
    """A vector set that is asked with one EF. Those of one set are in ascending order: the fastest is the first."""

    vectors: VectorSet
    ef: int
    recalls: dict[str, float]


class Result(msgspec.Struct, frozen=True):
    """All that was measured. ``redis_vector_set`` is empty where the server has none, and ``missing`` says why."""

    ours: list[Answers]
    redis_vector_set: list[PeerAnswers]
    missing: str
    filtered: list[Filtered]
    reads: Reads
    ratios: Ratios
    items: int
    dim: int
    queries: int
    repetitions: int
    seconds: float
    redis: str
    cores: int


def measure(items: int, seconds: float, say: Say, watch: Watch) -> Result:
    """Fill all sides with ``items`` and measure them: each repetition of each row takes ``seconds``.

    Raises:
        DatasetMissing, StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    with prepared(items, say, watch) as sides:
        return compared(sides, seconds, say)


def compared(sides: Sides, seconds: float, say: Say) -> Result:
    """Measure recall first, then all speeds in turn, again and again, so that noise hits all alike.

    Our recall is measured again at the end, and the lower one counts: an index may be built anew meanwhile.
    """
    say("Comparing answers with an exact search.")
    ours, filtered = _ours(sides), _filtered(sides)
    peers = _peers(sides)
    lists, plain = _reads(sides)
    everything = cast(list[Contender[Row]], [*ours, *peers, *filtered, *lists, *plain])
    with LoadGenerator(sides.port) as load:
        for repetition in range(1, REPETITIONS + 1):
            say(f"Repetition {repetition} of {REPETITIONS}: {len(everything)} rows of {seconds:g} s.")
            for contender in everything:
                contender.run(load, seconds)
            sides.workers.check()
    after = _own_recalls(sides)
    for one in ours:
        one.known = {name: min(recall, after[name]) for name, recall in one.known.items()}
    own_rows, peer_rows = [one.row() for one in ours], [one.row() for one in peers]
    filtered_rows = [one.row() for one in filtered]
    list_rows, plain_rows = [one.row() for one in lists], [one.row() for one in plain]
    server: Any = sides.client.info("server")
    return Result(
        ours=own_rows,
        redis_vector_set=peer_rows,
        missing=sides.missing,
        filtered=filtered_rows,
        reads=Reads(list_rows, plain_rows),
        ratios=ratios(own_rows, peer_rows, filtered_rows, list_rows, plain_rows),
        items=len(sides.catalogue),
        dim=sides.catalogue.vectors.shape[1],
        queries=len(sides.catalogue.asked),
        repetitions=REPETITIONS,
        seconds=seconds,
        redis=server["redis_version"],
        cores=len(os.sched_getaffinity(0)),
    )


def similar(sides: Sides, k: int, groups: Ints | None = None) -> Traffic:
    """Return what asks for the ``k`` items most alike each that is asked for; those of ``groups[i]`` where given."""
    requests = []
    for place, item in enumerate(sides.catalogue.asked.tolist()):
        condition = None if groups is None else {GROUP: int(groups[place])}
        query = SimilarQuery(REQUEST_NUMBER.decode(), str(item), k=k, filter=condition)
        queue = ("XADD", sides.keys.queries, "MAXLEN", "~", MAX_QUEUED, "*", "request", msgspec.json.encode(query))
        wait = ("BLPOP", sides.keys.reply(query.id), _WAIT_S)
        requests.append(command(*queue) + command(*wait))
    return Traffic(requests, is_answered_query, replies=2)


def _ours(sides: Sides) -> list[Contender[Answers]]:
    known = _own_recalls(sides)
    return [Contender(Answers, similar(sides, K), clients, known) for clients in CLIENTS]


def _own_recalls(sides: Sides) -> dict[str, float]:
    return _recalls(sides, [[_items(reply) for reply in answered(sides.port, similar(sides, k))] for k in (K, LONG_K)])


def _peers(sides: Sides) -> list[Contender[PeerAnswers]]:
    """Return each setting of the vector sets with ``SWEEP_CLIENTS``, and those that :func:`_chosen` gives with all."""
    asked = sides.catalogue.asked.tolist()
    tried = []
    for vectors in sides.vector_sets:
        for ef in EFS:
            replies = [answered(sides.port, vectors.nearest(asked, k, ef)) for k in (K, LONG_K)]
            recalls = _recalls(sides, [[items_of(reply) for reply in lists] for lists in replies])
            tried.append(_Tried(vectors, ef, recalls))
    chosen = _chosen(tried)
    return [
        Contender(
            PeerAnswers,
            one.vectors.nearest(asked, K, one.ef),
            clients,
            {"quantization": one.vectors.quantization, "m": one.vectors.m, "ef": one.ef, **one.recalls},
        )
        for place, one in enumerate(tried)
        for clients in CLIENTS
        if clients == SWEEP_CLIENTS or place in chosen
    ]


def _chosen(tried: Sequence[_Tried]) -> set[int]:
    """Return the places of the fastest settings of each set that find enough of the 10 nearest, and the most there is.

    The most of the 10, and of the 100 nearest.
    """
    goals = [("recall_at_10", GOOD_RECALL)]
    goals += [(key, max(one.recalls[key] for one in tried)) for key in ("recall_at_10", "recall_at_100") if tried]
    found: dict[tuple[VectorSet, str, float], int] = {}
    for place, one in enumerate(tried):
        for key, least in goals:
            if one.recalls[key] >= least:
                found.setdefault((one.vectors, key, least), place)
    return set(found.values())


def _filtered(sides: Sides) -> list[Contender[Filtered]]:
    """Return queries that all have one filter, and such that take as many filters as there are in turn."""
    contenders = []
    for filters in (1, GROUPS):
        groups = np.arange(len(sides.catalogue.asked)) % filters
        traffic = similar(sides, K, groups)
        cuts = sides.catalogue.cuts([K], groups)[:, 0]
        found = [_items(reply) for reply in answered(sides.port, traffic)]
        known = {"filters": filters, "recall_at_10": round(sides.catalogue.recall(found, cuts, K, groups), 4)}
        contenders += [Contender(Filtered, traffic, clients, known) for clients in CLIENTS]
    return contenders


def _reads(sides: Sides) -> tuple[list[Contender[Read]], list[Contender[Read]]]:
    """Return reads of finished lists, and of strings of the same lengths."""
    named = [sides.keys.recommendations(user) for user in sides.users]
    sizes = [len(value) for value in cast(list[bytes], sides.client.mget(named))]
    bare = [f"{NAME}:plain:{number}" for number in range(len(sizes))]
    for name, size in zip(bare, sizes, strict=True):
        sides.client.set(name, b"x" * size)
    known = {"bytes": sorted(sizes)[len(sizes) // 2]}
    lists, plain = (
        [
            Contender(Read, Traffic([command("GET", name) for name in names], is_string), clients, known)
            for clients in CLIENTS
        ]
        for names in (named, bare)
    )
    return lists, plain


def _recalls(sides: Sides, found: Sequence[Sequence[Sequence[int]]]) -> dict[str, float]:
    """Return the recall of lists that were asked for with ``K`` and with ``LONG_K``."""
    cuts = sides.cuts
    at_10, at_100 = (
        round(sides.catalogue.recall(lists, cuts[:, place], k), 4)
        for place, (lists, k) in enumerate(zip(found, (K, LONG_K), strict=True))
    )
    return {"recall_at_10": at_10, "recall_at_100": at_100}


def _items(reply: Sequence[bytes]) -> list[int]:
    """Return the items in what BLPOP gave."""
    return [int(name) for name in _REPLY.decode(reply[1]).items]
