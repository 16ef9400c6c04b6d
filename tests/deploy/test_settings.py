"""The chart's environment variables are settings that exist, and what an install needs is among them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel, ValidationError

from schemas.settings import ENV_PREFIX, Settings
from tests.deploy.chart import CHART, INSTALLS, Manifest, environment, of_kind, pods

Rendered = dict[str, list[Manifest]]
# What stands in the Secrets that the chart refers to.
SECRETS: Final = {
    "LATENTSTREAM_REDIS__URL": "rediss://worker:secret@redis.example.com:6379/0",
    "LATENTSTREAM_KAFKA__SASL_PASSWORD": "secret",
    "LATENTSTREAM_EXPLORER__TOKEN": "0123456789abcdef",
}
# A worker without one of these starts as on a developer's machine.
REQUIRED: Final = {
    "LATENTSTREAM_HOME",
    "LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS",
    "LATENTSTREAM_KAFKA__CREATE_TOPICS",
    "LATENTSTREAM_KAFKA__PARTITIONS",
    "LATENTSTREAM_KAFKA__SECURITY_PROTOCOL",
    "LATENTSTREAM_REDIS__URL",
    "LATENTSTREAM_REDIS__PREFIX",
    "LATENTSTREAM_MODEL__REGISTRY",
    "LATENTSTREAM_HEALTH__HOST",
    "LATENTSTREAM_HEALTH__PORT",
    "LATENTSTREAM_LOG_FORMAT",
}
REQUIRED_IN_PRODUCTION: Final = REQUIRED | {
    "LATENTSTREAM_KAFKA__SASL_MECHANISM",
    "LATENTSTREAM_KAFKA__SASL_USERNAME",
    "LATENTSTREAM_KAFKA__SASL_PASSWORD",
    "LATENTSTREAM_KAFKA__SSL_CAFILE",
    "LATENTSTREAM_REDIS__SSL_CAFILE",
}


def _settings(section: type[BaseModel] = Settings, prefix: str = ENV_PREFIX) -> Iterator[str]:
    """Return the variable of each setting."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper()


def _problems(manifests: Sequence[Manifest], required: set[str]) -> Iterator[str]:
    known = set(_settings())
    for name, pod in pods(manifests).items():
        if name.startswith("StatefulSet"):
            continue
        given = {one for one in environment(pod) if one.startswith(ENV_PREFIX)}
        yield from (f"{name}: {variable} is no setting" for variable in given - known)
        yield from (f"{name}: {variable} is missing" for variable in required - given)


def _required(install: str) -> set[str]:
    return REQUIRED if install == "dev" else REQUIRED_IN_PRODUCTION


def _read(pod: Manifest, patch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that a container of the pod reads from its environment."""
    for name, value in environment(pod).items():
        if name.startswith(ENV_PREFIX):
            patch.setenv(name, value if isinstance(value, str) else SECRETS[name])
    return Settings()


@pytest.mark.parametrize("install", INSTALLS)
def test_every_variable_is_a_setting_and_none_that_is_needed_is_missing(rendered: Rendered, install: str) -> None:
    assert list(_problems(rendered[install], _required(install))) == []


@pytest.mark.parametrize("install", INSTALLS)
def test_workers_accept_their_environment(rendered: Rendered, install: str) -> None:
    for name, pod in pods(rendered[install]).items():
        if name.startswith("StatefulSet"):
            continue
        with pytest.MonkeyPatch.context() as patch:
            if install == "dev":
                patch.setitem(SECRETS, "LATENTSTREAM_REDIS__URL", "redis://worker:secret@test-redis:6379/0")
            settings = _read(pod, patch)
        mounted = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
        files = [settings.kafka.ssl_cafile, settings.redis.ssl_cafile, settings.redis.ssl_certfile, settings.home]
        assert all(any(file.is_relative_to(one) for one in mounted) for file in files if file), name
        assert (settings.health.host, settings.health.port) == ("0.0.0.0", 8080)  # noqa: S104
        (port,) = pod["containers"][0]["ports"]
        assert port["containerPort"] == settings.health.port


def _rename(pod: Manifest, old: str, new: str) -> None:
    (one,) = (one for one in pod["containers"][0]["env"] if one["name"] == old)
    one["name"] = new


@pytest.mark.parametrize("variable", sorted(REQUIRED_IN_PRODUCTION))
def test_a_broken_copy_is_noticed(rendered: Rendered, variable: str) -> None:
    manifests = copy.deepcopy(rendered["production"])
    _rename(pods(manifests)["Deployment test-recommender"], variable, f"{variable}S")
    assert sorted(_problems(manifests, REQUIRED_IN_PRODUCTION)) == [
        f"Deployment test-recommender: {variable} is missing",
        f"Deployment test-recommender: {variable}S is no setting",
    ]


def test_a_value_that_a_worker_refuses_is_noticed(rendered: Rendered) -> None:
    pod = copy.deepcopy(pods(rendered["production"])["Deployment test-encoder"])
    _rename(pod, "LATENTSTREAM_KAFKA__SASL_USERNAME", "LATENTSTREAM_KAFKA__SASL_USER")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValidationError, match="sasl_user"):
        _read(pod, patch)


def test_every_setting_can_be_set_through_the_chart(rendered: Rendered) -> None:
    """By a value of its own, or under `settings`, whose names the schema lists so that a misspelt one is refused."""
    schema: Any = json.loads((CHART / "values.schema.json").read_text())
    listed = set(schema["definitions"]["settings"]["propertyNames"]["enum"])
    # The one section that the README gives as a whole.
    assert "LATENTSTREAM_MODEL__CONTENT" in listed
    listed.remove("LATENTSTREAM_MODEL__CONTENT")
    own = {
        name
        for manifests in rendered.values()
        for deployment in of_kind(manifests, "Deployment", "CronJob")
        for name in environment(pods([deployment]).popitem()[1])
        if name.startswith(ENV_PREFIX)
    }
    # No install of the tests has a broker that asks for a certificate.
    own |= {"LATENTSTREAM_KAFKA__SSL_CERTFILE", "LATENTSTREAM_KAFKA__SSL_KEYFILE"}
    own.remove("LATENTSTREAM_RECOMMEND__K")  # An example of `settings`.
    assert listed == set(_settings()) - own, "definitions.settings in values.schema.json lists other names"


def test_topics_are_as_workers_make_them(rendered: Rendered) -> None:
    from workers.connections import _ANOMALIES_KEPT_MS, _largest_message

    topics = {topic["metadata"]["name"]: topic["spec"] for topic in of_kind(rendered["dev"], "KafkaTopic")}
    largest = _largest_message(Settings())
    items = topics["items"]["config"]
    assert (items["cleanup.policy"], items["max.message.bytes"]) == ("compact", largest)
    # A model that is promoted again must still learn what was deleted meanwhile.
    assert items["delete.retention.ms"] >= 1000 * Settings().swap.keep_s
    assert topics["interactions"]["config"]["max.message.bytes"] == largest
    assert topics["dead-letters"]["config"]["max.message.bytes"] == largest
    assert topics["anomalies"]["config"] == {"retention.ms": _ANOMALIES_KEPT_MS}


def test_the_chart_is_of_this_version() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    version = next(line.partition('"')[2][:-1] for line in project.splitlines() if line.startswith("version"))
    assert f'appVersion: "{version}"' in (CHART / "Chart.yaml").read_text()
