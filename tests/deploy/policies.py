"""What every install must keep to. A policy returns what is wrong, one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tests.deploy.chart import Manifest, environment, of_kind, pods
from tests.processes import DRAIN_TIMEOUT_S

Policy = Callable[[Sequence[Manifest]], Iterator[str]]
# Workers of which there may be many, each with some of the partitions.
SCALED: Final = ("encoder", "recommender")


def runs_as_nobody_special(manifests: Sequence[Manifest]) -> Iterator[str]:
    """No root, no capabilities, no way to more rights, nothing writable but what is mounted."""
    for name, pod in pods(manifests).items():
        security = pod.get("securityContext", {})
        if not security.get("runAsNonRoot") or not security.get("runAsUser"):
            yield f"{name} may run as root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name} has no seccomp profile"
        for container in _containers(pod):
            own = container.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{name} may get more rights"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{name} can write to its root file system"
            if own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name} keeps capabilities"
            if own.get("privileged") or own.get("runAsUser") == 0 or own.get("capabilities", {}).get("add"):
                yield f"{name} is privileged"


def has_limits(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Requests and limits, and memory that is really there: both are the same."""
    for name, pod in pods(manifests).items():
        for container in _containers(pod):
            resources = container.get("resources", {})
            asked, most = resources.get("requests", {}), resources.get("limits", {})
            for what in ("cpu", "memory"):
                if what not in asked or what not in most:
                    yield f"{name} has no request or no limit of {what}"
            if asked.get("memory") != most.get("memory"):
                yield f"{name} may be killed for memory that it was promised"


def has_no_token(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Nothing talks to Kubernetes, so nothing can be made to."""
    for name, pod in pods(manifests).items():
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name} gets a token of its service account"
    for account in of_kind(manifests, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield "the service account hands out its token"


def liveness_is_progress(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A restart repairs neither Kafka nor Redis: of workers only `/live` is asked, and no command is run."""
    for name, pod in pods(manifests).items():
        for container in _containers(pod):
            server = container["name"] == "redis"
            wanted = {"tcpSocket": {"port": "redis"}} if server else {"httpGet": {"path": "/live", "port": "http"}}
            kinds = ("httpGet", "tcpSocket", "exec", "grpc")
            probe = {kind: part for kind, part in container.get("livenessProbe", {}).items() if kind in kinds}
            if probe != wanted:
                yield f"{name}: liveness is {probe or 'not asked'}"
            if "readinessProbe" not in container or "startupProbe" not in container:
                yield f"{name} has no readiness or no startup probe"


def has_time_to_drain(manifests: Sequence[Manifest]) -> Iterator[str]:
    """SIGKILL comes later than a worker takes at most to finish its batch, by the measure of the other tests."""
    for name, pod in pods(manifests).items():
        if pod.get("terminationGracePeriodSeconds", 30) <= DRAIN_TIMEOUT_S:
            yield f"{name} is killed before it has drained"


def has_a_fixed_image(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A tag that is a version, or a digest."""
    for name, pod in pods(manifests).items():
        for container in _containers(pod):
            repository, digest, _ = container["image"].partition("@")
            tag = repository.rpartition("/")[2].partition(":")[2]
            if not digest and (not tag or tag.startswith("latest")):
                yield f"{name} runs {container['image']}, which may be something else tomorrow"


def names_no_secret(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Secrets are referred to, never made or written out."""
    for secret in of_kind(manifests, "Secret"):
        yield f"the chart holds the secret {secret['metadata']['name']}"
    for name, pod in pods(manifests).items():
        for variable, value in environment(pod).items():
            if variable.endswith(("PASSWORD", "TOKEN", "REDIS__URL")) and "secretKeyRef" not in value:
                yield f"{name} has {variable} written out"


def is_walled_in(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Each pod is selected by a policy for what comes in and for what goes out."""
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job", "CronJob"):
        spec = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
        labels = spec["template"]["metadata"]["labels"]
        for direction in ("Ingress", "Egress"):
            if not any(
                selects(policy["podSelector"], labels) for policy in policies if direction in policy["policyTypes"]
            ):
                yield f"{manifest['kind']} {manifest['metadata']['name']} has no network policy for {direction}"


def scales_to_the_partitions(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Not beyond: a consumer without a partition has nothing to do."""
    for name, pod in pods(manifests).items():
        (role,) = (container["name"] for container in pod["containers"])
        if role not in SCALED:
            continue
        partitions = int(environment(pod)["LATENTSTREAM_KAFKA__PARTITIONS"])
        target = name.partition(" ")[2]
        scaled = [one["spec"] for one in of_kind(manifests, "ScaledObject") if _target(one) == target]
        (deployment,) = (one for one in of_kind(manifests, "Deployment") if one["metadata"]["name"] == target)
        most = scaled[0]["maxReplicaCount"] if scaled else deployment["spec"]["replicas"]
        if most > partitions:
            yield f"{target} may have {most} processes for {partitions} partitions"
        if scaled and "replicas" in deployment["spec"]:
            yield f"each upgrade takes {target} back to a fixed number of processes"
        groups = [one["metadata"]["consumerGroup"] for spec in scaled for one in spec["triggers"]]
        if any(group != f"{environment(pod)['LATENTSTREAM_KAFKA__GROUP_PREFIX']}-{role}" for group in groups):
            yield f"{target} is scaled by the lag of {groups}"


def survives_a_node(manifests: Sequence[Manifest]) -> Iterator[str]:
    """In production: two or more of each, on different hosts, not all drained at once, not the first to give way."""
    for role in SCALED:
        found = [pod for name, pod in pods(manifests).items() if name.endswith(f"-{role}")]
        constraints = [one for pod in found for one in pod.get("topologySpreadConstraints", [])]
        spread = {one["topologyKey"]: one["whenUnsatisfiable"] for one in constraints}
        if spread.get("kubernetes.io/hostname") != "DoNotSchedule" or "topology.kubernetes.io/zone" not in spread:
            yield f"{role}s may all be on one host or in one zone"
        if any(one.get("nodeTaintsPolicy") != "Honor" for one in constraints):
            yield f"{role}s are spread over nodes that do not take them"
        if not all(pod.get("priorityClassName") for pod in found):
            yield f"{role}s have no priority"
        budgets = of_kind(manifests, "PodDisruptionBudget")
        if not any(one["metadata"]["name"].endswith(f"-{role}") for one in budgets):
            yield f"{role}s may all be drained at once"
        least = [
            one["spec"]["minReplicaCount"] for one in of_kind(manifests, "ScaledObject") if _target(one).endswith(role)
        ]
        if not least or least[0] < 2:
            yield f"there may be a single {role}"


ALWAYS: Final[Sequence[Policy]] = (
    runs_as_nobody_special,
    has_limits,
    has_no_token,
    liveness_is_progress,
    has_time_to_drain,
    has_a_fixed_image,
    names_no_secret,
    is_walled_in,
    scales_to_the_partitions,
)


def _containers(pod: Manifest) -> list[Any]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def _target(scaled: Manifest) -> str:
    return str(scaled["spec"]["scaleTargetRef"]["name"])


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Return whether a selector takes pods with these labels."""
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        one["operator"] == "In" and labels.get(one["key"]) in one["values"]
        for one in selector.get("matchExpressions", [])
    )
