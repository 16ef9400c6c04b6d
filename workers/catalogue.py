"""The items as the recommender sees them: codes from Redis, vectors from the model, and the index."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from models.bundle import Bundle
from models.index import LatentIndex
from schemas.events import Attribute
from schemas.filters import Filter
from schemas.records import CodeRecord, version_tag
from workers import metrics
from workers.attributes import ItemAttributes

log = structlog.get_logger()

_FIRST_CAPACITY: Final = 1024


class Catalogue:
    """Slots (row numbers) of items, and what is known of each. Thread-safe.

    A slot belongs to one id for the life of the process, so that a search that runs while items come
    and go never returns the wrong one.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._tag = version_tag(bundle.version)
        # The record of an item without a code, and of one that is gone.
        self._bare = CodeRecord(True, anomalous=False, error=0.0, score=None, tag=self._tag, code=b"").pack()
        self._space = bundle.space
        self._lock = threading.RLock()
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []
        self._records: list[bytes] = []
        self._partitions: list[int] = []
        self._attributes = ItemAttributes(self._lock)
        self._known = np.zeros(_FIRST_CAPACITY, bool)
        self._servable = np.zeros(_FIRST_CAPACITY, bool)
        self._embeddings = np.zeros((_FIRST_CAPACITY, self._space.embedding_dim), np.float32)
        # Decides between equal scores; unlike a slot it does not depend on who came first.
        self._order = np.zeros(_FIRST_CAPACITY, np.int64)
        self._arrived: set[str] = set()
        # Slots that stopped being servable, since they were last asked for.
        self._withdrawn: list[NDArray[np.int64]] = []
        self.retrieval = LatentIndex(self._space.dim + 1)
        # Without trained items retrieval is by the cosine already.
        self.similarity = LatentIndex(self._space.dim + 1) if self._space.vocabulary else self.retrieval
        if self._space.seeded:
            ids = list(self._space.vocabulary)
            self.apply(-1, ids, [self._bare] * len(ids), [b""] * len(ids))

    def apply(self, partition: int, ids: Sequence[str], records: Sequence[bytes], attributes: Sequence[bytes]) -> None:
        """Take over the code records and the attributes (JSON, or empty) of ``ids``; an empty record deletes the item.

        Of ids that stand there more than once the last counts.
        """
        latest = {name: both for name, *both in zip(ids, records, attributes, strict=True)}
        with self._lock:
            kept = {name: record for name, (data, _) in latest.items() if (record := self._checked(name, data))}
            self._remove([name for name in latest if name not in kept])
            if kept:
                self._upsert(partition, kept, [latest[name][0] for name in kept])
                self._attributes.replace(self.slots(list(kept)), [latest[name][1] for name in kept])
            metrics.INDEX_ITEMS.labels(self._bundle.version).set(len(self.retrieval))

    def retain(self, partition: int, ids: set[str]) -> None:
        """Remove what came from ``partition`` and is not among ``ids`` (after loading it anew)."""
        with self._lock:
            gone = [
                name
                for name, slot in self._slots.items()
                if self._partitions[slot] == partition and self._known[slot] and name not in ids
            ]
            self._remove(gone)

    def slots(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, -1 where it was never published."""
        with self._lock:
            return np.fromiter((self._slots.get(name, -1) for name in ids), np.int64, len(ids))

    def known(self, ids: Sequence[str]) -> list[bool]:
        """Return whether each id is published and has a place in the latent space."""
        with self._lock:
            return [slot >= 0 and bool(self._known[slot]) for slot in self.slots(ids)]

    def servable(self, ids: Sequence[str]) -> list[bool]:
        """Return whether each id can be recommended: known and available."""
        with self._lock:
            return [slot >= 0 and bool(self._servable[slot]) for slot in self.slots(ids)]

    def ids(self, slots: NDArray[np.int64]) -> list[str]:
        """Return the ids of ``slots``."""
        return [self._ids[slot] for slot in slots]

    def bags(self, histories: Sequence[Sequence[tuple[str, float]]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the embedding bag of each history of (item id, weight), and whether it knows any item.

        Returns:
            float32 ``[histories, embedding_dim]`` and bool ``[histories]``.
        """
        with self._lock:
            rows, weights, indptr = [], [], [0]
            for history in histories:
                for item_id, weight in history:
                    slot = self._slots.get(item_id, -1)
                    if slot >= 0 and self._known[slot]:
                        rows.append(slot)
                        weights.append(weight)
                indptr.append(len(rows))
            bounds = np.asarray(indptr, np.int64)
            # Only the rows that are needed are copied: others may change as soon as the lock is free.
            needed, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
            embeddings = self._embeddings[needed]
        bags = self._space.bags(embeddings, bounds, inverse.astype(np.int64), np.asarray(weights, np.float32))
        return bags, np.diff(bounds) > 0

    def attributes(self, ids: Sequence[str]) -> list[dict[str, Attribute]]:
        """Return the attributes of each id; empty where it has none, or is not published."""
        with self._lock:
            return [self._attributes.of(slot) if slot >= 0 else {} for slot in self.slots(ids).tolist()]

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """Return which slots match, bool ``[slots or more]``, not to be written to; only those in use mean anything."""
        return self._attributes.mask(condition)

    def embeddings(self, ids: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which ids are known, bool ``[n]``, and their input embeddings, ``[n, embedding_dim]``."""
        with self._lock:
            slots = self.slots(ids)
            known = (slots >= 0) & self._known[slots]
            found = np.zeros((len(slots), self._space.embedding_dim), np.float32)
            found[known] = self._embeddings[slots[known]]
            return known, found

    def retrieval_vectors(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``[w, b]`` of each slot, float32 ``[n, dim + 1]``; zeros of what is not servable any more."""
        return self._vectors(self.retrieval, slots)

    def directions(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``w / |w|`` of each slot, float32 ``[n, dim]``; zeros of what is not servable any more."""
        return self._vectors(self.similarity, slots)[:, :-1]

    def _vectors(self, index: LatentIndex, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        with self._lock:
            servable = self._servable[slots]
            found = np.zeros((len(slots), index.dim), np.float32)
            found[servable] = index.vectors(slots[servable])
            return found

    def code(self, item_id: str) -> CodeRecord | None:
        """Return what is stored of an item, None where it is not published."""
        with self._lock:
            slot = self._slots.get(item_id, -1)
            if slot < 0 or not self._known[slot]:
                return None
            return CodeRecord.unpack(self._records[slot])

    def unit_vectors(self, item_ids: Sequence[str]) -> NDArray[np.float32]:
        """Return what each known item looks like in the similarity index, float32 ``[n, dim + 1]``."""
        with self._lock:
            records = [CodeRecord.unpack(self._records[slot]) for slot in self.slots(item_ids)]
            placement = self._space.place(list(item_ids), *self._latents(records))
        return unit_vectors(placement.retrieval)

    def take_arrivals(self) -> set[str]:
        """Return the ids that became known since the last call."""
        with self._lock:
            arrived, self._arrived = self._arrived, set()
            return arrived

    def take_withdrawn(self) -> NDArray[np.int64]:
        """Return the slots that stopped being servable since the last call."""
        with self._lock:
            withdrawn, self._withdrawn = self._withdrawn, []
        return np.unique(np.concatenate(withdrawn)) if withdrawn else np.empty(0, np.int64)

    def coverage(self, listed: NDArray[np.bool_]) -> float:
        """Return which share of the servable items is among ``listed`` (bool by slot); 0 where nothing is servable."""
        with self._lock:
            servable = self._servable[: len(self._ids)]
            total = np.count_nonzero(servable)
            here = np.count_nonzero(servable[: len(listed)] & listed[: len(servable)])
        return here / total if total else 0.0

    def close(self) -> None:
        """Stop the indexes' background work."""
        self.retrieval.close()
        if self.similarity is not self.retrieval:
            self.similarity.close()

    def _checked(self, item_id: str, data: bytes) -> CodeRecord | None:
        """Return the record in ``data``; None where it is empty, or not this model's, which is logged."""
        if not data:
            return None
        content = self._bundle.content
        try:
            record = CodeRecord.unpack(data, self._tag)
        except ValueError as error:
            log.error("code_damaged", item_id=item_id, reason=str(error))
            return None
        if record.code and (content is None or len(record.code) != content.code_bytes):
            log.error("code_damaged", item_id=item_id, reason=f"{len(record.code)} bytes are not this model's")
            return None
        return record

    def _upsert(self, partition: int, records: dict[str, CodeRecord], packed: list[bytes]) -> None:
        names = list(records)
        placement = self._space.place(names, *self._latents(list(records.values())))
        slots = np.fromiter((self._slot(name) for name in names), np.int64, len(names))
        available = np.fromiter((record.available for record in records.values()), bool, len(names))
        servable = placement.known & available
        self._arrived.update(
            name
            for name, slot, known in zip(names, slots, placement.known, strict=True)
            if known and not self._known[slot]
        )
        withdrawn = slots[self._servable[slots] & ~servable]
        self._known[slots], self._servable[slots] = placement.known, servable
        self._embeddings[slots] = placement.embeddings
        for slot, data in zip(slots, packed, strict=True):
            self._records[slot], self._partitions[slot] = data, partition
        self._withdraw(withdrawn)
        if servable.any():
            rows, vectors = slots[servable], placement.retrieval[servable]
            order = self._order[rows]
            self.retrieval.upsert(rows, vectors, order)
            if self.similarity is not self.retrieval:
                self.similarity.upsert(rows, unit_vectors(vectors), order)

    def _latents(self, records: list[CodeRecord]) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
        content = self._bundle.content
        has = np.fromiter((bool(record.code) for record in records), bool, len(records))
        if content is None or not has.any():
            return None, np.zeros(len(records), bool)
        latents = np.zeros((len(records), content.latent_dim), np.float32)
        codes = np.frombuffer(b"".join(record.code for record in records), np.uint8)
        latents[has] = content.latents(codes.reshape(-1, content.code_bytes))
        return latents, has

    def _remove(self, ids: Sequence[str]) -> None:
        slots = self.slots([name for name in ids if name in self._slots])
        self._known[slots] = False
        self._arrived.difference_update(ids)
        withdrawn = slots[self._servable[slots]]
        self._servable[slots] = False
        self._withdraw(withdrawn)
        for slot in slots:
            self._records[slot] = self._bare
        self._attributes.replace(slots, [b""] * len(slots))

    def _withdraw(self, slots: NDArray[np.int64]) -> None:
        if slots.size:
            self._withdrawn.append(slots)
            self.retrieval.remove(slots)
            if self.similarity is not self.retrieval:
                self.similarity.remove(slots)

    def _slot(self, item_id: str) -> int:
        slot = self._slots.setdefault(item_id, len(self._ids))
        if slot == len(self._ids):
            self._ids.append(item_id)
            self._records.append(self._bare)
            self._partitions.append(-1)
            if slot == len(self._known):
                self._order = np.concatenate([self._order, np.zeros_like(self._order)])
                self._known = np.concatenate([self._known, np.zeros_like(self._known)])
                self._servable = np.concatenate([self._servable, np.zeros_like(self._servable)])
                self._embeddings = np.concatenate([self._embeddings, np.zeros_like(self._embeddings)])
            self._order[slot] = int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=7).digest())
        return slot


def unit_vectors(retrieval: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``[w, b]`` rows as ``[w / |w|, 0]``, whose inner product is the cosine of the w parts."""
    unit = retrieval.copy()
    unit[:, -1] = 0
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
