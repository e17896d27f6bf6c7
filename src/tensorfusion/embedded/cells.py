"""The rows of built-in kinds in tables, as a real API server writes them.

The columns come from the facts; here is what stands in them, by ``Resource.id``.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from tensorfusion.embedded import cluster_cells, workload_cells
from tensorfusion.embedded.ages import age
from tensorfusion.embedded.cell_parts import UNKNOWN, age_of, labels_text, name_of, some_of
from tensorfusion.embedded.pod_cells import NONE, pod_cells
from tensorfusion.embedded.views import EVENT_VIEW
from tensorfusion.model.meta import Raw

Cells = Callable[[Raw, datetime], list[object]]
_ROLE = "node-role.kubernetes.io/"


def _namespace(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), (obj.get("status") or {}).get("phase", ""), age_of(obj, now)]


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
        name_of(obj),
        ",".join(states),
        ",".join(sorted(roles)) or NONE,
        age_of(obj, now),
        system.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        system.get("osImage") or UNKNOWN,
        system.get("kernelVersion") or UNKNOWN,
        system.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _address(status: Raw, type_: str) -> str:
    return next((str(entry["address"]) for entry in status.get("addresses") or () if entry.get("type") == type_), NONE)


def _service(obj: Raw, now: datetime) -> list[object]:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "ClusterIP")
    return [
        name_of(obj),
        kind,
        spec.get("clusterIP") or NONE,
        _external_address(spec, obj.get("status") or {}),
        ",".join(_service_port(port) for port in spec.get("ports") or ()) or NONE,
        age_of(obj, now),
        labels_text(spec.get("selector") or {}),
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
    return [name_of(obj), some_of(shown, 3), age_of(obj, now)]


def _config_map(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age_of(obj, now)]


def _secret(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), obj.get("type", ""), len(obj.get("data") or ()), age_of(obj, now)]


def _service_account(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), len(obj.get("secrets") or ()), age_of(obj, now)]


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
        name_of(obj),
    ]


def _new_event(obj: Raw, now: datetime) -> list[object]:
    return _event(EVENT_VIEW.to_stored(obj), now)


def _lease(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), (obj.get("spec") or {}).get("holderIdentity", ""), age_of(obj, now)]


def _priority_class(obj: Raw, now: datetime) -> list[object]:
    policy = obj.get("preemptionPolicy", "PreemptLowerPriority")
    return [name_of(obj), obj.get("value", 0), bool(obj.get("globalDefault")), age_of(obj, now), policy]


def _created_at(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp")]


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
    return [name_of(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age_of(obj, now), users, groups, accounts]


def _webhooks(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), len(obj.get("webhooks") or ()), age_of(obj, now)]


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
    "deployments.apps": workload_cells.deployment_cells,
    "replicasets.apps": workload_cells.replica_set_cells,
    "statefulsets.apps": workload_cells.stateful_set_cells,
    "daemonsets.apps": workload_cells.daemon_set_cells,
    "controllerrevisions.apps": workload_cells.controller_revision_cells,
    "jobs.batch": workload_cells.job_cells,
    "cronjobs.batch": workload_cells.cron_job_cells,
    "podtemplates": workload_cells.pod_template_cells,
    "poddisruptionbudgets.policy": workload_cells.disruption_budget_cells,
    "horizontalpodautoscalers.autoscaling": workload_cells.autoscaler_cells,
    "endpointslices.discovery.k8s.io": cluster_cells.endpoint_slice_cells,
    "ingresses.networking.k8s.io": cluster_cells.ingress_cells,
    "ingressclasses.networking.k8s.io": cluster_cells.ingress_class_cells,
    "networkpolicies.networking.k8s.io": cluster_cells.network_policy_cells,
    "persistentvolumes": cluster_cells.volume_cells,
    "persistentvolumeclaims": cluster_cells.volume_claim_cells,
    "storageclasses.storage.k8s.io": cluster_cells.storage_class_cells,
    "resourcequotas": cluster_cells.quota_cells,
    "limitranges": _created_at,
    "runtimeclasses.node.k8s.io": cluster_cells.runtime_class_cells,
    "resourceclaims.resource.k8s.io": cluster_cells.resource_claim_cells,
    "resourceclaimtemplates.resource.k8s.io": cluster_cells.aged_cells,
    "deviceclasses.resource.k8s.io": cluster_cells.aged_cells,
    "resourceslices.resource.k8s.io": cluster_cells.resource_slice_cells,
    "events.events.k8s.io": _new_event,
}
