"""``latentstream status``: how the whole system stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from schemas.settings import Settings
from workers.cli import terminal

if TYPE_CHECKING:
    from workers.system_status import KafkaStatus, RedisStatus, TopicStatus


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")] = False,
) -> None:
    """Show model, lag, counts and queues. Exits with 1 where Kafka or Redis does not answer."""
    from workers.system_status import system_status

    found = system_status(Settings())
    if as_json:
        terminal.print_json(msgspec.to_builtins(found))
    else:
        terminal.console().print(terminal.pairs(redis_rows(found.redis) + kafka_rows(found.kafka)))
    if found.kafka.problem or found.redis.problem:
        raise typer.Exit(1)


def redis_rows(found: RedisStatus) -> list[tuple[str, str]]:
    """Return names and values of what Redis says, in words."""
    if found.problem is not None:
        return [("Redis", found.problem)]
    if found.model is None:
        model = "none yet: train one with `latentstream train`"
    else:
        promoted = f", promoted {found.model.promoted_at}" if found.model.promoted_at else ""
        by = f" by {found.model.promoted_by}" if found.model.promoted_by else ""
        model = f"{found.model.version}{promoted}{by}"
        if found.model.serving:
            model += f"; {found.model.serving} serves until the items are encoded under it"
    changed = found.popular_changed_s_ago
    popular = "none yet" if changed is None else f"changed {terminal.duration(changed)} ago"
    memory = "not told to this user" if found.memory_bytes is None else terminal.size(found.memory_bytes)
    return [
        ("model", model),
        ("items stored", f"{found.items:,}"),
        ("users with a history", f"{found.users:,}"),
        ("popularity list", popular),
        ("queries waiting", f"{found.queries_waiting:,}{_nobody_answers(found.queries_waiting)}"),
        ("Redis memory", memory),
    ]


def kafka_rows(found: KafkaStatus) -> list[tuple[str, str]]:
    """Return names and values of what Kafka says, in words."""
    if found.problem is not None:
        return [("Kafka", found.problem)]
    return [
        ("topic of items", _topic(found.items)),
        ("topic of interactions", _topic(found.interactions)),
        ("dead letters", _reported(found.dead_letters, "latentstream dead-letters list")),
        ("marked items", _reported(found.anomalies, "latentstream anomalies")),
    ]


def _topic(found: TopicStatus | None) -> str:
    if found is None:
        return "does not exist yet (or is hidden from this user): the first worker or `latentstream publish` creates it"
    if found.lag is None:
        lag = "lag unknown, because Redis does not answer"
    elif found.lag == 0:
        lag = "all processed"
    else:
        lag = f"{found.lag:,} not processed yet"
    return f"{found.name}: {found.events:,} events in {found.partitions} partitions, {lag}"


def _reported(found: TopicStatus | None, command: str) -> str:
    if found is None:
        return "none: their topic does not exist yet"
    if found.events == 0:
        return "none"
    return f"{found.events:,}: see `{command}`"


def _nobody_answers(waiting: int) -> str:
    return " (is `latentstream worker recommender` running?)" if waiting else ""
