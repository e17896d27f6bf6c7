"""The rows of storage, networking, quota and device kinds in tables.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from collections.abc import Sequence
from datetime import datetime

from tensorfusion.embedded.cell_parts import UNSET, age_of, name_of, selector_text, some_of, spec_and_status
from tensorfusion.embedded.pod_cells import NONE
from tensorfusion.model.meta import Raw

_SHOWN = 3
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def endpoint_slice_cells(obj: Raw, now: datetime) -> list[object]:
    ports = [str(port.get("port") or port.get("name", "*")) for port in obj.get("ports") or ()]
    addresses = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return [
        name_of(obj),
        obj.get("addressType", ""),
        some_of(ports, _SHOWN, empty=UNSET),
        some_of(addresses, _SHOWN, empty=UNSET),
        age_of(obj, now),
    ]


def ingress_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    given = (status.get("loadBalancer") or {}).get("ingress") or ()
    addresses = {entry.get("ip") or entry.get("hostname", "") for entry in given} - {""}
    return [
        name_of(obj),
        spec.get("ingressClassName", NONE),
        _hosts(spec.get("rules") or ()),
        ",".join(sorted(addresses)),
        "80, 443" if spec.get("tls") else "80",
        age_of(obj, now),
    ]


def _hosts(rules: Sequence[Raw]) -> str:
    hosts: list[str] = []
    for rule in rules:
        if len(hosts) == _SHOWN:
            return f"{','.join(hosts)} + {len(rules) - _SHOWN} more..."
        if rule.get("host"):
            hosts.append(rule["host"])
    return ",".join(hosts) or "*"


def ingress_class_cells(obj: Raw, now: datetime) -> list[object]:
    spec = obj.get("spec") or {}
    parameters, shown = spec.get("parameters"), NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if "apiGroup" in parameters else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name_of(obj), spec.get("controller", ""), shown, age_of(obj, now)]


def network_policy_cells(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), selector_text((obj.get("spec") or {}).get("podSelector")), age_of(obj, now)]


def volume_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    claim = spec.get("claimRef")
    return [
        name_of(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        _modes(spec),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(obj, status),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _class(obj, spec),
        spec.get("volumeAttributesClassName", UNSET),
        status.get("reason", ""),
        age_of(obj, now),
        spec.get("volumeMode", UNSET),
    ]


def volume_claim_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    volume = spec.get("volumeName", "")
    return [
        name_of(obj),
        _phase(obj, status),
        volume,
        (status.get("capacity") or {}).get("storage", "0") if volume else "",
        _modes(status) if volume else "",
        _class(obj, spec),
        spec.get("volumeAttributesClassName", UNSET),
        age_of(obj, now),
        spec.get("volumeMode", UNSET),
    ]


def _phase(obj: Raw, status: Raw) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(status.get("phase", ""))


def _modes(holder: Raw) -> str:
    modes = holder.get("accessModes") or ()
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def _class(obj: Raw, spec: Raw) -> str:
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(_BETA_CLASS, spec.get("storageClassName", "")))


def storage_class_cells(obj: Raw, now: datetime) -> list[object]:
    annotations = obj["metadata"].get("annotations") or {}
    is_default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return [
        name_of(obj) + (" (default)" if is_default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age_of(obj, now),
    ]


def quota_cells(obj: Raw, now: datetime) -> list[object]:
    status = obj.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    lines = [(name, f"{name}: {used.get(name, '0')}/{hard[name]}") for name in sorted(hard)]
    requests = ", ".join(line for name, line in lines if not name.startswith("limits."))
    limits = ", ".join(line for name, line in lines if name.startswith("limits."))
    return [name_of(obj), requests, limits, age_of(obj, now)]


def runtime_class_cells(obj: Raw, now: datetime) -> list[object]:
    return [name_of(obj), obj.get("handler", ""), age_of(obj, now)]


def resource_claim_cells(obj: Raw, now: datetime) -> list[object]:
    status = obj.get("status") or {}
    states = ["deleted"] if obj["metadata"].get("deletionTimestamp") else []
    if status.get("allocation") is not None:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    elif not states:
        states.append("pending")
    return [name_of(obj), ",".join(states), age_of(obj, now)]


def resource_slice_cells(obj: Raw, now: datetime) -> list[object]:
    spec = obj.get("spec") or {}
    pool = (spec.get("pool") or {}).get("name", "")
    return [name_of(obj), spec.get("nodeName", ""), spec.get("driver", ""), pool, age_of(obj, now)]


def aged_cells(obj: Raw, now: datetime) -> list[object]:
    """Kinds of which a table only says since when they are."""
    return [name_of(obj), age_of(obj, now)]
