"""Only one trainer at a time works, and somebody else begins when it dies: against a real Redis."""

from __future__ import annotations

import redis

from schemas.keys import Keys
from schemas.settings import Settings
from tests.e2e.conftest import wait_until
from workers.trainer.lease import Lease


def test_one_has_it_and_the_next_when_it_gives_it_back(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    with Lease(redis_client, keys) as first:
        assert first.take()
        with Lease(redis_client, keys) as second:
            assert not second.take()
        assert redis_client.exists(keys.trainer)
        assert not first.lost
    with Lease(redis_client, keys) as third:
        assert third.take()
    assert not redis_client.exists(keys.trainer)


def test_it_is_renewed_and_noticed_when_it_is_gone(settings: Settings, redis_client: redis.Redis) -> None:
    keys = Keys(settings.redis.prefix)
    with Lease(redis_client, keys, lease_s=30, renew_s=0.02) as lease:
        assert lease.take()
        redis_client.pexpire(keys.trainer, 5_000)
        wait_until(lambda: redis_client.pttl(keys.trainer) > 20_000, "it is renewed")
        redis_client.set(keys.trainer, "somebody else")
        wait_until(lambda: lease.lost, "it is noticed")
    assert redis_client.get(keys.trainer) == b"somebody else"
