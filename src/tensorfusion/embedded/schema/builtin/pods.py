"""Rules of pods that need more than one field, and what an update of a pod may change.

Source: kubernetes pkg/apis/core/validation, texts seen through a real server.
"""

from collections.abc import Sequence
from typing import Any

from tensorfusion.embedded.schema.addresses import canonical_address
from tensorfusion.embedded.schema.builtin.containers import check_containers, check_volumes, containers_of
from tensorfusion.embedded.schema.builtin.pod_details import check_details
from tensorfusion.embedded.schema.builtin.resources import check_resources
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector, check_node_selector_term
from tensorfusion.embedded.schema.metadata import check_labels
from tensorfusion.embedded.schema.names import label, qualified_name, subdomain
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    duplicate,
    forbidden,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_ALWAYS, _SOMETIMES = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_CHANGES_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_CHANGEABLE = frozenset(
    (
        "containers",
        "initContainers",
        "activeDeadlineSeconds",
        "tolerations",
        "schedulingGates",
        "terminationGracePeriodSeconds",
    )
)
_GATED = frozenset(("nodeSelector", "affinity"))  # may be narrowed while a pod is gated
_COMPUTE = ("cpu", "memory")


def check_pod(pod: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = pod.get("spec") or {}
    check_pod_spec(spec, (None, "spec"), problems)
    if old is None and spec.get("ephemeralContainers"):
        problems.append(
            Problem(((None, "spec"), "ephemeralContainers"), forbidden("cannot be set on create"), FORBIDDEN)
        )
    if old is not None:
        _check_update(spec, old.get("spec") or {}, problems)


def check_pod_spec(spec: Raw, path: Path, problems: list[Problem]) -> None:
    """The rules of a pod's spec, also inside a template. Single-field rules have been checked from the facts."""
    volumes = check_volumes(spec.get("volumes") or (), (path, "volumes"), problems)
    check_containers(spec, volumes, path, problems)
    if spec.get("resources"):
        check_resources(spec["resources"], (path, "resources"), problems)
    if spec.get("nodeSelector"):
        check_labels(spec["nodeSelector"], (path, "nodeSelector"), problems)
    if spec.get("tolerations"):
        _check_tolerations(spec["tolerations"], (path, "tolerations"), problems)
    if spec.get("affinity"):
        _check_affinity(spec["affinity"], (path, "affinity"), problems)
    if spec.get("dnsPolicy") == "None" and not spec.get("dnsConfig"):
        text = required("must provide `dnsConfig` when `dnsPolicy` is None")
        problems.append(Problem((path, "dnsConfig"), text, REQUIRED))
    check_details(spec, path, problems)
    if "runtimeClassName" in spec:
        complain(problems, (path, "runtimeClassName"), spec["runtimeClassName"], subdomain(spec["runtimeClassName"]))
    gates = spec.get("schedulingGates")
    if gates:
        _check_gates(gates, (path, "schedulingGates"), problems)
        if spec.get("nodeName"):
            text = forbidden("cannot be set until all schedulingGates have been cleared")
            problems.append(Problem((path, "nodeName"), text, FORBIDDEN))
    if spec.get("topologySpreadConstraints"):
        _check_spread(spec["topologySpreadConstraints"], (path, "topologySpreadConstraints"), problems)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        at: Path = ((path, "hostAliases"), index)
        if canonical_address(alias.get("ip", "")) is None:
            why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            problems.append(Problem((at, "ip"), invalid_value(alias.get("ip", ""), why)))
        for number, name in enumerate(alias.get("hostnames") or ()):
            complain(problems, ((at, "hostnames"), number), name, subdomain(name))


def qos_class(spec: Raw) -> str:
    """The quality of service class that a pod's status shows.

    Source: kubernetes pkg/apis/core/v1/helper/qos.
    """
    requests: dict[str, bool] = {}
    guaranteed = True
    of_pod = spec.get("resources")
    for resources in [of_pod] if of_pod else [one.get("resources") or {} for _, one, _ in containers_of(spec, None)]:
        limits, wanted = resources.get("limits") or {}, resources.get("requests") or {}
        for name in _COMPUTE:
            if _positive(wanted.get(name)) or _positive(limits.get(name)):
                requests[name] = True
            if not _positive(limits.get(name)) or wanted.get(name, limits.get(name)) != limits.get(name):
                guaranteed = False
    if not requests:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _check_spread(constraints: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    pairs = [(item.get("topologyKey", ""), item.get("whenUnsatisfiable", "")) for item in constraints]
    for index, constraint in enumerate(constraints):
        if "maxSkew" not in constraint:
            problems.append(Problem(((path, index), "maxSkew"), invalid_value(0, "must be greater than zero")))
        if not pairs[index][1]:
            text = unsupported("", ("DoNotSchedule", "ScheduleAnyway"))
            problems.append(Problem(((path, index), "whenUnsatisfiable"), text, NOT_SUPPORTED))
        if pairs[index][1] == "ScheduleAnyway" and constraint.get("minDomains") is not None:
            why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
            complain(problems, ((path, index), "minDomains"), constraint["minDomains"], [why])
        if constraint.get("matchLabelKeys") and constraint.get("labelSelector") is None:
            text = forbidden("must not be specified when labelSelector is not set")
            problems.append(Problem(((path, index), "matchLabelKeys"), text, FORBIDDEN))
        check_label_selector(constraint.get("labelSelector"), ((path, index), "labelSelector"), problems)
        if pairs[index] in pairs[index + 1 :]:
            found = duplicate(f"{{{', '.join(pairs[index])}}}")
            problems.append(Problem(((path, index), "{topologyKey, whenUnsatisfiable}"), found, DUPLICATE))


def _positive(amount: Any) -> bool:
    return amount not in (None, "0", 0)


def _check_tolerations(tolerations: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    for index, toleration in enumerate(tolerations):
        at: Path = (path, index)
        operator = toleration.get("operator") or "Equal"
        if operator != "Exists" and not toleration.get("key"):
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            complain(problems, (at, "operator"), toleration.get("operator", ""), [text])
        if operator not in ("Equal", "Exists"):
            problems.append(Problem((at, "operator"), unsupported(operator, ("Equal", "Exists")), NOT_SUPPORTED))
        elif operator == "Exists" and toleration.get("value"):
            text = "value must be empty when `operator` is 'Exists'"
            complain(problems, (at, "operator"), toleration["value"], [text])
        effect = toleration.get("effect")
        if effect and effect not in _EFFECTS:
            problems.append(Problem((at, "effect"), unsupported(effect, _EFFECTS), NOT_SUPPORTED))
        elif toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            complain(problems, (at, "effect"), effect or "", [text])


def _check_affinity(affinity: Raw, path: Path, problems: list[Problem]) -> None:
    nodes = affinity.get("nodeAffinity") or {}
    at_nodes: Path = (path, "nodeAffinity")
    at_terms: Path = ((at_nodes, _ALWAYS), "nodeSelectorTerms")
    for index, term in enumerate((nodes.get(_ALWAYS) or {}).get("nodeSelectorTerms") or ()):
        check_node_selector_term(term, (at_terms, index), problems)
    for index, preferred in enumerate(nodes.get(_SOMETIMES) or ()):
        at: Path = ((at_nodes, _SOMETIMES), index)
        _check_weight(preferred, at, problems)
        check_node_selector_term(preferred.get("preference") or {}, (at, "preference"), problems, strict=False)
    for field in ("podAffinity", "podAntiAffinity"):
        at_pods: Path = (path, field)
        pods = affinity.get(field) or {}
        for index, term in enumerate(pods.get(_ALWAYS) or ()):
            check_label_selector(term.get("labelSelector"), (((at_pods, _ALWAYS), index), "labelSelector"), problems)
            _check_namespaces(term, ((at_pods, _ALWAYS), index), problems)
        for index, preferred in enumerate(pods.get(_SOMETIMES) or ()):
            at = ((at_pods, _SOMETIMES), index)
            _check_weight(preferred, at, problems)
            term = preferred.get("podAffinityTerm") or {}
            check_label_selector(term.get("labelSelector"), ((at, "podAffinityTerm"), "labelSelector"), problems)
            _check_namespaces(term, (at, "podAffinityTerm"), problems)


def _check_namespaces(term: Raw, path: Path, problems: list[Problem]) -> None:
    if not term.get("topologyKey"):
        complain(problems, (path, "topologyKey"), "", qualified_name(""))
    for namespace in term.get("namespaces") or ():
        complain(problems, (path, "namespace"), namespace, label(namespace))


def _check_weight(term: Raw, path: Path, problems: list[Problem]) -> None:
    if "weight" not in term:
        problems.append(Problem((path, "weight"), invalid_value(0, "must be in the range 1-100")))


def _check_gates(gates: Sequence[Raw], path: Path, problems: list[Problem]) -> None:
    names: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name", "")
        complain(problems, (path, index), name, qualified_name(name))
        if name in names:
            problems.append(Problem((path, index), duplicate(name), DUPLICATE))
        names.add(name)


def _check_update(spec: Raw, old: Raw, problems: list[Problem]) -> None:
    if spec == old:
        return
    path: Path = (None, "spec")
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(old.get(field) or ()):
            text = forbidden("pod updates may not add or remove containers")
            problems.append(Problem((path, field), text, FORBIDDEN))
            return
    _check_added_tolerations(spec.get("tolerations") or (), old.get("tolerations") or (), problems)
    _check_removed_gates(spec, old, problems)
    if old.get("schedulingGates"):
        _check_narrowed(spec, old, problems)
    if not _only_allowed_changes(spec, old):
        problems.append(Problem(path, forbidden(_CHANGES_TEXT), FORBIDDEN, stands=False))
    _check_deadline(spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"), problems)


def _only_allowed_changes(spec: Raw, old: Raw) -> bool:
    changeable = _CHANGEABLE | _GATED if old.get("schedulingGates") else _CHANGEABLE
    for field in (spec.keys() | old.keys()) - changeable:
        if spec.get(field) != old.get(field):
            return False
    grace, before = spec.get("terminationGracePeriodSeconds"), old.get("terminationGracePeriodSeconds")
    if grace != before and not (grace == 1 and before is not None and before < 0):
        return False
    for field in ("containers", "initContainers"):
        for container, was in zip(spec.get(field) or (), old.get(field) or (), strict=True):
            if {**container, "image": ""} != {**was, "image": ""}:
                return False
    return True


def _check_added_tolerations(tolerations: Sequence[Raw], old: Sequence[Raw], problems: list[Problem]) -> None:
    def without_seconds(toleration: Raw) -> Raw:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    kept = [without_seconds(toleration) for toleration in tolerations]
    if any(without_seconds(toleration) not in kept for toleration in old):
        text = forbidden("existing toleration can not be modified except its tolerationSeconds")
        problems.append(Problem(((None, "spec"), "tolerations"), text, FORBIDDEN))


def _check_removed_gates(spec: Raw, old: Raw, problems: list[Problem]) -> None:
    before = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name = gate.get("name", "")
        if name not in before:
            text = forbidden(f"only deletion is allowed, but found new scheduling gate '{name}'")
            problems.append(Problem(((((None, "spec"), "schedulingGates"), index), "name"), text, FORBIDDEN))


def _check_narrowed(spec: Raw, old: Raw, problems: list[Problem]) -> None:
    """A pod that waits at its gates may be given fewer nodes to choose from, never others."""
    path: Path = (None, "spec")
    before, after = old.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    if any(after.get(key) != value for key, value in before.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        problems.append(Problem((path, "nodeSelector"), invalid_value(after or None, why), stands=False))
    had, has = _required_terms(old), _required_terms(spec)
    if not had:
        return
    at: Path = ((((path, "affinity"), "nodeAffinity"), _ALWAYS), "nodeSelectorTerms")
    if len(had) != len(has):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        problems.append(Problem(at, invalid_value(list(has) or None, why), stands=False))
        return
    for index, (was, term) in enumerate(zip(had, has, strict=True)):
        for field in ("matchExpressions", "matchFields"):
            kept = was.get(field) or []
            if (term.get(field) or [])[: len(kept)] != kept:
                why = "only additions are allowed (no mutations or deletions)"
                problems.append(Problem((at, index), invalid_value(term, why), stands=False))
                break


def _required_terms(spec: Raw) -> Sequence[Raw]:
    of_nodes = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    found: Sequence[Raw] = (of_nodes.get(_ALWAYS) or {}).get("nodeSelectorTerms") or ()
    return found


def _check_deadline(deadline: int | None, old: int | None, problems: list[Problem]) -> None:
    path: Path = ((None, "spec"), "activeDeadlineSeconds")
    if old is None or deadline == old:
        return
    if deadline is None:
        complain(problems, path, None, ["must not update from a positive integer to nil value"])
    elif deadline > old:
        complain(problems, path, deadline, ["must be less than or equal to previous value"])
