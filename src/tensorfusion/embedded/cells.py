"""The rows of built-in kinds in tables, as a real API server writes them.

The columns come from the facts; here is what stands in them, by ``Resource.id``.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tensorfusion.embedded.ages import age
from tensorfusion.embedded.pod_cells import NONE, pod_cells
from tensorfusion.model.meta import Raw

Cells = Callable[[Raw, datetime], list[object]]
_ROLE = "node-role.kubernetes.io/"
_UNKNOWN = "<unknown>"


def _name(obj: Raw) -> str:
    return str(obj["metadata"].get("name", ""))


def _age(obj: Raw, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _namespace(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), (obj.get("status") or {}).get("phase", ""), _age(obj, now)]


def _node(obj: Raw, now: datetime) -> list[object]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    states = [
        "Ready" if condition.get("status") == "True" else "NotReady"
        for condition in status.get("conditions") or ()
        if condition.get("type") == "Ready"
    ] or ["Unknown"]
    if spec.get("unschedulable"):
        states.append("SchedulingDisabled")
    labels = obj["metadata"].get("labels") or {}
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE) and key != _ROLE}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    system = status.get("nodeInfo") or {}
    return [
        _name(obj),
        ",".join(states),
        ",".join(sorted(roles)) or NONE,
        _age(obj, now),
        system.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        system.get("osImage") or _UNKNOWN,
        system.get("kernelVersion") or _UNKNOWN,
        system.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _address(status: Raw, type_: str) -> str:
    return next((str(entry["address"]) for entry in status.get("addresses") or () if entry.get("type") == type_), NONE)


def _service(obj: Raw, now: datetime) -> list[object]:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "ClusterIP")
    return [
        _name(obj),
        kind,
        spec.get("clusterIP") or NONE,
        _external_address(spec, obj.get("status") or {}),
        ",".join(_service_port(port) for port in spec.get("ports") or ()) or NONE,
        _age(obj, now),
        _labels(spec.get("selector") or {}),
    ]


def _service_port(port: Raw) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"


def _external_address(spec: Raw, status: Raw) -> str:
    own = list(spec.get("externalIPs") or ())
    match spec.get("type", "ClusterIP"):
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case "LoadBalancer":
            ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
            given = [entry.get("ip") or entry.get("hostname", "") for entry in ingress]
            return ",".join([*given, *own]) or "<pending>"
        case _:
            return ",".join(own) or NONE


def _endpoints(obj: Raw, now: datetime) -> list[object]:
    shown: list[str] = []
    for subset in obj.get("subsets") or ():
        ips = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = [port.get("port") for port in subset.get("ports") or ()]
        shown += [f"{ip}:{port}" for port in ports for ip in ips] if ports else ips
    text = ",".join(shown[:3]) + (f" + {len(shown) - 3} more..." if len(shown) > 3 else "")
    return [_name(obj), text or NONE, _age(obj, now)]


def _config_map(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)]


def _secret(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), _age(obj, now)]


def _service_account(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), len(obj.get("secrets") or ()), _age(obj, now)]


def _event(obj: Raw, now: datetime) -> list[object]:
    involved, source, series = obj.get("involvedObject") or {}, obj.get("source") or {}, obj.get("series")
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") if series else obj.get("lastTimestamp") or first
    component = source.get("component") or obj.get("reportingComponent", "")
    host = source.get("host") or obj.get("reportingInstance", "")
    return [
        age(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        ", ".join(part for part in (component, host) if part),
        obj.get("message", "").strip(),
        age(first, now),
        series.get("count", 1) if series else obj.get("count") or 1,
        _name(obj),
    ]


def _lease(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), _age(obj, now)]


def _priority_class(obj: Raw, now: datetime) -> list[object]:
    policy = obj.get("preemptionPolicy", "PreemptLowerPriority")
    return [_name(obj), obj.get("value", 0), bool(obj.get("globalDefault")), _age(obj, now), policy]


def _created_at(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _binding(obj: Raw, now: datetime) -> list[object]:
    role = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or ()
    users, groups = (
        ", ".join(subject.get("name", "") for subject in subjects if subject.get("kind") == kind)
        for kind in ("User", "Group")
    )
    accounts = ", ".join(
        f"{subject.get('namespace', '')}/{subject.get('name', '')}"
        for subject in subjects
        if subject.get("kind") == "ServiceAccount"
    )
    return [_name(obj), f"{role.get('kind', '')}/{role.get('name', '')}", _age(obj, now), users, groups, accounts]


def _webhooks(obj: Raw, now: datetime) -> list[object]:
    return [_name(obj), len(obj.get("webhooks") or ()), _age(obj, now)]


def _deployment(obj: Raw, now: datetime) -> list[object]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return [
        _name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(obj, now),
        *_template(spec),
    ]


def _replica_set(obj: Raw, now: datetime) -> list[object]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    counts = [spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [_name(obj), *counts, _age(obj, now), *_template(spec)]


def _template(spec: Raw) -> list[object]:
    """Containers, images and selector of a workload."""
    containers: Sequence[Raw] = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        _selector(spec.get("selector") or {}),
    ]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or NONE


def _selector(selector: Raw) -> str:
    """A label selector as text, sorted by key."""
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        text = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(expression.get("operator", ""), key)
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts)) or NONE


BUILTIN_CELLS: Mapping[str, Cells] = {
    "pods": pod_cells,
    "nodes": _node,
    "namespaces": _namespace,
    "services": _service,
    "endpoints": _endpoints,
    "configmaps": _config_map,
    "secrets": _secret,
    "serviceaccounts": _service_account,
    "events": _event,
    "leases.coordination.k8s.io": _lease,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "roles.rbac.authorization.k8s.io": _created_at,
    "clusterroles.rbac.authorization.k8s.io": _created_at,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "customresourcedefinitions.apiextensions.k8s.io": _created_at,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
}
