"""The items as the recommender sees them: codes from Redis, vectors from the model, and the index."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from models.bundle import Bundle
from models.index import LatentIndex
from schemas.events import Attribute
from schemas.filters import Filter
from schemas.records import HEADER_BYTES, CodeRecord, CodeRows, unpack_codes, version_tag
from workers import metrics
from workers.attributes import ItemAttributes
from workers.item_ids import ItemIds
from workers.item_rows import ItemRows

log = structlog.get_logger()

_Value = TypeVar("_Value")
# Item ids and weights, oldest first.
History = Sequence[tuple[str, float]]


class Catalogue:
    """Slots (row numbers) of items, and what is known of each. Thread-safe.

    A slot belongs to one id for as long as ``item_ids`` lives, so that a search that runs while items come
    and go never returns the wrong one. Catalogues of several models may share it.
    """

    def __init__(self, bundle: Bundle, item_ids: ItemIds | None = None) -> None:
        self._bundle = bundle
        self._tag = version_tag(bundle.version)
        self._code_bytes = bundle.content.code_bytes if bundle.content is not None else 0
        self._space = bundle.space
        self._lock = threading.RLock()
        self.item_ids = ItemIds() if item_ids is None else item_ids
        self._empty()
        self._arrived: set[str] = set()
        self._filling = False
        # Slots that stopped being servable, since they were last asked for.
        self._withdrawn: list[NDArray[np.int64]] = []
        self.retrieval = LatentIndex(self._space.dim + 1)
        # Without trained items retrieval is by the cosine already.
        self.similarity = LatentIndex(self._space.dim + 1) if self._space.vocabulary else self.retrieval
        if self._space.seeded:
            ids = list(self._space.vocabulary)
            bare = CodeRecord(True, anomalous=False, error=0.0, score=None, tag=self._tag, code=b"").pack()
            self.apply(-1, ids, [bare] * len(ids), [b""] * len(ids))

    def _empty(self) -> None:
        self._rows = ItemRows(self.item_ids, self._space.embedding_dim, HEADER_BYTES + self._code_bytes)
        self._attributes = ItemAttributes(self._lock)

    def apply(self, partition: int, ids: Sequence[str], records: Sequence[bytes], attributes: Sequence[bytes]) -> None:
        """Take over the code records and the attributes (JSON, or empty) of ``ids``; an empty record deletes the item.

        Of ids that stand there more than once the last counts.
        """
        last = dict(zip(ids, range(len(ids)), strict=True))
        if len(last) < len(ids):
            places = list(last.values())
            ids, records, attributes = _at(ids, places), _at(records, places), _at(attributes, places)
        rows = self._checked(ids, records)
        with self._lock:
            if not rows.sound.all():
                self._remove(_at(ids, np.flatnonzero(~rows.sound).tolist()))
                kept = np.flatnonzero(rows.sound)
                ids, attributes, rows = _at(ids, kept.tolist()), _at(attributes, kept.tolist()), rows.at(kept)
            if ids:
                self._attributes.replace(self._upsert(partition, ids, rows), attributes)
            metrics.INDEX_ITEMS.labels(self._bundle.version).set(len(self.retrieval))
            recall = self.retrieval.recall
            metrics.INDEX_RECALL.labels(self._bundle.version).set(1.0 if recall is None else recall)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Let the indexes build nothing inside of the ``with`` block, and note no arrivals: nobody asks yet."""
        self._filling = True
        try:
            with self.retrieval.filling(), self.similarity.filling():
                yield
        finally:
            self._filling = False

    def expect(self, histories: Sequence[History]) -> None:
        """Tell from which histories it will be asked, of (item id, weight)."""
        ends = np.cumsum([0, *map(len, histories)])
        slots = self.slots([item for history in histories for item, _ in history])
        weights = np.array([weight for history in histories for _, weight in history], np.float32)
        bags, known = self.bags(slots, weights, ends)
        if known.any():
            users = self._space.user_codes(bags[known])
            self.retrieval.expect(np.hstack([users, np.ones((len(users), 1), np.float32)]))

    @property
    def built(self) -> bool:
        """Whether searches are as fast as they become."""
        return self.retrieval.built and self.similarity.built

    def retain(self, partition: int, ids: Set[str]) -> None:
        """Remove what came from ``partition`` and is not among ``ids`` (after loading it anew)."""
        with self._lock:
            own = np.flatnonzero((self._rows.partitions == partition) & self._rows.known)
            self._remove([name for name in self.ids(own) if name not in ids])

    def slots(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the slot of each id, -1 where it was never published."""
        with self._lock:
            return self._rows.find(ids)

    def known(self, ids: Sequence[str]) -> list[bool]:
        """Return whether each id is published and has a place in the latent space."""
        with self._lock:
            known: list[bool] = self._is_known(self._rows.find(ids)).tolist()
            return known

    def servable(self, ids: Sequence[str]) -> list[bool]:
        """Return whether each id can be recommended: known and available."""
        servable: list[bool] = self.servable_slots(ids)[1].tolist()
        return servable

    def servable_slots(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the slot of each id, and whether it can be recommended, as :meth:`slots` and :meth:`servable` do."""
        with self._lock:
            slots = self._rows.find(ids)
            return slots, (slots >= 0) & self._rows.servable[slots]

    def ids(self, slots: NDArray[np.int64]) -> list[str]:
        """Return the ids of ``slots``."""
        return self.item_ids.names(slots)

    def bags(
        self, slots: NDArray[np.int64], weights: NDArray[np.float32], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the embedding bag of each history, and whether it knows any item.

        Args:
            slots: of all items of all histories, ``[n]``, -1 where one was never published.
            weights: of the same, ``[n]``.
            ends: history i has the items from ``ends[i]`` to ``ends[i + 1]``, ``[histories + 1]``.

        Returns:
            float32 ``[histories, embedding_dim]`` and bool ``[histories]``.
        """
        with self._lock:
            known = self._is_known(slots)
            bounds = np.concatenate([[0], np.cumsum(known)])[ends]
            # Inside the lock, because to copy the rows that are needed takes longer than to add them up.
            bags = self._space.bags(self._rows.embeddings, bounds, slots[known], weights[known])
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
            slots = self._rows.find(ids)
            known = self._is_known(slots)
            found = np.zeros((len(slots), self._space.embedding_dim), np.float32)
            found[known] = self._rows.embeddings[slots[known]]
            return known, found

    def retrieval_vectors(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``[w, b]`` of each slot, float32 ``[n, dim + 1]``; zeros of what is not servable any more."""
        return self._vectors(self.retrieval, slots)

    def directions(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``w / |w|`` of each slot, float32 ``[n, dim]``; zeros of what is not servable any more."""
        return self._vectors(self.similarity, slots)[:, :-1]

    def _vectors(self, index: LatentIndex, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        with self._lock:
            servable = self._rows.servable[slots]
            found = np.zeros((len(slots), index.dim), np.float32)
            found[servable] = index.vectors(slots[servable])
            return found

    def code(self, item_id: str) -> CodeRecord | None:
        """Return what is stored of an item, None where it is not published."""
        with self._lock:
            (slot,) = slots = self._rows.find([item_id])
            if not self._is_known(slots)[0]:
                return None
            length = HEADER_BYTES + self._code_bytes if self._rows.coded[slot] else HEADER_BYTES
            return CodeRecord.unpack(self._rows.records[slot, :length].tobytes())

    def unit_vectors(self, item_ids: Sequence[str]) -> NDArray[np.float32]:
        """Return what each known item looks like in the similarity index, float32 ``[n, dim + 1]``."""
        with self._lock:
            slots = self._rows.find(item_ids)
            packed, coded = self._rows.records[slots], self._rows.coded[slots]
        return unit_vectors(self._space.place(list(item_ids), *self._latents(packed, coded)).retrieval)

    def take_arrivals(self) -> set[str]:
        """Return the ids that became known since the last call, but for those of the first load."""
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
            servable = self._rows.servable
            total = np.count_nonzero(servable)
            here = np.count_nonzero(servable[: len(listed)] & listed[: len(servable)])
        return here / total if total else 0.0

    def close(self) -> None:
        """Stop the indexes' background work, and let go of all items, whoever still holds this."""
        self.retrieval.close()
        if self.similarity is not self.retrieval:
            self.similarity.close()
        with self._lock:
            self._empty()

    def _is_known(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = (slots >= 0) & self._rows.known[slots]
        return known

    def _checked(self, ids: Sequence[str], records: Sequence[bytes]) -> CodeRows:
        """Return ``records`` in columns; what is not empty and not this model's is logged."""
        rows = unpack_codes(records, self._tag, self._code_bytes)
        for place in np.flatnonzero(~rows.sound).tolist():
            if records[place]:
                log.error("code_damaged", item_id=ids[place], reason=self._damage(records[place]))
        return rows

    def _damage(self, data: bytes) -> str:
        try:
            record = CodeRecord.unpack(data, self._tag)
        except ValueError as error:
            return str(error)
        return f"{len(record.code)} bytes are not this model's"

    def _upsert(self, partition: int, ids: Sequence[str], rows: CodeRows) -> NDArray[np.int64]:
        """Take over records that are sound, and return their slots."""
        placement = self._space.place(ids, *self._latents(rows.packed, rows.coded))
        slots = self._rows.assign(ids)
        servable = placement.known & rows.available
        if not self._filling:
            arrived = np.flatnonzero(placement.known & ~self._rows.known[slots])
            self._arrived.update(_at(ids, arrived.tolist()))
        withdrawn = slots[self._rows.servable[slots] & ~servable]
        self._rows.known[slots], self._rows.servable[slots] = placement.known, servable
        self._rows.embeddings[slots], self._rows.partitions[slots] = placement.embeddings, partition
        self._rows.records[slots], self._rows.coded[slots] = rows.packed, rows.coded
        self._withdraw(withdrawn)
        if servable.any():
            served, vectors = slots[servable], placement.retrieval[servable]
            order = self.item_ids.orders(served)
            self.retrieval.upsert(served, vectors, order)
            if self.similarity is not self.retrieval:
                self.similarity.upsert(served, unit_vectors(vectors), order)
        return slots

    def _latents(
        self, packed: NDArray[np.uint8], coded: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
        """Return what the codes of records uint8 ``[n, record]`` decode to, ``[n, latent_dim]``, and who has one."""
        content = self._bundle.content
        if content is None or not coded.any():
            return None, np.zeros(len(packed), bool)
        latents = np.zeros((len(packed), content.latent_dim), np.float32)
        latents[coded] = content.latents(packed[coded, HEADER_BYTES:])
        return latents, coded

    def _remove(self, ids: Sequence[str]) -> None:
        slots = self._rows.find(ids)
        slots = slots[slots >= 0]
        self._rows.known[slots] = False
        self._arrived.difference_update(ids)
        withdrawn = slots[self._rows.servable[slots]]
        self._rows.servable[slots] = False
        self._withdraw(withdrawn)
        self._rows.records[slots], self._rows.coded[slots] = 0, False
        self._attributes.replace(slots, [b""] * len(slots))

    def _withdraw(self, slots: NDArray[np.int64]) -> None:
        if slots.size:
            self._withdrawn.append(slots)
            self.retrieval.remove(slots)
            if self.similarity is not self.retrieval:
                self.similarity.remove(slots)


def _at(column: Sequence[_Value], places: Sequence[int]) -> list[_Value]:
    return [column[place] for place in places]


def unit_vectors(retrieval: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``[w, b]`` rows as ``[w / |w|, 0]``, whose inner product is the cosine of the w parts."""
    unit = retrieval.copy()
    unit[:, -1] = 0
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
