"""Another model takes the place of the current one while events come and readers read: nobody notices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from models.registry import Registry
from schemas.keys import Keys
from schemas.settings import Settings, SwapSettings
from tests.e2e.conftest import Progress, publish, train_world, wait_until
from tests.e2e.live import Judge, Readers, Seen, Stream, all_items, decoded
from tests.e2e.world import World
from tests.processes import WorkerProcess, worker_process
from workers import promotions
from workers.lookup import current_version

ITEMS = 20_000


@pytest.fixture(scope="session")
def versions(world: World, trained: tuple[Path, str]) -> tuple[str, str]:
    """Two versions in one registry; the first is the current one."""
    return trained[1], train_world(world, trained[0].parent, seed=1)


class State:
    """What stands in Redis under a version, without what differs from one run to another."""

    def __init__(self, client: Any, keys: Keys, version: str, partitions: int) -> None:
        self.items: dict[bytes, bytes] = {}
        self.user_codes: dict[bytes, bytes] = {}
        self.histories: dict[bytes, bytes] = {}
        for partition in range(partitions):
            item, user = keys.items(version, partition), keys.users(partition)
            for bucket in range(int(client.hget(item.position, "buckets") or 0)):
                self.items |= client.hgetall(item.codes(bucket))
            for bucket in range(int(client.hget(user.position, "buckets") or 0)):
                self.user_codes |= client.hgetall(user.codes(version, bucket))
                self.histories |= client.hgetall(user.histories(bucket))
        names = [keys.recommendations(user.decode()) for user in sorted(self.histories)]
        lists = decoded(set(client.mget(names)))
        self.lists = {one.user_id: (one.model, one.items, one.scores) for one in lists}


class _Swap:
    """The system under test, its stream and its readers."""

    def __init__(self, settings: Settings, client: redis.Redis, versions: tuple[str, str], progress: Progress) -> None:
        self.settings, self.client, self.versions, self.progress = settings, client, versions, progress
        self.keys = Keys(settings.redis.prefix)
        self.partitions = settings.kafka.partitions
        self.stream = Stream(settings, ITEMS)
        self.users: list[str] = []
        self.recommenders: list[WorkerProcess] = []

    def models(self) -> set[str]:
        found: Any = self.client.mget([*map(self.keys.recommendations, self.users), self.keys.popular()])
        return {one.model for one in decoded({document for document in found if document})}

    def promote(self, version: str) -> None:
        promotions.promote(self.client, self.keys, version, "test")

    def wait_started(self) -> None:
        """Wait until everybody has a list, and there is something popular, for the first time."""
        self.progress.wait()

        def listed() -> bool:
            popular: Any = self.client.get(self.keys.popular())
            return bool(popular) and all(one.items for one in decoded({popular}))

        wait_until(listed, "something popular")

    def wait_served_by(self, version: str) -> float:
        """Wait until all lists are of ``version``; return how long that took."""
        began = time.monotonic()
        wait_until(lambda: self.models() == {version}, f"all lists by {version}", deadline_s=120)
        return time.monotonic() - began

    @contextmanager
    def recommender(self) -> Iterator[WorkerProcess]:
        """Run a recommender."""
        with worker_process(self.settings, "recommender") as worker:
            self.recommenders.append(worker)
            yield worker

    def settle(self, version: str) -> None:
        """Let the stream pause, and wait until everybody has a list by ``version`` that knows of all it published.

        A list follows new items with the next event of its user, so everybody has one.
        """
        self.stream.pause()
        self.progress.wait()
        wait_until(lambda: all(map(self._knows_all, self.recommenders)), "all items in the indexes")
        self.stream.repeat()
        self.progress.wait()
        self.wait_served_by(version)

    def _knows_all(self, worker: WorkerProcess) -> bool:
        """Return whether the index of the current model is as far as the items, where the worker still runs."""
        if not worker.is_running():
            return True
        labels = {"model": current_version(self.client, self.keys) or ""}
        ends = self.progress.ends(self.settings.kafka.items_topic)
        return worker.metric("latentstream_index_offset", **labels) == sum(ends.values())

    def check(self, seen: Seen) -> None:
        """No reader saw nothing, or a list that is not wholly of one model."""
        assert seen.missing == []
        lists = decoded(seen.documents)
        assert [one for one in lists if not one.items] == []
        assert {one.model for one in lists} == set(self.versions)
        own = [one for one in lists if one.user_id]
        assert all(one.source == "model" for one in own)
        for version in self.versions:
            judge = Judge(self.settings, self.client, Registry(self.settings.registry).load(version), self.partitions)
            mine = [one for one in own if one.model == version]
            assert len(mine) > len(self.users)
            assert judge.faults(mine, self.stream.touches) == []
            # It would notice: a list under the other's name.
            other = [one for one in own if one.model != version][:5]
            assert len(judge.faults(other, self.stream.touches)) == len(other)
            judge.close()
        print(f"{seen.reads} reads, {len(lists)} different lists")

    def equals_a_fresh_start(self, version: str) -> None:
        """What stands is what workers make that begin with ``version`` from nothing."""
        redis_settings = self.settings.redis.model_copy(update={"prefix": f"{self.keys.prefix}-fresh-{version[-4:]}"})
        kafka = self.settings.kafka.model_copy(update={"group_prefix": redis_settings.prefix})
        fresh = self.settings.model_copy(update={"redis": redis_settings, "kafka": kafka})
        keys = Keys(redis_settings.prefix)
        self.client.hset(keys.model, "version", version)
        progress = Progress(fresh, self.client)
        with worker_process(fresh, "encoder"):
            wait_until(lambda: progress.done(kafka.items_topic), "all items encoded")
            with worker_process(fresh, "recommender"):
                progress.wait()
        progress.close()
        ours, theirs = (State(self.client, own, version, self.partitions) for own in (self.keys, keys))
        assert len(ours.items) >= ITEMS
        assert ours.items == theirs.items
        assert ours.histories == theirs.histories
        assert ours.user_codes == theirs.user_codes
        assert ours.lists == theirs.lists


@pytest.fixture
def swap(
    served: Settings, redis_client: redis.Redis, versions: tuple[str, str], progress: Progress, world: World
) -> Iterator[_Swap]:
    found = _Swap(served, redis_client, versions, progress)
    with worker_process(served, "encoder"):
        publish(served, all_items(world.items, ITEMS))
        wait_until(lambda: progress.done(served.kafka.items_topic), "all items encoded")
    found.stream.publish(world.interactions)
    found.users = sorted(found.stream.touches)
    yield found
    found.stream.close()


def test_a_promotion_and_a_rollback_that_no_reader_notices(swap: _Swap) -> None:
    first, second = swap.versions
    with (
        worker_process(swap.settings, "encoder") as encoder,
        swap.recommender() as one,
        swap.recommender() as other,
    ):
        swap.wait_started()
        swap.stream.start()
        with Readers(swap.client, swap.keys, swap.users) as seen:
            swap.promote(second)
            took = swap.wait_served_by(second)
            print(f"promoted within {took:.1f} s")
            swap.settle(second)
            swap.equals_a_fresh_start(second)
            published = swap.stream.published
            swap.stream.start()
            wait_until(lambda: swap.stream.published > published + 50, "events under the second model")
            swap.promote(first)
            took = swap.wait_served_by(first)
            print(f"rolled back within {took:.1f} s")
            swap.settle(first)
        for worker in (encoder, one, other):
            assert worker.get("/ready")[0] == 200
    swap.check(seen)
    swap.equals_a_fresh_start(first)


def test_workers_that_are_killed_in_a_swap_go_on_with_it(swap: _Swap) -> None:
    first, second = swap.versions
    # Slowly, so that there is something to be killed in.
    swap.settings = swap.settings.model_copy(update={"swap": SwapSettings(share=0.1)})
    with swap.recommender() as survivor:
        swap.wait_started()
        with Readers(swap.client, swap.keys, swap.users) as seen:
            for version in (second, first):
                swap.stream.start()
                _swap_with_deaths(swap, version)
        assert survivor.is_running()
    swap.check(seen)
    swap.equals_a_fresh_start(first)


def _swap_with_deaths(swap: _Swap, version: str) -> None:
    """Promote ``version``, and kill an encoder and a recommender at each step of what follows."""
    with swap.recommender() as preparing:
        with worker_process(swap.settings, "encoder") as encoding:
            swap.promote(version)
            _kill_when(encoding, version, "second_encoder_started")
        with worker_process(swap.settings, "encoder") as changing:
            # Where little is left to encode, it may begin with the version.
            _kill_when(changing, version, "model_changes", "ready")
        with worker_process(swap.settings, "encoder"):
            _kill_when(preparing, version, "model_prepared")
            with swap.recommender() as exchanging:
                # It sweeps the lists of some partitions, which it has only just got.
                exchanging.kill()
            swap.settle(version)


def _kill_when(worker: WorkerProcess, version: str, *events: str) -> None:
    """Kill a worker as soon as its log has one of ``events`` with ``version``."""

    def said() -> bool:
        lines = [line for line in worker.log().splitlines() if version in line]
        return any(f'"{event}"' in line for line in lines for event in events)

    wait_until(said, f"{events} {version}")
    worker.kill()


def test_old_codes_are_removed_and_a_late_rollback_encodes_all_anew(swap: _Swap) -> None:
    first, second = swap.versions
    swap.settings = swap.settings.model_copy(update={"swap": SwapSettings(keep_s=0)})

    def stored(version: str) -> int:
        return sum(1 for _ in swap.client.scan_iter(f"{swap.keys.prefix}:*:{version}:*", count=1000))

    with worker_process(swap.settings, "encoder"), swap.recommender():
        swap.progress.wait()
        before = stored(first)
        swap.promote(second)
        swap.wait_served_by(second)
        wait_until(lambda: stored(first) == 0, "nothing left of the first")
        assert stored(second) > before / 2
        assert list(swap.client.zrange(swap.keys.in_use, 0, -1)) == [second.encode()]
        swap.promote(first)
        swap.wait_served_by(first)
        swap.progress.wait()
    swap.equals_a_fresh_start(first)
