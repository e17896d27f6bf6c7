"""What a server warns of in pods and templates of pods: what is valid, but hardly what its author means.

Pure, and on the road of every new pod: one look at each part that most pods do not have.

Source: pod warnings of Kubernetes 1.34, by behaviour.
"""

from collections.abc import Iterator
from typing import Any

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.embedded.schema.names import label
from tensorfusion.model.meta import Raw

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "pods": (),
    "podtemplates": ("template",),
    "deployments.apps": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}
_NAMES = frozenset(("deployments.apps", "replicasets.apps", "jobs.batch", "cronjobs.batch"))
"""Whose names become part of the names of pods."""
_LABELS = {
    "beta.kubernetes.io/arch": ("1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("1.17", "node.kubernetes.io/instance-type"),
}
_VOLUMES = {
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
}
_SPELLINGS = {"storageos": "storageOS"}
_BYTES = ("memory", "ephemeral-storage")
_REQUIRED, _PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_FRACTIONS = ("m", "u", "n")


def warnings_of(resource: str, obj: Raw) -> list[str]:
    """The warnings about an object that is a pod or has a template of pods; none for any other. It is valid."""
    steps = _TEMPLATES.get(resource)
    if steps is None:
        return []
    found: list[str] = []
    name = obj["metadata"].get("name", "")
    if resource == "pods":
        found += _about_name(name, "the Pod's hostname")
    elif resource in _NAMES:
        found += _about_name(name, "Pod names and hostnames")
    template: Any = obj
    for step in steps:
        template = template.get(step) or {}
    spec = template.get("spec")
    if spec:
        found += _about_spec(spec, ".".join((*steps, "spec")))
        if steps and (spec.get("terminationGracePeriodSeconds") or 0) < 0:
            why = "must be >= 0; negative values are invalid and will be treated as 1"
            found.append(f"{'.'.join(steps)}.spec.terminationGracePeriodSeconds: {why}")
    return found


def _about_name(name: str, use: str) -> list[str]:
    complaints = label(name)
    if not complaints:
        return []
    why = f"this is used in {use}, which can result in surprising behavior; a DNS label is recommended"
    return [f"metadata.name: {why}: [{' '.join(complaints)}]"]


def _about_spec(spec: Raw, path: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in _LABELS:
            since, other = _LABELS[key]
            yield f'{path}.nodeSelector[{key}]: deprecated since v{since}; use "{other}" instead'
    if "affinity" in spec:
        yield from _about_affinity(spec["affinity"], f"{path}.affinity")
    for number, item in enumerate(spec.get("topologySpreadConstraints") or ()):
        at = f"{path}.topologySpreadConstraints[{number}]"
        yield from _about_key(item.get("topologyKey", ""), f"{at}.topologyKey")
        yield from _about_selector(item, at)
    for number, volume in enumerate(spec.get("volumes") or ()):
        for kind in volume.keys() & _VOLUMES.keys():
            yield f"{path}.volumes[{number}].{_SPELLINGS.get(kind, kind)}: {_VOLUMES[kind]}"
    if "imagePullSecrets" in spec:
        yield from _about_secrets([item.get("name", "") for item in spec["imagePullSecrets"]], path)
    if "hostAliases" in spec:
        yield from _about_addresses([item.get("ip", "") for item in spec["hostAliases"]], f"{path}.hostAliases")
    ports: dict[tuple[int, str], list[tuple[str, Raw]]] = {}
    for field in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(field) or ()):
            at = f"{path}.{field}[{number}]"
            yield from _about_container(container, at)
            if "ports" in container:
                yield from _about_ports(container["ports"], at, ports)


def _about_affinity(affinity: Raw, path: str) -> Iterator[str]:
    of_nodes = affinity.get("nodeAffinity") or {}
    terms = [
        (f"{path}.nodeAffinity.{_REQUIRED}.nodeSelectorTerms[{number}]", term)
        for number, term in enumerate((of_nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ())
    ]
    terms += [
        (f"{path}.nodeAffinity.{_PREFERRED}[{number}].preference", item.get("preference") or {})
        for number, item in enumerate(of_nodes.get(_PREFERRED) or ())
    ]
    for at, term in terms:
        for number, expression in enumerate(term.get("matchExpressions") or ()):
            yield from _about_key(expression.get("key", ""), f"{at}.matchExpressions[{number}].key")
    for field in ("podAffinity", "podAntiAffinity"):
        of_pods = affinity.get(field) or {}
        for number, term in enumerate(of_pods.get(_REQUIRED) or ()):
            yield from _about_selector(term, f"{path}.{field}.{_REQUIRED}[{number}]")
        for number, item in enumerate(of_pods.get(_PREFERRED) or ()):
            term = item.get("podAffinityTerm") or {}
            yield from _about_selector(term, f"{path}.{field}.{_PREFERRED}[{number}].podAffinityTerm")


def _about_key(key: str, path: str) -> Iterator[str]:
    if key in _LABELS:
        since, other = _LABELS[key]
        yield f'{path}: {key} is deprecated since v{since}; use "{other}" instead'


def _about_selector(term: Raw, path: str) -> Iterator[str]:
    if term.get("labelSelector") is None:
        yield f"{path}.labelSelector: a null labelSelector results in matching no pod"


def _about_secrets(names: list[str], path: str) -> Iterator[str]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f'{path}.imagePullSecrets[{number}].name: duplicate name "{name}"'
    for number, name in enumerate(names):
        if not name:
            yield f'{path}.imagePullSecrets[{number}].name: invalid empty name ""'


def _about_addresses(addresses: list[str], path: str) -> Iterator[str]:
    for number, address in enumerate(addresses):
        if address in addresses[:number]:
            yield f'{path}[{number}].ip: duplicate ip "{address}"'
        better = canonical_address(address)
        if better is not None and better != address:
            why = f'non-standard IP address "{address}" will be considered invalid in a future Kubernetes release'
            yield f'{path}[{number}].ip: {why}: use "{better}"'


def _about_container(container: Raw, path: str) -> Iterator[str]:
    resources = container.get("resources")
    if resources:
        for field in ("limits", "requests"):
            amounts = resources.get(field) or {}
            for name in _BYTES:
                amount = amounts.get(name)
                if amount is not None and str(amount).endswith(_FRACTIONS):
                    why = f'fractional byte value "{amount}" is invalid, must be an integer'
                    yield f"{path}.resources.{field}[{name}]: {why}"
    env = container.get("env")
    if env:
        seen: set[str] = set()
        for number, item in enumerate(env):
            name = item.get("name", "")
            if name in seen:
                why = f'hides previous definition of "{name}", which may be dropped when using apply'
                yield f"{path}.env[{number}]: {why}"
            seen.add(name)


def _about_ports(ports: list[Raw], path: str, seen: dict[tuple[int, str], list[tuple[str, Raw]]]) -> Iterator[str]:
    """Ports that a pod has twice; ``seen`` are those of its containers before."""
    for number, port in enumerate(ports):
        at = f"{path}.ports[{number}]"
        others = seen.setdefault((port.get("containerPort", 0), port.get("protocol", "TCP")), [])
        for where, other in others:
            mine, its = ((item.get("hostPort", 0), item.get("hostIP", "")) for item in (port, other))
            if mine == its:
                yield f"{at}: duplicate port definition with {where}"
            elif not mine[0] or not its[0]:
                yield f"{at}: overlapping port definition with {where}"
        others.append((at, port))
