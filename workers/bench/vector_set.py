"""Redis' own vector set, the peer of our queries: filled with the same vectors, asked for the same neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import redis

from models.arrays import Floats
from workers.bench.resp_load import Traffic, command, exchange, is_list
from workers.sandbox import SandboxError

# How far a search explores the graph (VSIM's EF), from the fastest to the best.
EFS: Final = (50, 100, 200, 400, 800, 1600)
# Both cores look for the neighbours of new vectors.
_FILLING_CLIENTS: Final = 4
_TOLD_EVERY: Final = 500


@dataclass(frozen=True, slots=True)
class VectorSet:
    """A vector set under ``key``. ``m`` is the number of neighbours that each vector is linked to (VADD's M)."""

    key: str
    quantization: Literal["Q8", "NOQUANT"]
    m: int

    def fill(self, port: int, vectors: Floats, advance: Callable[[int], None]) -> None:
        """Add ``vectors`` ``[n, dim]``, each under its number.

        Raises:
            SandboxError: the server did not take one.
        """
        requests = (
            command("VADD", self.key, "FP32", vector.tobytes(), str(number), "CAS", self.quantization, "M", self.m)
            for number, vector in enumerate(vectors.astype("<f4"))
        )
        for done, (_, reply) in enumerate(exchange(port, requests, _FILLING_CLIENTS), 1):
            if reply != 1:
                raise SandboxError(f"VADD was answered with {reply!r}")
            if done % _TOLD_EVERY == 0 or done == len(vectors):
                advance(done)

    def nearest(self, items: Iterable[int], k: int, ef: int) -> Traffic:
        """Return what asks for the ``k`` nearest neighbours of each item, and itself; without their scores."""
        requests = [command("VSIM", self.key, "ELE", str(item), "COUNT", k + 1, "EF", ef) for item in items]
        return Traffic(requests, is_list)


def vector_sets(key: str) -> tuple[VectorSet, ...]:
    """Return the two that are measured: with the M of Redis' defaults, and with twice as many.

    Neither is quantised. With a byte a value (Q8, the default) a set of 60,000 of the vectors finds at most .986 of the
    10 nearest, with any EF and either M, and is asked no faster than one of floats, which finds all.
    """
    return VectorSet(f"{key}:m16", "NOQUANT", 16), VectorSet(f"{key}:m32", "NOQUANT", 32)


def why_missing(client: redis.Redis, key: str) -> str:
    """Return why the server has no vector sets, empty where it has."""
    server: Any = client
    try:
        server.execute_command("VCARD", key)
    except redis.ResponseError as error:
        return f"the server has no vector sets, which came with Redis 8: {error}"
    return ""


def items_of(reply: Sequence[bytes]) -> list[int]:
    """Return the items in a reply to :meth:`VectorSet.nearest`."""
    return [int(name) for name in reply]
