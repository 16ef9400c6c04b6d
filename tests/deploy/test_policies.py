"""Policies over the rendered manifests, and proof that each notices what it is for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.deploy import policies
from tests.deploy.chart import INSTALLS, Manifest, of_kind, pods
from tests.deploy.policies import Policy

Break = Callable[[list[Manifest]], Any]
Rendered = dict[str, list[Manifest]]


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("policy", policies.ALWAYS, ids=lambda policy: policy.__name__)
def test_every_install_keeps_to_the_policies(rendered: Rendered, install: str, policy: Policy) -> None:
    assert list(policy(rendered[install])) == []


@pytest.mark.parametrize("install", ["production", "gpu", "everything"])
def test_production_survives_the_loss_of_a_node(rendered: Rendered, install: str) -> None:
    assert list(policies.survives_a_node(rendered[install])) == []


def test_a_try_out_need_not_survive_it(rendered: Rendered) -> None:
    assert list(policies.survives_a_node(rendered["dev"]))


def _pod(manifests: list[Manifest]) -> Any:
    return pods(manifests)["Deployment test-encoder"]


def _container(manifests: list[Manifest]) -> Any:
    return _pod(manifests)["containers"][0]


def _scaled(manifests: list[Manifest]) -> Any:
    return of_kind(manifests, "ScaledObject")[0]["spec"]


def _drop(kind: str) -> Break:
    def drop(manifests: list[Manifest]) -> None:
        manifests[:] = [manifest for manifest in manifests if manifest["kind"] != kind]

    return drop


_BROKEN: Final[list[tuple[Policy, str, Break]]] = [
    (policies.runs_as_nobody_special, "root", lambda all: _pod(all)["securityContext"].pop("runAsNonRoot")),
    (policies.runs_as_nobody_special, "user 0", lambda all: _pod(all)["securityContext"].update(runAsUser=0)),
    (policies.runs_as_nobody_special, "seccomp", lambda all: _pod(all)["securityContext"].pop("seccompProfile")),
    (policies.runs_as_nobody_special, "escalation", lambda all: _security(all).pop("allowPrivilegeEscalation")),
    (policies.runs_as_nobody_special, "writable", lambda all: _security(all).update(readOnlyRootFilesystem=False)),
    (policies.runs_as_nobody_special, "capabilities", lambda all: _security(all).pop("capabilities")),
    (policies.runs_as_nobody_special, "added", lambda all: _security(all)["capabilities"].update(add=["NET_RAW"])),
    (policies.has_limits, "no limit", lambda all: _container(all)["resources"]["limits"].pop("memory")),
    (policies.has_limits, "no request", lambda all: _container(all)["resources"]["requests"].pop("cpu")),
    (policies.has_limits, "overcommitted", lambda all: _container(all)["resources"]["requests"].update(memory="1Gi")),
    (policies.has_no_token, "pod", lambda all: _pod(all).pop("automountServiceAccountToken")),
    (
        policies.has_no_token,
        "account",
        lambda all: of_kind(all, "ServiceAccount")[0].update(automountServiceAccountToken=True),
    ),
    (policies.liveness_is_progress, "ready", lambda all: _probe(all)["httpGet"].update(path="/ready")),
    (policies.liveness_is_progress, "command", lambda all: _probe(all).update(exec={"command": ["redis-cli", "ping"]})),
    (policies.liveness_is_progress, "none", lambda all: _container(all).pop("livenessProbe")),
    (policies.liveness_is_progress, "no readiness", lambda all: _container(all).pop("readinessProbe")),
    (policies.has_time_to_drain, "default", lambda all: _pod(all).pop("terminationGracePeriodSeconds")),
    (policies.has_time_to_drain, "equal", lambda all: _pod(all).update(terminationGracePeriodSeconds=60)),
    (policies.has_a_fixed_image, "latest", lambda all: _container(all).update(image="shop/latentstream:latest-cpu")),
    (policies.has_a_fixed_image, "no tag", lambda all: _container(all).update(image="host:5000/latentstream")),
    (policies.names_no_secret, "Secret", lambda all: all.append({"kind": "Secret", "metadata": {"name": "x"}})),
    (
        policies.names_no_secret,
        "written out",
        lambda all: _container(all)["env"].append({"name": "LATENTSTREAM_REDIS__URL", "value": "redis://x"}),
    ),
    (policies.is_walled_in, "no policy", _drop("NetworkPolicy")),
    (
        policies.is_walled_in,
        "one way",
        lambda all: [one["spec"].update(policyTypes=["Ingress"]) for one in of_kind(all, "NetworkPolicy")],
    ),
    (policies.scales_to_the_partitions, "too many", lambda all: _scaled(all).update(maxReplicaCount=17)),
    (
        policies.scales_to_the_partitions,
        "another group",
        lambda all: _scaled(all)["triggers"][0]["metadata"].update(consumerGroup="latentstream"),
    ),
    (
        policies.scales_to_the_partitions,
        "fixed as well",
        lambda all: [one["spec"].update(replicas=2) for one in of_kind(all, "Deployment")],
    ),
    (policies.survives_a_node, "no budget", _drop("PodDisruptionBudget")),
    (policies.survives_a_node, "one host", lambda all: _pod(all).pop("topologySpreadConstraints")),
    (policies.survives_a_node, "no priority", lambda all: _pod(all).pop("priorityClassName")),
    (policies.survives_a_node, "single", lambda all: _scaled(all).update(minReplicaCount=1)),
]


@pytest.mark.parametrize(
    ("policy", "broken"),
    [pytest.param(policy, broken, id=f"{policy.__name__}-{what}") for policy, what, broken in _BROKEN],
)
def test_a_policy_notices_a_broken_copy(rendered: Rendered, policy: Policy, broken: Break) -> None:
    manifests = copy.deepcopy(rendered["production"])
    broken(manifests)
    assert list(policy(manifests))


def test_every_policy_has_a_broken_copy() -> None:
    assert {policy for policy, _, _ in _BROKEN} == {*policies.ALWAYS, policies.survives_a_node}


def _security(manifests: list[Manifest]) -> Any:
    return _container(manifests)["securityContext"]


def _probe(manifests: list[Manifest]) -> Any:
    return _container(manifests)["livenessProbe"]
