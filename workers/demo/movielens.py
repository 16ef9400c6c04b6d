"""``latentstream demo movielens``: from films and viewings on Kafka to recommendations in Redis."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import redis

from models.registry import Registry
from schemas.documents import Recommendations
from schemas.events import InteractionEvent
from workers import connections
from workers.bench.list_watch import ListWatch, PacedProducer
from workers.datasets import movielens
from workers.demo import backlog, memory, new_film, next_steps, people, promotion
from workers.demo.quality import Evaluation, K
from workers.demo.screen import Screen
from workers.query_client import QueryClient
from workers.sandbox import Sandbox
from workers.subprocesses import Workers, run_command

NAME: Final = "demo-movielens"
# The longest history in MovieLens-100K has 737 films; the features are 30 numbers, so 16 are a code.
CHANGES: Final[dict[str, dict[str, Any]]] = {"recommend": {"history": 1000}, "model": {"content": {"latent_dim": 16}}}
# The demo fails below this share of EASE's NDCG, or where popularity is as good.
EASE_SHARE: Final = 0.97
LIVE_RATE: Final = 200.0
LIVE_SECONDS: Final = 15
WATCHED_SHOWN: Final = 6
RECOMMENDED_SHOWN: Final = 6


@dataclass(frozen=True)
class _Demo:
    """What every part of the story needs."""

    screen: Screen
    sandbox: Sandbox
    client: redis.Redis
    data: movielens.MovieLens
    parts: movielens.Split


def run(*, keep: bool) -> bool:
    """Tell the whole story; return whether the lists are as good as promised, and none was ever empty.

    Raises:
        DatasetMissing, StackError, ConnectionFailed, SandboxError: what a person must repair.
    """
    screen = Screen()
    screen.title("1. Data, Kafka and Redis")
    sandbox = Sandbox.open(NAME, screen.say, CHANGES)
    with screen.step("MovieLens-100K"):
        data = movielens.load(sandbox.settings.home / "datasets" / "movielens-100k")
    demo = _Demo(
        screen, sandbox, connections.redis_client(sandbox.settings.redis), data, movielens.split(data.interactions)
    )
    _publish(demo)
    screen.title("2. Training, from what is on the topics")
    run_command(sandbox, "train")
    with Workers(sandbox, keep=keep) as workers:
        screen.title("3. Workers")
        with screen.step("Encoder and recommender start"):
            workers.wait_ready()
        backlog.watch(screen, sandbox, workers, demo.client, len(data.films), len(demo.parts.train))
        screen.title("4. Three viewers")
        _show_people(demo)
        screen.title(f"5. How good the lists in Redis are (first {K}, {len(demo.parts.test):,} later viewings)")
        good = _show_quality(demo)
        screen.title("6. A film that nobody has seen")
        _show_new_film(demo)
        screen.title("7. Live: what happened next, streamed")
        _show_live(demo, workers)
        screen.title("8. The next model takes over, and nobody notices")
        good &= _show_promotion(demo, workers)
        screen.title("9. Memory in Redis")
        _show_memory(demo)
        _show_commands(demo, workers if keep else None)
    return good


def _publish(demo: _Demo) -> None:
    films, train = demo.data.films.values(), demo.parts.train
    demo.screen.say(
        f"{len(films):,} films, {len(demo.data.people)} viewers, {len(demo.data.interactions):,} viewings of 1997 and "
        "1998. The last fifth of each viewer's is held back."
    )
    with demo.screen.progress("Films to Kafka", len(films)) as advance:
        demo.sandbox.publish((film.event() for film in films), advance=advance)
    with demo.screen.progress("Viewings to Kafka, in time order", len(train)) as advance:
        demo.sandbox.publish(train, advance=advance)


def _show_people(demo: _Demo) -> None:
    demo.screen.say("Chosen by taste. A tick marks what they really watched later, which no part of the system knew.")
    watched, later = _by_user(demo.parts.train), _by_user(demo.parts.test)
    films = demo.data.films
    for user in people.choose(films, demo.parts.train):
        document = cast(bytes | None, demo.client.get(demo.sandbox.keys.recommendations(user)))
        listed = msgspec.json.decode(document, type=Recommendations).items if document else []
        recommended = [f"{'✓' if item in later[user] else ' '} {films[item].label}" for item in listed]
        demo.screen.say("")
        demo.screen.console.print(f"{demo.data.people[user].label}, {len(watched[user])} films", style="bold")
        demo.screen.beside(
            ["watched last", "  is recommended"],
            [
                [films[item].label for item in reversed(watched[user][-WATCHED_SHOWN:])],
                recommended[:RECOMMENDED_SHOWN],
            ],
        )


def _show_quality(demo: _Demo) -> bool:
    evaluation = Evaluation(list(demo.data.films), demo.parts.train, demo.parts.test)
    with demo.screen.step("EASE fitted, its parameter chosen on training data"):
        quality = evaluation.compare(demo.client, demo.sandbox.keys)
    rows = [
        ("served from Redis", quality.served),
        (f"EASE, closed form (λ = {quality.ridge:g})", quality.ease),
        ("most popular", quality.popularity),
    ]
    demo.screen.table(
        ["", f"Recall@{K}", f"NDCG@{K}"], [[name, f"{score.recall:.4f}", f"{score.ndcg:.4f}"] for name, score in rows]
    )
    share = quality.served.ndcg / quality.ease.ndcg
    gain = quality.served.ndcg / quality.popularity.ndcg
    demo.screen.say(f"NDCG is {share:.1%} of EASE's and {gain:.2f} times that of popularity.")
    good = share >= EASE_SHARE and gain > 1
    if not good:
        demo.screen.console.print(f"That is not good enough: {EASE_SHARE:.0%} of EASE are promised.", style="bold red")
    return good


def _show_new_film(demo: _Demo) -> None:
    film, screen, k = new_film.NEW_FILM, demo.screen, demo.sandbox.settings.recommend.k
    users = new_film.fans(demo.data.films, demo.parts.train, film.genres)
    arrival = new_film.publish_and_find(demo.sandbox, QueryClient(demo.client, demo.sandbox.settings), users)
    screen.say(
        f'"{film.label}" is published to Kafka with nothing but its features: {", ".join(film.genres)}, {film.year}.'
    )
    screen.say(f"{1000 * arrival.seconds:.0f} ms after its event it is recommended.")
    listed = sum(place <= k for place in arrival.places.values())
    viewer = min(arrival.places, key=lambda user: arrival.places[user])
    screen.say(
        f"Of {len(users)} viewers who like such films {listed} have it among their {k}; it is number "
        f"{arrival.places[viewer]} for {demo.data.people[viewer].label}."
    )
    if listed:
        following = next(event for event in demo.parts.test if event.user_id == viewer)
        seconds, place = new_film.watch_next(demo.sandbox, demo.client, following)
        screen.say(
            f'Next this viewer watched "{demo.data.films[following.item_id].label}": {1000 * seconds:.0f} ms after '
            f"that event the finished list {demo.sandbox.keys.recommendations(viewer)} has the film as number {place}."
        )


def _show_live(demo: _Demo, workers: Workers) -> None:
    events = demo.parts.test[: int(LIVE_RATE * LIVE_SECONDS)]
    # A connection of its own: the watch has a thread of its own.
    with ListWatch(demo.sandbox, connections.redis_client(demo.sandbox.settings.redis)) as watch:
        producer = PacedProducer(demo.sandbox, watch)
        try:
            with demo.screen.step(f"{len(events):,} held-back viewings, {LIVE_RATE:g} a second"):
                producer.send(events, LIVE_RATE)
        finally:
            producer.close()
        summary = watch.finish()
    workers.check()
    demo.screen.say(
        f"From the event to the viewer's new list in Redis: p50 {summary.p50:.0f} ms, p99 {summary.p99:.0f} ms "
        f"({summary.samples:,} measured, {summary.missing} missing)."
    )


def _show_promotion(demo: _Demo, workers: Workers) -> bool:
    users = sorted({event.user_id for event in demo.parts.train})
    demo.screen.say(
        "The trainer replays both topics, and measures the new model and the current one on the newest viewings. "
        "Meanwhile somebody reads the lists of all viewers again and again."
    )
    done = promotion.take_over(demo.sandbox, workers, users)
    if not done.by_trainer:
        demo.screen.say("It was not better by enough, so it is promoted by hand, to show what that does.")
    demo.screen.say(
        f"{done.seconds:.1f} s after the promotion all {len(users)} lists are of {done.version}. {done.reader.lists:,} "
        f"lists were read since the training began, {done.reader.empty} of them empty."
    )
    report = Registry(demo.sandbox.settings.registry).report_path(done.version)
    demo.screen.say(f"The report of the training, for a browser: {report.as_uri()}")
    return done.reader.empty == 0


def _show_memory(demo: _Demo) -> None:
    used = memory.usage(demo.client, demo.sandbox.keys)
    items, users = len(demo.data.films) + 1, len(demo.data.people)
    owners: list[tuple[str, list[memory.Kind], int]] = [
        ("an item", ["item codes", "item attributes", "change log"], items),
        ("a user", ["user histories", "user codes", "user lists"], users),
    ]
    rows = [
        [kind, f"{used[kind]:,}", f"{used[kind] / count:,.0f} bytes {owner}"]
        for owner, kinds, count in owners
        for kind in kinds
    ]
    demo.screen.table(["", "bytes", "each"], [*rows, ["the rest", f"{used['other']:,}", ""]])


def _show_commands(demo: _Demo, kept: Workers | None) -> None:
    user, film = people.choose(demo.data.films, demo.parts.train)[0], "50"
    next_steps.show(
        demo.screen,
        demo.sandbox,
        kept,
        reading=[
            (f"latentstream recommend {user}", "the list in Redis of the first viewer above"),
            (f"latentstream inspect {film}", f"what is stored of {demo.data.films[film].label}"),
        ],
        asking=[(f"latentstream similar {film}", "films like it, asked of the recommender")],
    )


def _by_user(events: Sequence[InteractionEvent]) -> dict[str, list[str]]:
    items: dict[str, list[str]] = defaultdict(list)
    for event in events:
        items[event.user_id].append(event.item_id)
    return items
