"""Which of a DaemonSet's pods are to go, which nodes get one, how an update replaces them, and the status. Pure.

Source: apps/v1 DaemonSet as kube-controller-manager keeps it: RollingUpdate with maxUnavailable and maxSurge, both
rounded up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.embedded.controllers.daemonset_objects import DaemonSet, Fit
from tensorfusion.embedded.controllers.revisions import REVISION_HASH
from tensorfusion.embedded.controllers.rollout import resolve
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw
from tensorfusion.policy.ranking import pod_ready_since


@dataclass(slots=True)
class Plan:
    """``create`` holds names of nodes, ``delete`` pods, ``failed`` those of them that had ended."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)


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
