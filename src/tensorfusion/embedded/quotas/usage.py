"""What one object uses of the resources that quotas can name.

Source: kubernetes pkg/quota/v1/evaluator, by behaviour.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.pod_amounts import Amount, Amounts, amounts_of, limits_of, requests_of
from tensorfusion.embedded.schema.builtin.resources import is_extended
from tensorfusion.model.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICES,
)

ONE = Amount(Fraction(1))
_COUNT = "count/"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_HUGE_PAGES = "hugepages-"
_BY_NAME = frozenset(
    resource.id for resource in (CONFIG_MAPS, SECRETS, RESOURCE_QUOTAS, REPLICATION_CONTROLLERS, SERVICES, PODS)
) | {PERSISTENT_VOLUME_CLAIMS.id}
_OF_CLASS = ".storageclass.storage.k8s.io/"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_NEEDED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})


def usage_of(resource: str, obj: JsonObject) -> Amounts:
    """What an object of a resource (by ``Resource.id``) uses, by the names that a quota's ``hard`` may have."""
    if resource == PODS.id:
        return _of_pod(obj)
    usage: Amounts = {_COUNT + resource: ONE}
    if resource == SERVICES.id:
        usage |= _of_service(obj.get("spec") or {})
    elif resource == PERSISTENT_VOLUME_CLAIMS.id:
        usage |= _of_claim(obj)
    elif resource in _BY_NAME:
        usage[resource] = ONE
    return usage


def resources_of(hard: Iterable[str]) -> frozenset[str]:
    """The resources whose objects a quota with these names counts."""
    found: set[str] = set()
    for name in hard:
        if name.startswith(_COUNT):
            found.add(name.removeprefix(_COUNT))
        elif name in _BY_NAME:
            found.add(name)
        elif name.startswith("services."):
            found.add(SERVICES.id)
        elif name == "requests.storage" or _OF_CLASS in name:
            found.add(PERSISTENT_VOLUME_CLAIMS.id)
        else:
            found.add(PODS.id)
    return frozenset(found)


def missing_amounts(pod: JsonObject, hard: Iterable[str]) -> str:
    """Which amounts a quota makes containers state and which of them do not; ``""`` when all do."""
    spec = pod.get("spec") or {}
    if spec.get("resources"):
        return ""
    needed = sorted(_NEEDED.intersection(hard))
    lacking: dict[str, set[str]] = {}
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            resources = container.get("resources")
            stated = _compute(amounts_of(resources, "requests"), amounts_of(resources, "limits"))
            for name in needed:
                if name not in stated:
                    lacking.setdefault(name, set()).add(container.get("name", ""))
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking))


def _of_pod(pod: JsonObject) -> Amounts:
    """A pod that has ended still is an object, but uses nothing."""
    usage: Amounts = {_COUNT + PODS.id: ONE}
    if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
        usage |= {PODS.id: ONE, **_compute(requests_of(pod), limits_of(pod))}
    return usage


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    usage: Amounts = {}
    for name in _COMPUTE:
        if name in requests:
            usage[name] = usage[f"requests.{name}"] = requests[name]
        if name in limits:
            usage[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith(_HUGE_PAGES):
            usage[name] = usage[f"requests.{name}"] = amount
        elif is_extended(name):
            usage[f"requests.{name}"] = amount
    return usage


def _of_service(spec: JsonObject) -> Amounts:
    usage: Amounts = {SERVICES.id: ONE}
    ports: Sequence[JsonObject] = spec.get("ports") or ()
    kind = spec.get("type")
    if kind == "LoadBalancer":
        usage["services.loadbalancers"] = ONE
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
    if kind in ("LoadBalancer", "NodePort"):
        usage["services.nodeports"] = Amount(Fraction(len(ports)))
    return usage


def _of_claim(claim: JsonObject) -> Amounts:
    spec, annotations = claim.get("spec") or {}, claim["metadata"].get("annotations") or {}
    usage: Amounts = {PERSISTENT_VOLUME_CLAIMS.id: ONE}
    storage = amounts_of(spec.get("resources"), "requests").get("storage")
    if storage is not None:
        usage["requests.storage"] = storage
    named = annotations.get(_BETA_CLASS) or spec.get("storageClassName")
    if named:
        usage |= {f"{named}{_OF_CLASS}{name}": amount for name, amount in tuple(usage.items())}
    return usage
