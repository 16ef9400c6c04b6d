"""Every Prometheus metric, declared once.

On the main path they are set once a batch, or when they are read. What an alert takes the rate of is there with 0
before the first of it happens, or the first would go unseen: :func:`begin`.
"""

from __future__ import annotations

from typing import Final

import redis
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from schemas.events import BadEvent

REGISTRY: Final = CollectorRegistry()
# Memory, processor time, open files and start of the process, under the names that all Prometheus clients give them.
ProcessCollector(registry=REGISTRY)
_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# 1 for each worker that runs.
WORKER: Final = Gauge("latentstream_worker_info", "The role of the worker.", ["role"], registry=REGISTRY)
# What /ready says.
READY: Final = Gauge("latentstream_ready", "Whether model and index are loaded: 1 or 0.", registry=REGISTRY)
# Of the container, or of the machine where that has none: what process_resident_memory_bytes must stay below.
MEMORY_LIMIT: Final = Gauge("latentstream_memory_limit_bytes", "Memory that the process may take.", registry=REGISTRY)
# As Redis tells a worker that may ask it (INFO); the limit is its maxmemory, or the memory of its machine.
REDIS_MEMORY: Final = Gauge("latentstream_redis_memory_bytes", "Memory that Redis takes.", registry=REGISTRY)
REDIS_MEMORY_LIMIT: Final = Gauge(
    "latentstream_redis_memory_limit_bytes", "Memory that Redis may take.", registry=REGISTRY
)
# Events committed, by topic: the worker's throughput.
EVENTS: Final = Counter("latentstream_events", "Events processed.", ["topic"], registry=REGISTRY)
# Events that are on the topic and not committed, of the partitions that the worker has, as of its last fetch.
LAG_EVENTS: Final = Gauge("latentstream_lag_events", "Events not processed.", ["topic"], registry=REGISTRY)
# Age of the oldest event that is being processed: how far behind the worker is.
LAG_SECONDS: Final = Gauge("latentstream_lag_seconds", "Age of the oldest event in work.", ["topic"], registry=REGISTRY)
# Fetched, compressed as it came, and not looked at: it stays small however long the backlog is.
WAITING_BYTES: Final = Gauge("latentstream_waiting_bytes", "Fetched bytes that wait.", ["topic"], registry=REGISTRY)
# Events that went to the dead letters, by topic and exception class.
DEAD_LETTERS: Final = Counter(
    "latentstream_dead_letters", "Events that could not be processed.", ["topic", "reason"], registry=REGISTRY
)
# Items that the model marked, once for each event that says so.
ANOMALIES: Final = Counter("latentstream_anomalies", "Items marked as anomalies.", registry=REGISTRY)
# Commits refused because a newer owner has the partition, or the position had moved.
REFUSED_WRITES: Final = Counter(
    "latentstream_refused_writes", "Writes refused by the position check.", ["topic"], registry=REGISTRY
)
# Lists refused because a newer one was there.
REFUSED_LISTS: Final = Counter(
    "latentstream_refused_lists", "Recommendation lists refused as older.", registry=REGISTRY
)
# Batches, queries and readings of the change log repeated after Kafka or Redis failed, by system and exception class.
FAILURES: Final = Counter(
    "latentstream_failures", "Failures of Kafka or Redis that were retried.", ["system", "error"], registry=REGISTRY
)
# Since the group's coordinator last answered a heartbeat: a consumer that cannot reach Kafka meets no failure.
KAFKA_SILENCE: Final = Gauge(
    "latentstream_kafka_silence_seconds", "Age of Kafka's last answer to the consumer.", ["topic"], registry=REGISTRY
)
# Seconds each stage of a batch took, see STAGES.
STAGE_SECONDS: Final = Histogram(
    "latentstream_stage_seconds",
    "Duration of a stage of a batch.",
    ["stage"],
    buckets=_STAGE_BUCKETS,
    registry=REGISTRY,
)
# Events in a batch.
BATCH_EVENTS: Final = Histogram(
    "latentstream_batch_events", "Events in a batch.", buckets=tuple(4**n for n in range(9)), registry=REGISTRY
)
# Lists written.
LISTS: Final = Counter("latentstream_lists", "Recommendation lists written.", ["source"], registry=REGISTRY)
# From the event's Kafka timestamp to its list being written.
EVENT_TO_LIST_SECONDS: Final = Histogram(
    "latentstream_event_to_list_seconds",
    "Age of an interaction when its list is written.",
    buckets=_STAGE_BUCKETS,
    registry=REGISTRY,
)
# Online quality: interactions with new items that were compared with the list that the user had before, by the list's
# model version, profile, and source: "model", or "popular" where the user had none or it was made of what is popular.
_LIST_LABELS = ["model", "profile", "source"]
JUDGED: Final = Counter(
    "latentstream_judged_interactions",
    "Interactions compared with the list that the user had.",
    _LIST_LABELS,
    registry=REGISTRY,
)
# Those whose item was among the first 10 of the list, or in the list at all ("list").
HITS: Final = Counter(
    "latentstream_hits", "Interactions whose item was listed.", [*_LIST_LABELS, "within"], registry=REGISTRY
)
# Sum of 1 / rank over them; divided by the judged interactions it is the mean reciprocal rank.
RECIPROCAL_RANK: Final = Counter(
    "latentstream_reciprocal_rank", "Sum of reciprocal ranks.", _LIST_LABELS, registry=REGISTRY
)
# Age of the list when the interaction was made.
LIST_AGE_SECONDS: Final = Histogram(
    "latentstream_list_age_seconds",
    "Age of the list at an interaction.",
    _LIST_LABELS,
    buckets=(1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400),
    registry=REGISTRY,
)
# Share of the servable items that stand in at least one list of this worker's users.
COVERAGE: Final = Gauge("latentstream_coverage", "Share of items listed.", ["model", "profile"], registry=REGISTRY)
# Users whose list has an item that is gone, and is not made anew yet.
AFFECTED_USERS: Final = Gauge("latentstream_affected_users", "Users whose list has lost an item.", registry=REGISTRY)
# Population stability index of "reconstruction_error", "latent" and "popularity" against the training of the model, of
# about the last `drift.events` events of this worker: 0 where nothing differs, above .25 where the model is due.
DRIFT: Final = Gauge(
    "latentstream_drift", "Population stability index against the training.", ["model", "of"], registry=REGISTRY
)
# Items or users in the worker's partitions now, and of the model's training: the sum of the first over the workers,
# minus the second, is what is new since.
STORED: Final = Gauge("latentstream_stored", "Items or users in the partitions.", ["of"], registry=REGISTRY)
TRAINED: Final = Gauge("latentstream_trained", "Items or users of the training.", ["model", "of"], registry=REGISTRY)
# On-demand queries, by type and status.
QUERIES: Final = Counter("latentstream_queries", "On-demand queries answered.", ["type", "status"], registry=REGISTRY)
# From the request being written to the stream until it is answered, turned away or dropped.
QUERY_SECONDS: Final = Histogram(
    "latentstream_query_seconds", "Age of a query when it is finished.", buckets=_STAGE_BUCKETS, registry=REGISTRY
)
# Items that can be recommended now.
INDEX_ITEMS: Final = Gauge("latentstream_index_items", "Items in the index.", ["model"], registry=REGISTRY)
# Vectors that were replaced or removed and are still in the index, until a new sealed part is built.
INDEX_TOMBSTONES: Final = Gauge(
    "latentstream_index_tombstones", "Stale vectors in the index.", ["model"], registry=REGISTRY
)
# Since the index was last known to have all that the change log in Redis had: below a second where all is well.
INDEX_AGE_SECONDS: Final = Gauge(
    "latentstream_index_age_seconds", "Seconds since the index was up to date.", ["model"], registry=REGISTRY
)
# Which share of the ten best a search finds, as it was measured with queries when the index was last rebuilt; 1 where
# all items are compared.
INDEX_RECALL: Final = Gauge(
    "latentstream_index_recall", "Share of the best items that a search finds.", ["model"], registry=REGISTRY
)
# The offset in `items` up to which the index knows them; the position in Redis minus this is what it is behind.
INDEX_OFFSET: Final = Gauge(
    "latentstream_index_offset", "Offset up to which the index follows.", ["model", "partition"], registry=REGISTRY
)
# Users whose list waits for an item that is not published.
WAITING_ITEMS: Final = Gauge(
    "latentstream_waiting_items", "Items that users touched and nobody published yet.", registry=REGISTRY
)
# 1 for each model version in use: two while an experiment runs.
MODEL: Final = Gauge("latentstream_model_info", "The model in use.", ["version"], registry=REGISTRY)
# When each of them was trained, in Unix seconds, as its version says.
MODEL_TRAINED: Final = Gauge(
    "latentstream_model_trained_timestamp_seconds", "When the model was trained.", ["model"], registry=REGISTRY
)
# Trainings by how they ended: promoted, refused or failed.
TRAININGS: Final = Counter("latentstream_trainings", "Trainings.", ["outcome"], registry=REGISTRY)
# NDCG at 50 of the lists of both models, measured by the last training on interactions that it held out.
LIST_QUALITY: Final = Gauge("latentstream_list_quality", "NDCG@50 on held-out data.", ["role"], registry=REGISTRY)
# Share of the interactions since the last training that are with items which the current model was not trained on.
NEW_ITEMS: Final = Gauge("latentstream_new_items_share", "Interactions with items new to the model.", registry=REGISTRY)

