"""What the DaemonSet controller reads, which nodes a set's pods belong on, and the pods that it makes. Pure.

Source: apps/v1 DaemonSet as kube-controller-manager keeps it: node affinity, taints with the automatic tolerations.
"""

from dataclasses import dataclass

import msgspec

from tensorfusion.embedded.controllers.pods import pod_from
from tensorfusion.embedded.controllers.revisions import REVISION_HASH
from tensorfusion.model.core import Node, NodeAffinity, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration
from tensorfusion.model.meta import LabelSelector, Object, Raw, requirement_matches
from tensorfusion.model.resources import DAEMON_SETS

_NODE_NAME = "metadata.name"
_GENERATION = "pod-template-generation"
_NO_SCHEDULE, _NO_EXECUTE = "NoSchedule", "NoExecute"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", _NO_EXECUTE),
    ("node.kubernetes.io/unreachable", _NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", _NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", _NO_SCHEDULE),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", _NO_SCHEDULE)
_DEPRECATED_GENERATION = "deprecated.daemonset.template.generation"


class RollingUpdate(msgspec.Struct, frozen=True):
    max_unavailable: int | str = msgspec.field(default=1, name="maxUnavailable")
    max_surge: int | str = msgspec.field(default=0, name="maxSurge")


class UpdateStrategy(msgspec.Struct, frozen=True):
    type: str = "RollingUpdate"
    rolling: RollingUpdate = msgspec.field(default_factory=RollingUpdate, name="rollingUpdate")


class DaemonSetSpec(msgspec.Struct, frozen=True):
    selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    template: Raw = msgspec.field(default_factory=dict)
    strategy: UpdateStrategy = msgspec.field(default_factory=UpdateStrategy, name="updateStrategy")
    min_ready_seconds: int = msgspec.field(default=0, name="minReadySeconds")
    history_limit: int = msgspec.field(default=10, name="revisionHistoryLimit")


class DaemonSet(Object, frozen=True):
    spec: DaemonSetSpec = msgspec.field(default_factory=DaemonSetSpec)
    status: Raw = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a pod of the set should be started on a node, and whether one that is there may stay."""

    run: bool
    stay: bool


def node_of(pod: Pod) -> str:
    """The node that a pod is on or was made for."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity
    required = affinity.node_affinity.required if affinity is not None and affinity.node_affinity is not None else None
    for term in required.terms if required is not None else ():
        for wanted in term.match_fields:
            if wanted.key == _NODE_NAME and wanted.operator == "In" and len(wanted.values) == 1:
                return wanted.values[0]
    return ""


def pod_spec(current: DaemonSet) -> PodSpec:
    """What the pods ask of their nodes, with the tolerations that every daemon has."""
    spec = msgspec.convert(current.spec.template.get("spec") or {}, PodSpec)
    tolerated = [*_TOLERATED, *([_NETWORK] if spec.host_network else [])]
    automatic = (Toleration(key=key, operator="Exists", effect=effect) for key, effect in tolerated)
    return msgspec.structs.replace(spec, tolerations=(*spec.tolerations, *automatic))


def fit_of(spec: PodSpec, node: Node) -> Fit:
    """Whether pods of this kind belong on a node."""
    if not _selected(spec, node):
        return Fit(run=False, stay=False)
    refused = {
        taint.effect
        for taint in node.spec.taints
        if taint.effect in (_NO_SCHEDULE, _NO_EXECUTE) and not any(_tolerates(each, taint) for each in spec.tolerations)
    }
    return Fit(run=not refused, stay=_NO_EXECUTE not in refused)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def _selected(spec: PodSpec, node: Node) -> bool:
    labels = node.metadata.labels
    if spec.node_name and spec.node_name != node.metadata.name:
        return False
    if not spec.node_selector.items() <= labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    required = (affinity or NodeAffinity()).required
    return required is None or any(_term_matches(term, node) for term in required.terms)


def _term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    fields = {_NODE_NAME: node.metadata.name}
    found = [requirement_matches(each, node.metadata.labels) for each in term.match_expressions]
    found += [requirement_matches(each, fields) for each in term.match_fields]
    return bool(found) and all(found)


def pod_of_node(current: DaemonSet, name: str, node: str, digest: str) -> Raw:
    """A pod that only its node can take."""
    body = pod_from(DAEMON_SETS, current.metadata, current.spec.template, name)
    labels = {**(body["metadata"].get("labels") or {}), REVISION_HASH: digest}
    generation = current.metadata.annotations.get(_DEPRECATED_GENERATION)
    if generation:
        labels[_GENERATION] = generation
    body["metadata"]["labels"] = labels
    spec = dict(body["spec"])
    term = {"matchFields": [{"key": _NODE_NAME, "operator": "In", "values": [node]}]}
    affinity = dict(spec.get("affinity") or {})
    affinity["nodeAffinity"] = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
    }
    tolerated = [*_TOLERATED, *([_NETWORK] if spec.get("hostNetwork") else [])]
    automatic = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in tolerated]
    spec["affinity"] = affinity
    spec["tolerations"] = [*(spec.get("tolerations") or []), *automatic]
    body["spec"] = spec
    return body
