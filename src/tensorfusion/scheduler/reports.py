"""What users see of a decision: the pod's PodScheduled condition and its events.

Apart from the service because it is best effort by design: conditions go through the coalescing writer and events
through the aggregating recorder, both rate limited, so that a thousand pods that do not fit cost a bounded number of
writes and never delay a Binding. A condition is composed when it is written, from the pod as it is then, and carries
the resourceVersion it was composed from: it can never overwrite what a kubelet wrote in between.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu_topology import Tier, tier_named
from tensorfusion.model.meta import Condition, Key, Raw
from tensorfusion.model.resources import PODS, Resource
from tensorfusion.runtime.events import EventType, ObjectReference
from tensorfusion.scheduling.wiring import Plan

POD_SCHEDULED = "PodScheduled"
UNSCHEDULABLE = "Unschedulable"
FAILED = "FailedScheduling"
"""Event of a pod without shares that fits nowhere, and of one whose wishes cannot be read."""
NUMBERS_EVERY = 30.0
"""Seconds between two writes of a reason that differs from the last one in its numbers only."""
_KEPT = 20_000
"""Pods whose last reason is remembered, so that an unchanged one is not written again."""
_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class _Said:
    """What a pod's owner was told last, and what there is to add once it is time."""

    message: str
    at: float
    newer: tuple[Pod, str, str] | None = None
    """Pod, event reason and message."""


class Recorder(Protocol):
    """The part of the event recorder used here."""

    def record(self, reference: ObjectReference, *, type_: EventType, reason: str, message: str) -> None: ...


class Writer(Protocol):
    """The part of the status writer used here."""

    def submit(self, resource: Resource, key: Key, patch: Callable[[], Raw | None]) -> None: ...


