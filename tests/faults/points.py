"""The steps of a worker at which something is done to it: between any two of them it may be killed.

Nothing of this is in the workers: in a process that is forked for a fault, the functions that end or begin a step are
replaced by ones that do the same and count.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import redis

from workers.delivery import PositionStore

Role = Literal["encoder", "recommender"]
ROLES: Final[tuple[Role, ...]] = ("encoder", "recommender")
# kill: `kill -9`. stop: SIGSTOP. term: SIGTERM, and the step goes on. cut: the connection to Redis breaks when a commit
# is on its way and its answer is not. fail: the step ends as where Redis does not answer.
Action = Literal["kill", "stop", "term", "cut", "fail"]


class Point(NamedTuple):
    """Before or after a call of ``module.owner.function``; ``counts`` says by arguments and result if it is meant."""

    module: str
    owner: str
    function: str
    when: Literal["before", "after"]
    counts: Callable[[tuple[Any, ...], Any], bool] = lambda arguments, result: True  # noqa: ARG005


def _returned(arguments: tuple[Any, ...], result: Any) -> bool:  # noqa: ARG001
    return bool(result)


def _given(arguments: tuple[Any, ...], result: Any) -> bool:  # noqa: ARG001
    return bool(arguments[1])


def _beside(arguments: tuple[Any, ...], result: Any) -> bool:  # noqa: ARG001
    return arguments[0]._running is not None


def _again(arguments: tuple[Any, ...], result: Any) -> bool:  # noqa: ARG001
    return arguments[1].partition in arguments[0]._states


def _named(arguments: tuple[Any, ...], result: Any) -> bool:  # noqa: ARG001
    return bool(arguments[2])


_CLAIMED = Point("workers.delivery", "PositionStore", "claim", "after")
_POLLED = Point("workers.source", "Source", "poll", "after", _returned)
_LETTERS = Point("workers.dead_letters", "DeadLetters", "publish", "after", _given)
_COMMIT = Point("workers.delivery", "PositionStore", "commit", "before")
_COMMITTED = Point("workers.delivery", "PositionStore", "commit", "after")
_TO_KAFKA = Point("workers.source", "Source", "_kafka_offsets", "after", _returned)
# The commit is with Redis or on its way there, and the worker has no answer.
SENT: Final = "commit sent"

POINTS: Final[dict[Role, dict[str, Point]]] = {
    "encoder": {
        "claimed": _CLAIMED,
        "polled": _POLLED,
        "decoded": Point("workers.encoder", "", "decode_records", "after", _returned),
        "encoded": Point("workers.encoder", "Encoder", "encode", "after"),
        "dead letters acknowledged": _LETTERS,
        "anomalies acknowledged": Point("workers.anomalies", "Anomalies", "publish", "after", _given),
        "commit ready": _COMMIT,
        SENT: _COMMIT,
        "committed": _COMMITTED,
        "offsets to Kafka": _TO_KAFKA,
    },
    "recommender": {
        "claimed": _CLAIMED,
        "polled": _POLLED,
        "decoded": Point("workers.recommender", "", "decode_records", "after", _returned),
        "folded": Point("workers.updates", "Update", "fold", "after"),
        "ranked": Point("workers.list_maker", "ListMaker", "rank", "after", _given),
        "dead letters acknowledged": _LETTERS,
        "lists written": Point("workers.delivery", "ListWriter", "write", "after", _given),
        "commit ready": _COMMIT,
        SENT: _COMMIT,
        "committed": _COMMITTED,
        "lists made anew": Point("workers.upkeep", "Upkeep", "_refresh", "after"),
        "offsets to Kafka": _TO_KAFKA,
    },
}

# Reached only where another model is promoted.
SWAP_POINTS: Final[dict[Role, dict[str, Point]]] = {
    "encoder": {
        "second encoder polled": Point("workers.limited_source", "LimitedSource", "poll", "after", _returned),
        "model is to change": Point("workers.encoder", "Encoder", "take_over", "before"),
        "model changed": Point("workers.encoder", "Encoder", "take_over", "after"),
    },
    "recommender": {
        "other model loaded": Point("workers.serving", "Preparation", "_make", "after", _beside),
        "models are to be exchanged": Point("workers.recommender", "Recommender", "take_over", "before"),
        "a partition is taken over": Point("workers.recommender", "Recommender", "_on_claimed", "before", _again),
        "models exchanged": Point("workers.recommender", "Recommender", "take_over", "after"),
        "old user codes dropped": Point("workers.upkeep", "Upkeep", "_drop_codes", "after", _named),
    },
}

# Those of them at which Redis may not answer, with the model half exchanged.
SWAP_FAILURES: Final[dict[Role, tuple[str, ...]]] = {
    "encoder": ("model changed",),
    "recommender": ("a partition is taken over", "models exchanged"),
}


def arm(role: Role, name: str, hit: int, action: Action) -> None:
    """Do ``action`` at the ``hit``-th time that the step ``name`` is reached; ``cut`` at every ``hit``-th time."""
    point = (POINTS[role] | SWAP_POINTS[role])[name]
    if name == SENT:
        _arm_sent(hit, action)
        return
    owner = _owner(point)
    original = getattr(owner, point.function)
    seen = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        result = original(*arguments, **options) if point.when == "after" else None
        if point.counts(arguments, result):
            seen += 1
            if seen == hit:
                _act(action)
        return result if point.when == "after" else original(*arguments, **options)

    setattr(owner, point.function, counted)


def _arm_sent(hit: int, action: Action) -> None:
    """Act when the script of a commit is written to its connection and the answer is not read yet."""
    commit: Any = PositionStore.commit
    parse: Any = redis.Redis.parse_response
    seen, committing = 0, False

    def watched(*arguments: Any) -> None:
        nonlocal committing
        committing = True
        try:
            commit(*arguments)
        finally:
            committing = False

    def answered(client: Any, connection: Any, command: str, **options: Any) -> Any:
        nonlocal seen
        if committing and command == "EVALSHA":
            seen += 1
            if action == "cut" and seen % hit == 0:
                connection._sock.shutdown(socket.SHUT_RDWR)
            elif action != "cut" and seen == hit:
                _act(action)
        return parse(client, connection, command, **options)

    setattr(PositionStore, "commit", watched)  # noqa: B010 - as any other step is replaced
    setattr(redis.Redis, "parse_response", answered)  # noqa: B010


def _owner(point: Point) -> Any:
    module = importlib.import_module(point.module)
    return getattr(module, point.owner) if point.owner else module


def _act(action: Action) -> None:
    if action == "fail":
        raise redis.ConnectionError("a fault")
    number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}[action]
    os.kill(os.getpid(), number)
