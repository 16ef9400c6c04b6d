"""How well images survive their codes in Redis, next to PCA at the same number of bytes."""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import redis
from numpy.typing import NDArray

from models.codecs import Int8Codec
from schemas.keys import Keys
from schemas.records import CodeRecord, version_tag

_BUCKETS_AT_A_TIME: Final = 200
Floats = NDArray[np.float32]


def stored_records(client: redis.Redis, keys: Keys, version: str, partitions: int) -> dict[str, CodeRecord]:
    """Return every item's record under a model version, by id."""
    records: dict[str, CodeRecord] = {}
    tag = version_tag(version)
    for items in (keys.items(version, partition) for partition in range(partitions)):
        count = int(cast(bytes | None, client.hget(items.position, "buckets")) or 0)
        for start in range(0, count, _BUCKETS_AT_A_TIME):
            pipeline = client.pipeline(transaction=False)
            for bucket in range(start, min(start + _BUCKETS_AT_A_TIME, count)):
                pipeline.hgetall(items.codes(bucket))
            for stored in pipeline.execute():
                records.update((name.decode(), CodeRecord.unpack(data, tag)) for name, data in stored.items())
    return records


def mean_squared_error(images: Floats, decoded: Floats) -> float:
    """Return the mean over all pixels of the squared difference, in squared pixel units."""
    return float(np.mean((images.astype(np.float64) - decoded) ** 2))


class Pca:
    """Principal components with one byte each: what is easy to have without a network."""

    def __init__(self, train: Floats, components: int) -> None:
        """Fit on float32 ``[n, pixels]``."""
        self._mean = train.mean(axis=0)
        centred = train - self._mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        self._basis: Floats = np.ascontiguousarray(vectors[:, -components:])
        self._codec = Int8Codec.fit(centred @ self._basis)

    def decoded(self, images: Floats) -> Floats:
        """Return what the codes of ``images`` decode to, cut off at [0, 1], float32 ``[n, pixels]``."""
        codes = self._codec.encode((images - self._mean) @ self._basis)
        restored: Floats = np.clip(self._codec.decode(codes) @ self._basis.T + self._mean, 0, 1)
        return restored
