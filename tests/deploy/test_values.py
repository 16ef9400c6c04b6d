"""Values that make no sense are refused before anything is installed, and the message says which."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, Chart, Refused, of_kind, pods

_VALUES: Any = yaml.safe_load((CHART / "values.yaml").read_text())


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("encoder.replica=2", "'replica' not allowed"),
        ("encoder.replicas=two", "/encoder/replicas"),
        ("encoder.replicas=-1", "/encoder/replicas"),
        ("encoder.target=tpu", "/encoder/target"),
        ("encoder.resources.limits.memory=2 GB", "/encoder/resources/limits/memory"),
        ("encoder.resources.limits=null", "/encoder/resources"),
        ("encoder.terminationGracePeriodSeconds=60", "/encoder/terminationGracePeriodSeconds"),
        ("encoder.spread.host=Always", "/encoder/spread/host"),
        ("recommender.autoscaling.minReplicas=0", "/recommender/autoscaling/minReplicas"),
        ("recommender.settings.LATENTSTREAM_RECOMMEND__KK=10", "LATENTSTREAM_RECOMMEND__KK"),
        ("settings.LATENTSTREAM_REDIS__URL=redis://user:password@host", "LATENTSTREAM_REDIS__URL"),
        ("trainer.mode=sometimes", "/trainer/mode"),
        ("trainer.schedule=daily", "/trainer/schedule"),
        ("image.version=latest", "/image/version"),
        ("image.digests.cpu=sha256:12", "/image/digests/cpu"),
        ("kafka.bootstrapServers=kafka", "/kafka/bootstrapServers"),
        ("kafka.partitions=0", "/kafka/partitions"),
        ("kafka.securityProtocol=TLS", "/kafka/securityProtocol"),
        ("kafka.sasl.mechanism=GSSAPI", "/kafka/sasl/mechanism"),
        ("registry.url=bucket/models", "/registry/url"),
        ("registry.volume.accessMode=ReadOnlyMany", "/registry/volume/accessMode"),
        ("networkPolicy.kafka.ports={}", "/networkPolicy/kafka/ports"),
        ("monitoring.interval=15", "/monitoring/interval"),
        ("redisServer.image.tag=latest", "/redisServer/image/tag"),
        ("redisServer.maxmemory=4Gi", "/redisServer/maxmemory"),
        ("kafkas.partitions=4", "'kafkas' not allowed"),
        # What no schema can say.
        (
            "encoder.autoscaling.enabled=false,encoder.replicas=17",
            r"encoder\.replicas is 17, and kafka\.partitions is 16",
        ),
        ("kafka.partitions=1", r"autoscaling\.minReplicas is 2, and no more than 1 are of use"),
        ("kafka.bootstrapServers=", r"kafka\.bootstrapServers is needed"),
        ("kafka.sasl.username=", r"kafka\.sasl\.username is needed"),
        ("kafka.sasl.secret=", r"kafka\.sasl\.secret is needed"),
        ("redis.secret=", r"redis\.secret is needed"),
        ("explorer.enabled=true", r"explorer\.tokenSecret is needed"),
        ("redisServer.enabled=true", r"redisServer\.usersSecret is needed"),
        ("kafkaCluster.enabled=true,kafkaCluster.replicas=1", "replicationFactor is 3, and there are 1 brokers"),
    ],
)
def test_a_wrong_value_is_refused(chart: Chart, value: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        chart.install("production", value)


def test_without_values_it_says_what_is_needed(chart: Chart) -> None:
    with pytest.raises(Refused, match=r"kafka\.bootstrapServers is needed"):
        chart.render()


def test_every_value_is_explained() -> None:
    """A comment stands before each name, once; the keys in Secrets stand beside their Secret."""
    explained, named = set(), set()
    before = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        found = re.match(r"\s*(\w+): ?\S", line)
        if found and not line.lstrip().startswith("#"):
            named.add(found[1])
            if before.lstrip().startswith("#"):
                explained.add(found[1])
        before = line
    assert {name for name in named - explained if not name.endswith("Key")} == set()


def test_workers_that_are_alike_have_the_same_values() -> None:
    assert _VALUES["encoder"].keys() == _VALUES["recommender"].keys()


def test_the_cap_is_the_partitions_whatever_is_asked(chart: Chart) -> None:
    scaled = of_kind(chart.install("production", "encoder.autoscaling.maxReplicas=100"), "ScaledObject")
    assert {one["metadata"]["name"]: one["spec"]["maxReplicaCount"] for one in scaled} == {
        "test-encoder": 16,
        "test-recommender": 16,
    }


def test_workers_can_be_taken_away(chart: Chart) -> None:
    (encoder, *_) = of_kind(chart.install("dev", "encoder.replicas=0"), "Deployment")
    assert (encoder["metadata"]["name"], encoder["spec"]["replicas"]) == ("test-encoder", 0)


def test_topics_may_have_names_that_kubernetes_would_not_take(chart: Chart) -> None:
    topics = of_kind(chart.install("dev", "kafka.topics.items=Shop_Items"), "KafkaTopic")
    assert ("shop-items", "Shop_Items") in [(one["metadata"]["name"], one["spec"]["topicName"]) for one in topics]


def test_gpus_are_asked_for_where_the_image_can_use_them(chart: Chart) -> None:
    containers = [pod["containers"][0] for pod in pods(chart.install("gpu")).values()]
    assert {one["name"]: "nvidia.com/gpu" in one["resources"]["limits"] for one in containers} == {
        one["name"]: one["image"].endswith("-gpu") for one in containers
    }
