"""Every Prometheus metric, declared once."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()
_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# Events committed, by topic: the worker's throughput.
EVENTS: Final = Counter("latentstream_events", "Events processed.", ["topic"], registry=REGISTRY)
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
# Batches repeated after Kafka or Redis failed.
FAILURES: Final = Counter(
    "latentstream_failures", "Failures of Kafka or Redis that were retried.", ["error"], registry=REGISTRY
)
# Seconds each stage of a batch took: decode, encode, recommend, dead_letters, anomalies, lists, commit.
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
# On-demand queries, by type and status.
QUERIES: Final = Counter("latentstream_queries", "On-demand queries answered.", ["type", "status"], registry=REGISTRY)
# Items that can be recommended now.
INDEX_ITEMS: Final = Gauge("latentstream_index_items", "Items in the index.", registry=REGISTRY)
# Users whose list waits for an item that is not published.
WAITING_ITEMS: Final = Gauge(
    "latentstream_waiting_items", "Items that users touched and nobody published yet.", registry=REGISTRY
)
# 1 for the model version in use.
MODEL: Final = Gauge("latentstream_model_info", "The model in use.", ["version"], registry=REGISTRY)
