"""Which model is the current one: a pointer in Redis, and the log of how it changed.

Workers look at the pointer every second, see :mod:`workers.model_watch`.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec
import redis

from schemas.keys import Keys
from workers.errors import Repairable
from workers.lookup import current_version

# More than anybody looks back; some more may be there.
KEPT: Final = 1000
_ANY: Final = "*"
_SCRIPT: Final = (Path(__file__).parent / "promote.lua").read_text()


class PromotionFailed(Repairable):
    """The current model cannot be changed as asked."""


class Promotion(msgspec.Struct, frozen=True):
    """``version`` became the current model instead of ``before``, which is empty for the first one."""

    version: str
    before: str
    at: str
    by: str
    why: str
    kind: Literal["promote", "rollback"]


def promote(client: redis.Redis, keys: Keys, version: str, why: str, expected: str = _ANY) -> str:
    """Make ``version`` the current model, and return the one before, empty for the first: one atomic change.

    Raises:
        PromotionFailed: the one before is not ``expected``.
    """
    return _change(client, keys, version, expected, why, "promote")


def roll_back(client: redis.Redis, keys: Keys, why: str, check: Callable[[str], object]) -> Promotion:
    """Make the model before the current one current again: once more, and it is the one before that.

    ``check`` is called with the version first, and raises where that one cannot serve.

    Raises:
        PromotionFailed: none was before it, or the current model was changed meanwhile.
    """
    current = current_version(client, keys) or ""
    target = before(promotions(client, keys), current)
    if not target:
        raise PromotionFailed("no model was current before this one: `latentstream models promote VERSION` names one")
    check(target)
    _change(client, keys, target, current, why, "rollback")
    return promotions(client, keys, 1)[0]


def promotions(client: redis.Redis, keys: Keys, count: int = KEPT) -> list[Promotion]:
    """Return the last changes of the current model, the newest first.

    Raises:
        PromotionFailed: an entry of the log is none of ours.
    """
    entries = cast(list[tuple[bytes, dict[bytes, bytes]]], client.xrevrange(keys.promotions, count=count))
    return [_read(keys, entry.decode(), fields) for entry, fields in entries]


def before(log: Sequence[Promotion], version: str) -> str:
    """Return which model was current before ``version``, empty where none is known; ``log`` is the newest first.

    Rollbacks do not count, so that one after the other leads further back. A version that came to be current by
    another way than these is taken to be newer than all of them.
    """
    for change in log:
        if change.kind == "promote" and change.version == version != change.before:
            return change.before
    known = any(change.version == version for change in log)
    return "" if known or not log else log[0].version


def _read(keys: Keys, entry: str, fields: dict[bytes, bytes]) -> Promotion:
    texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    try:
        return msgspec.convert(texts, Promotion)
    except msgspec.ValidationError as error:
        raise PromotionFailed(
            f"the entry {entry} of {keys.promotions} is not what `latentstream models` writes ({error}): "
            f"redis-cli XDEL {keys.promotions} {entry}"
        ) from error


def _change(client: redis.Redis, keys: Keys, version: str, expected: str, why: str, kind: str) -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    arguments: list[str | int] = [version, expected, now, getpass.getuser(), why, kind, KEPT]
    reply = cast(Any, client.register_script(_SCRIPT)(keys=[keys.model, keys.promotions], args=arguments))
    done, found = int(reply[0]), reply[1].decode(errors="replace")
    if not done:
        raise PromotionFailed(f"the current model is {found or 'none'} by now, was {expected or 'none'}: look again")
    return str(found)
