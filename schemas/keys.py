"""Names of Redis keys, and the bucket that an id falls into.

All keys of one Kafka partition share a hash tag, so that one Lua call may touch them together on Redis
Cluster as well. Ids chosen by people only ever stand at the end of a key or as the field of a hash.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

# Buckets are split when they hold this many ids on average. Linear hashing lets single buckets reach twice
# that and chance a little more, far below 512, where Redis leaves its compact encoding. A longer bucket
# takes longer to search; above 128 it hardly takes less memory (`latentstream bench footprint`).
ITEMS_PER_BUCKET: Final = 128
# What is kept of a user is large and is read a bucket at a time.
USERS_PER_BUCKET: Final = 48
# The profile whose lists have no name in their keys.
DEFAULT_PROFILE: Final = "default"
# Of a model version: safe as the name of a directory and in a Redis key; never starts with a dot.
VERSION_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
PROFILE_NAME: Final = re.compile(r"^[a-z0-9][a-z0-9_-]{0,31}$")


def bucket_of(identifier: str, buckets: int) -> int:
    """Return the bucket in [0, buckets) of an id, by linear hashing of its CRC-32.

    Growing from n to n + 1 buckets moves ids from one bucket only, to the new one (Litwin, "Linear
    Hashing", VLDB 1980).
    """
    value = zlib.crc32(identifier.encode())
    level = 1 << (buckets.bit_length() - 1)
    bucket = value & (2 * level - 1)
    return bucket if bucket < buckets else value & (level - 1)


def split_source(bucket: int) -> int:
    """Return the bucket whose ids are divided when ``bucket`` (1 or higher) comes into being."""
    return bucket - (1 << (bucket.bit_length() - 1))


@dataclass(frozen=True, slots=True)
class ItemKeys:
    """The keys of one partition of ``items`` under one model version."""

    prefix: str
    version: str
    partition: int

    @property
    def _base(self) -> str:
        return f"{self.prefix}:{{i{self.partition}}}:{self.version}"

    @property
    def position(self) -> str:
        """Hash: ``epoch``, ``next`` (offset), ``ids``, ``buckets``."""
        return f"{self._base}:position"

    @property
    def removed(self) -> str:
        """Hash: the position of what is being removed, see :mod:`workers.old_versions`."""
        return f"{self._base}:removed"

    @property
    def log(self) -> str:
        """Stream: the change log, one entry a batch."""
        return f"{self._base}:log"

    def codes(self, bucket: int) -> str:
        """Hash: item id -> code record."""
        return f"{self._base}:codes:{bucket}"

    def attributes(self, bucket: int) -> str:
        """Hash: item id -> attributes as JSON."""
        return f"{self._base}:attributes:{bucket}"


@dataclass(frozen=True, slots=True)
class UserKeys:
    """The keys of one partition of ``interactions``."""

    prefix: str
    partition: int

    @property
    def _base(self) -> str:
        return f"{self.prefix}:{{u{self.partition}}}"

    @property
    def position(self) -> str:
        """Hash: ``epoch``, ``next`` (offset), ``ids``, ``buckets``."""
        return f"{self._base}:position"

    @property
    def popularity(self) -> str:
        """Sorted set: item id -> log2 of its decayed weight at Unix time 0."""
        return f"{self._base}:popularity"

    @property
    def trending(self) -> str:
        """Sorted set: the same with the shorter half-life of what trends."""
        return f"{self._base}:trending"

    @property
    def waiting(self) -> str:
        """Set: JSON pairs of an item id that is not published yet and a user who touched it."""
        return f"{self._base}:waiting"

    def experiment(self, name: str) -> str:
        """Hash: what the experiment ``name`` counts, ``ARM:PROFILE:GROUP:FIGURE`` -> sum."""
        return f"{self._base}:experiment:{name}"

    def histories(self, bucket: int) -> str:
        """Hash: user id -> history as JSON."""
        return f"{self._base}:histories:{bucket}"

    def codes(self, version: str, bucket: int) -> str:
        """Hash: user id -> user code under a model version."""
        return f"{self._base}:{version}:codes:{bucket}"


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys under one prefix."""

    prefix: str

    def recommendations(self, user_id: str, profile: str = DEFAULT_PROFILE) -> str:
        """String: the user's list, a ``Recommendations`` document."""
        return f"{self.prefix}:recs{_at(profile)}:{user_id}"

    def popular(self, profile: str = DEFAULT_PROFILE) -> str:
        """String: the list for users never seen, a ``Recommendations`` document."""
        return f"{self.prefix}:popular{_at(profile)}"

    def trending(self, profile: str = DEFAULT_PROFILE) -> str:
        """String: what rises, a ``Recommendations`` document."""
        return f"{self.prefix}:trending{_at(profile)}"

    @property
    def withdrawn(self) -> str:
        """Sorted set: ids of items that readers of lists leave out -> Unix time until when."""
        return f"{self.prefix}:withdrawn"

    @property
    def queries(self) -> str:
        """Stream: on-demand queries, each in the field ``request``."""
        return f"{self.prefix}:queries"

    def reply(self, request_id: str) -> str:
        """List: the one reply to a query."""
        return f"{self.prefix}:reply:{request_id}"

    @property
    def model(self) -> str:
        """Hash: ``version`` of the current model, ``promoted_at``, ``promoted_by``, ``why``; ``serving`` by now."""
        return f"{self.prefix}:model"

    @property
    def in_use(self) -> str:
        """Sorted set: model version -> Unix time when a worker last used it."""
        return f"{self.prefix}:in-use"

    @property
    def promotions(self) -> str:
        """Stream: every change of the current model, see :class:`workers.promotions.Promotion`."""
        return f"{self.prefix}:promotions"

    @property
    def training_due(self) -> str:
        """String: why a training is due, set by whoever notices; the trainer deletes it when it begins."""
        return f"{self.prefix}:due"

    @property
    def training(self) -> str:
        """String: how the last training ended, JSON, see :class:`workers.trainer.due.LastTraining`."""
        return f"{self.prefix}:training"

    @property
    def trainer(self) -> str:
        """String: who trains now; expires."""
        return f"{self.prefix}:trainer"

    @property
    def experiment(self) -> str:
        """Hash: the :class:`schemas.experiments.Experiment` that runs."""
        return f"{self.prefix}:experiment"

    @property
    def topics(self) -> str:
        """Hash: topic -> id and number of partitions of the topic that the positions belong to."""
        return f"{self.prefix}:topics"

    @property
    def epoch(self) -> str:
        """Integer: the last epoch given, at least the time in milliseconds.

        Epochs are unique over all partitions, so that lists compare across them.
        """
        return f"{self.prefix}:epoch"

    def items(self, version: str, partition: int) -> ItemKeys:
        """Return the keys of one partition of ``items`` under one model version."""
        return ItemKeys(self.prefix, version, partition)

    def users(self, partition: int) -> UserKeys:
        """Return the keys of one partition of ``interactions``."""
        return UserKeys(self.prefix, partition)


def _at(profile: str) -> str:
    return "" if profile == DEFAULT_PROFILE else f"@{profile}"