# By role: the stages of a batch, in their order.
STAGES: Final = {
    "encoder": ("decode", "encode", "dead_letters", "anomalies", "commit"),
    "recommender": ("decode", "read", "histories", "dead_letters", "recommend", "lists", "commit"),
}
# What befalls a worker whose Redis or Kafka is away or full; there are others.
_COMMON_FAILURES: Final = (
    ("redis", "ConnectionError"),
    ("redis", "TimeoutError"),
    ("redis", "OutOfMemoryError"),
    ("kafka", "KafkaTimeoutError"),
    ("kafka", "KafkaConnectionError"),
)


def begin(role: str, topic: str | None = None) -> None:
    """Say what runs, and count from 0 what may happen to a worker of ``role`` that reads ``topic``."""
    WORKER.labels(role).set(1)
    for labels in _COMMON_FAILURES:
        FAILURES.labels(*labels)
    for stage in STAGES.get(role, ()):
        STAGE_SECONDS.labels(stage)
    if topic is not None:
        EVENTS.labels(topic)
        REFUSED_WRITES.labels(topic)
        for reason in BadEvent.__subclasses__():
            DEAD_LETTERS.labels(topic, reason.__name__)
    if role == "recommender":
        for source in ("model", "popular"):
            LISTS.labels(source)
    if role == "trainer":
        for outcome in ("promoted", "refused", "failed"):
            TRAININGS.labels(outcome)


def count_failure(error: Exception) -> None:
    """Count that something is tried again because of ``error``, or of what caused that."""
    of_redis = next((one for one in (error, error.__cause__) if isinstance(one, redis.RedisError)), None)
    FAILURES.labels("kafka" if of_redis is None else "redis", type(of_redis or error).__name__).inc()
