"""Which nodes a DaemonSet's pods belong on, which pods are to go, and how an update replaces them. Pure.

Source: apps/v1 DaemonSet as kube-controller-manager keeps it: node affinity, taints with the automatic tolerations,
RollingUpdate with maxUnavailable (rounded up) and maxSurge (rounded up).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from tensorfusion.embedded.controllers.pods import pod_from
from tensorfusion.embedded.controllers.revisions import REVISION_HASH
from tensorfusion.embedded.controllers.rollout import resolve
from tensorfusion.model.core import Node, NodeAffinity, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration
from tensorfusion.model.meta import LabelSelector, Object, Raw, requirement_matches
from tensorfusion.model.resources import DAEMON_SETS
from tensorfusion.policy.ranking import pod_ready_since

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


@dataclass(slots=True)
class Plan:
    """``create`` holds names of nodes, ``delete`` pods, ``failed`` those of them that had ended."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)


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


@dataclass(frozen=True, slots=True)
class View:
    """Where a set's pods are. ``coming`` are nodes whose pod is being created, ``going`` uids being deleted."""

    fits: Mapping[str, Fit]
    pods: Mapping[str, Sequence[Pod]]
    coming: frozenset[str]
    going: frozenset[str]

    def staying(self, name: str) -> list[Pod]:
        """The pods of a node that are not being deleted, oldest first."""
        found = [
            pod for pod in self.pods.get(name, ()) if not pod.metadata.deleting and pod.metadata.uid not in self.going
        ]
        return sorted(found, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name))

    @property
    def wanted(self) -> list[str]:
        """The nodes that should have a pod."""
        return sorted(name for name, fit in self.fits.items() if fit.run)


def manage(current: DaemonSet, view: View) -> Plan:
    """One pod on each node where one should run, none where none may stay."""
    step = Plan()
    surge = current.spec.strategy.rolling.max_surge not in (0, "0%")
    for name, fit in view.fits.items():
        staying = view.staying(name)
        running = [pod for pod in staying if not pod.finished]
        if not fit.stay or (not fit.run and not running):
            step.delete += staying
            continue
        ended = [pod for pod in staying if pod.finished]
        step.failed += ended
        step.delete += ended
        if not fit.run:
            continue
        if not view.pods.get(name) and name not in view.coming:
            step.create.append(name)
        elif len(running) > 1 and not surge:
            step.delete += running[1:]
    for name in view.pods:
        if name not in view.fits:  # the node is gone
            step.delete += view.staying(name)
    return step


def roll(current: DaemonSet, view: View, digest: str, *, now: datetime) -> Plan:
    """The next step of a rolling update: old pods to delete, or nodes to get a new pod beside the old one."""
    if current.spec.strategy.type != "RollingUpdate":
        return Plan()
    count = len(view.wanted)
    surge = resolve(current.spec.strategy.rolling.max_surge, count, up=True)
    if surge:
        return _surge(current, view, digest, surge, now)
    most = resolve(current.spec.strategy.rolling.max_unavailable, count, up=True)
    return _replace(current, view, digest, max(1, most), now)


def _replace(current: DaemonSet, view: View, digest: str, most: int, now: datetime) -> Plan:
    """Old pods that are not available go at once, others while no more than ``most`` nodes go without."""
    useless, useful, missing = [], [], 0
    for name in view.wanted:
        staying = view.staying(name)
        if len(staying) != 1:
            missing += 1
        elif is_updated(staying[0], digest):
            missing += not available(current, staying[0], now)
        elif available(current, staying[0], now):
            useful.append(staying[0])
        else:
            useless.append(staying[0])
    return Plan(delete=[*useless, *useful[: max(0, most - missing)]])


def _surge(current: DaemonSet, view: View, digest: str, most: int, now: datetime) -> Plan:
    """New pods beside old ones on at most ``most`` nodes; an old one goes when its successor is available."""
    step, beside, ready = Plan(), 0, []
    for name in view.wanted:
        new = [pod for pod in view.staying(name) if is_updated(pod, digest)]
        old = [pod for pod in view.staying(name) if not is_updated(pod, digest)]
        if not old:
            continue
        if new and available(current, new[0], now):
            step.delete += old
        elif new or name in view.coming:
            beside += 1
        elif available(current, old[0], now):
            ready.append(name)
        else:
            step.create.append(name)
    step.create += ready[: max(0, most - beside)]
    return step


def is_updated(pod: Pod, digest: str) -> bool:
    """The pod was made from the newest template."""
    return pod.metadata.labels.get(REVISION_HASH) == digest


def available(current: DaemonSet, pod: Pod, now: datetime) -> bool:
    """The pod has been ready for long enough."""
    return pod_ready_since(pod) is not None and seconds_to_available(current, pod, now) <= 0


def seconds_to_available(current: DaemonSet, pod: Pod, now: datetime) -> float:
    """Until a ready pod has been ready for long enough."""
    since = pod_ready_since(pod)
    if not current.spec.min_ready_seconds or not since:
        return 0.0
    return current.spec.min_ready_seconds - (now - datetime.fromisoformat(since)).total_seconds()


def status_of(current: DaemonSet, view: View, digest: str, *, now: datetime) -> Raw:
    """The status that the set should have."""
    scheduled = ready = usable = updated = 0
    for name in view.wanted:
        pods = view.staying(name) or list(view.pods.get(name, ()))
        if not pods:
            continue
        scheduled += 1
        ready += pod_ready_since(pods[0]) is not None
        usable += available(current, pods[0], now)
        updated += is_updated(pods[0], digest)
    wanted = len(view.wanted)
    always = {
        "currentNumberScheduled": scheduled,
        "desiredNumberScheduled": wanted,
        "numberMisscheduled": sum(not fit.run and bool(view.pods.get(name)) for name, fit in view.fits.items()),
        "numberReady": ready,
        "observedGeneration": current.metadata.generation,
    }
    counts = {"updatedNumberScheduled": updated, "numberAvailable": usable, "numberUnavailable": wanted - usable}
    others = {name: value for name, value in current.status.items() if name not in counts}
    return {**others, **always, **{name: value for name, value in counts.items() if value}}


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