class Reports:
    """Tells a pod's owner what happened, and only when it changes."""

    def __init__(
        self, recorder: Recorder, writer: Writer, *, clock: Clock, current: Callable[[Key], Pod | None]
    ) -> None:
        self._recorder = recorder
        self._writer = writer
        self._clock = clock
        self._current = current
        self._said: dict[str, _Said] = {}
        self._newer: set[str] = set()

    def held_back(self, pod: Pod, *, event: str, message: str) -> None:
        """The pod waits: its condition and an event say why, when the reason is a new one.

        A full fleet changes the counts in every reason all the time; those are told from time to time.
        """
        uid = pod.metadata.uid
        said = self._said.get(uid)
        now = self._clock.monotonic()
        if said is not None and said.message == message:
            said.newer = None
        elif said is None or now - said.at >= NUMBERS_EVERY or _shape(said.message) != _shape(message):
            self._tell(pod, event, message, now=now)
        else:
            said.newer = (pod, event, message)
            self._newer.add(uid)

    def tell_newer(self) -> None:
        """Tell the numbers that were put off and are due now."""
        now = self._clock.monotonic()
        for uid in sorted(self._newer):
            said = self._said.get(uid)
            if said is None or said.newer is None:
                self._newer.discard(uid)
            elif now - said.at >= NUMBERS_EVERY:
                self._newer.discard(uid)
                pod, event, message = said.newer
                self._tell(pod, event, message, now=now)

    def _tell(self, pod: Pod, event: str, message: str, *, now: float) -> None:
        uid = pod.metadata.uid
        if uid not in self._said and len(self._said) >= _KEPT:
            self._said.pop(next(iter(self._said)))
        self._said[uid] = _Said(message, now)
        self._event(pod, EventType.WARNING, event, message)
        self._writer.submit(PODS, pod.key, self._condition(pod.key, uid, message))

    def placed(self, pod: Pod, node: str, devices: tuple[str, ...], *, native: int = 0) -> None:
        """The pod is bound; ``native`` devices it gets from their maker's own plugin."""
        self._said.pop(pod.metadata.uid, None)
        if native:
            words = f"{native} of the devices of {node}, which holds no shares, are left to the device plugin"
            self._event(pod, EventType.NORMAL, "ScheduleWithNativeGPU", words)
        reference = _reference_to(pod)
        if devices:
            words = f"{', '.join(devices)} on {node}"
            self._recorder.record(reference, type_=EventType.NORMAL, reason="GPUDeviceAllocated", message=words)
        words = f"Successfully assigned {pod.metadata.namespace}/{pod.metadata.name} to {node}"
        self._recorder.record(reference, type_=EventType.NORMAL, reason="Scheduled", message=words)

    def near(self, pod: Pod, plan: Plan) -> None:
        """The pod is bound, and how near its devices are to each other was looked at."""
        if plan.tier == Tier.UNKNOWN:
            words = "the distances between its devices are unknown: they were taken by their scores as far as need be"
            self._event(pod, EventType.NORMAL, "GPUInterconnectTopologyFallback", words)
            return
        words = f"its devices come to {tier_named(plan.tier)}, affinity {plan.affinity} of 100, score {plan.score}"
        self._event(pod, EventType.NORMAL, "GPUInterconnectTopologySelected", words)

    def resized(self, pod: Pod, *, accepted: bool, words: str) -> None:
        """The owner's wish for other amounts was answered; the condition says the same."""
        type_ = EventType.NORMAL if accepted else EventType.WARNING
        self._event(pod, type_, "ResourceUpdated" if accepted else "ResourceUpdateRefused", words)

    def nominated(self, pod: Pod, node: str, waits: str) -> None:
        """Others are evicted for the pod, and it gets the place that they leave."""
        self._event(pod, EventType.NORMAL, "Nominated", f"{node} is to be its node {waits}")

    def stalled(self, pod: Pod, words: str) -> None:
        """Those that were to make room for the pod do not end."""
        self._event(pod, EventType.WARNING, "PreemptionStalled", words)

    def preempted(self, victim: Pod, uid: str, node: str) -> None:
        """The pod was evicted for a more important one."""
        self._event(victim, EventType.NORMAL, "Preempted", f"Preempted by pod {uid} on node {node}")

    def reclaimed(self, victim: Pod, *, cohort: str, policy: str) -> None:
        """The pod was evicted because its namespace held what is another one's own, who stays unnamed."""
        words = (
            f"its namespace held more than its own quota: by reclaim policy {policy} of cohort {cohort} a member that "
            "stays within its own takes back what it has lent"
        )
        self._event(victim, EventType.NORMAL, "Reclaimed", words)

    def dra_fallback(self, pod: Pod) -> None:
        """The pod asks for Dynamic Resource Allocation and is placed the ordinary way."""
        self._event(
            pod,
            EventType.NORMAL,
            "DRAFallback",
            f"{keys.DRA_ENABLED} is on for the pod or its pool: the share is placed by {keys.SCHEDULER_NAME} "
            "without a ResourceClaim",
        )

    def gang_placed(self, pod: Pod, words: str) -> None:
        """A gang got its places; told on one of its members."""
        self._event(pod, EventType.NORMAL, "GangScheduled", words)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._said.pop(uid, None)

    def _event(self, pod: Pod, type_: EventType, reason: str, message: str) -> None:
        self._recorder.record(_reference_to(pod), type_=type_, reason=reason, message=message)

    def _condition(self, key: Key, uid: str, message: str) -> Callable[[], Raw | None]:
        def compose() -> Raw | None:
            pod = self._current(key)
            if pod is None or pod.metadata.uid != uid or pod.spec.node_name or pod.metadata.deleting:
                return None
            return condition_patch(pod, message, now=timestamp(self._clock.now()))

        return compose


def _reference_to(pod: Pod) -> ObjectReference:
    meta = pod.metadata
    return ObjectReference("v1", "Pod", meta.namespace, meta.name, meta.uid)


def _shape(message: str) -> str:
    """The reason without its numbers."""
    return _NUMBER.sub("#", message)


def condition_patch(pod: Pod, message: str, *, now: str) -> Raw | None:
    """A merge patch that sets PodScheduled to False beside the conditions of others; None where it says so already."""
    others = []
    since = now
    for condition in pod.status.conditions:
        if condition.type != POD_SCHEDULED:
            others.append(condition)
        elif condition.status == "False":
            if condition.reason == UNSCHEDULABLE and condition.message == message:
                return None
            since = condition.last_transition_time or now
    scheduled = Condition(
        type=POD_SCHEDULED, status="False", reason=UNSCHEDULABLE, message=message, last_transition_time=since
    )
    return {
        "metadata": {"resourceVersion": pod.metadata.resource_version},
        "status": {"conditions": msgspec.to_builtins([*others, scheduled])},
    }
