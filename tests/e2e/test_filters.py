"""What may stand in a list: filters, exclusions and dismissals, by plain Redis commands against running workers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from schemas.events import InteractionEvent, ItemEvent
from schemas.filters import matches, parse_filter
from schemas.settings import Settings
from tests.e2e.conftest import Progress, publish, wait_until
from tests.e2e.world import ITEMS, World
from tests.processes import worker_process

Ask = Callable[..., dict[str, Any]]
FAN = "42"

FILTERS: list[dict[str, Any]] = [
    {},
    {"genres": "War"},
    {"genres": {"in": ["Comedy", "Classic"]}, "price": {"gte": 2, "lte": 7.5}},
    {"or": [{"title": "Film 7"}, {"title": {"in": ["Film 8", "Film 999"]}}]},
    {"not": {"or": [{"genres": "Classic"}, {"price": {"gt": 1}}]}},
    {"price": "4.5"},
    {"colour": {"in": [True]}},
]


@pytest.fixture
def ask(served: Settings, redis_client: redis.Redis, progress: Progress, world: World) -> Iterator[Ask]:
    """Workers that have processed the world; asks them as the README prints it."""
    client: Any = redis_client
    prefix = served.redis.prefix

    def asked(kind: str, **fields: Any) -> dict[str, Any]:
        request = {"type": kind, "id": uuid.uuid4().hex} | fields
        client.execute_command("XADD", f"{prefix}:queries", "*", "request", json.dumps(request))
        reply = client.execute_command("BLPOP", f"{prefix}:reply:{request['id']}", 5)
        answer: dict[str, Any] = json.loads(reply[1])
        return answer

    with worker_process(served, "encoder"), worker_process(served, "recommender") as recommender:
        publish(served, world.items)
        wait_until(lambda: recommender.metric("latentstream_index_items") == ITEMS, "all items in the index")
        publish(served, world.interactions)
        progress.wait()
        yield asked


def test_what_may_stand_in_a_list(
    ask: Ask, served: Settings, redis_client: redis.Redis, progress: Progress, world: World
) -> None:
    _filters_give_the_matching_part_of_the_whole_list(ask, world)
    _filters_follow_the_catalogue(ask, served, world)
    _dismissed_items_are_in_no_list(ask, served, redis_client, progress, world)


def _filters_give_the_matching_part_of_the_whole_list(ask: Ask, world: World) -> None:
    attributes = {event.item_id: event.attributes for event in world.items}
    queries: list[tuple[str, dict[str, Any]]] = [
        ("user", {"user_id": FAN}),
        ("items", {"item_ids": ["3", "4"]}),
        ("similar", {"item_id": "9"}),
        ("vector", {"features": world.items[4].features}),
    ]
    for kind, fields in queries:
        everything = ask(kind, k=ITEMS, **fields)["items"]
        assert len(everything) > ITEMS / 2
        for document in FILTERS:
            condition = parse_filter(document)
            exclude = everything[::3] if document else []
            expected = [name for name in everything if matches(condition, attributes[name]) and name not in exclude]
            answer = ask(kind, k=ITEMS, filter=document, exclude=exclude, **fields)
            assert answer["items"] == expected, (kind, document)
            assert ask(kind, k=3, filter=document, exclude=exclude, **fields)["items"] == expected[:3]
        refused = ask(kind, filter={"and": {"genres": "War"}}, **fields)
        assert refused["error"] == "filter.and: must be a list of filters, not an object"
    touched = len({event.item_id for event in world.interactions})
    wait_until(lambda: len(ask("user", user_id="nobody", k=ITEMS)["items"]) == touched, "all that is popular")
    popular = ask("user", user_id="nobody", k=ITEMS)["items"]
    chosen = ask("user", user_id="nobody", k=ITEMS, filter={"genres": "War"}, exclude=popular[:9])["items"]
    assert chosen == [name for name in popular[9:] if matches(parse_filter({"genres": "War"}), attributes[name])]
    assert chosen


def _filters_follow_the_catalogue(ask: Ask, served: Settings, world: World) -> None:
    item = world.items[10]
    sale = {"sale": True}
    assert ask("user", user_id=FAN, filter=sale)["items"] == []
    publish(served, [ItemEvent(item_id=item.item_id, features=item.features, attributes={"sale": True})])
    wait_until(lambda: ask("similar", item_id="1", filter=sale)["items"] == [item.item_id], "the changed attributes")
    assert item.item_id not in ask("similar", item_id="1", k=ITEMS, filter={"price": {"gt": 0}})["items"]
    publish(served, [item])
    wait_until(lambda: ask("similar", item_id="1", filter=sale)["items"] == [], "the attributes of before")


def _dismissed_items_are_in_no_list(
    ask: Ask, served: Settings, client: redis.Redis, progress: Progress, world: World
) -> None:
    def listed(user: str) -> list[str]:
        document: Any = client.get(f"{served.redis.prefix}:recs:{user}")
        items: list[str] = json.loads(document)["items"]
        return items

    def touch(user: str, item: str, **fields: Any) -> None:
        publish(served, [InteractionEvent(user_id=user, item_id=item, **fields)])
        progress.wait()

    seen = {event.item_id for event in world.interactions if event.user_id == FAN}
    before = listed(FAN)
    unwanted, watched = before[0], min(seen)
    touch(FAN, unwanted, kind="dismiss")
    # The user code is the same as before, so the rest of the list is too.
    assert listed(FAN)[:-1] == before[1:]
    assert unwanted not in ask("user", user_id=FAN, k=ITEMS)["items"]
    touch(FAN, watched, kind="dismiss")
    assert not {unwanted, watched} & set(ask("user", user_id=FAN, k=ITEMS)["items"])
    touch(FAN, watched, timestamp=1.0)
    touch(FAN, unwanted, kind="dismiss", weight=0)
    assert unwanted in ask("user", user_id=FAN, k=ITEMS)["items"]

    # Who has only dismissed gets what is popular, without that, and the list stays.
    popular = ask("user", user_id="nobody", k=ITEMS)["items"]
    touch("critic", popular[0], kind="dismiss")
    touch("critic", "not-published", kind="dismiss")
    assert not list(client.scan_iter(f"{served.redis.prefix}:*:waiting"))
    assert listed("critic")[:10] == popular[1:11]
    assert client.ttl(f"{served.redis.prefix}:recs:critic") == -1
    assert ask("user", user_id="critic", k=ITEMS)["items"] == popular[1:]
