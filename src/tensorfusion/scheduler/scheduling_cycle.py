"""One pod's turn: it is decided as all that is kept for anybody allows, held and passed on, or told why it waits.

Apart from the service because that says whose turn it is, and from ``scheduling.cycle`` because that decides on what is
there and keeps nothing for anybody.

Source: the scheduling cycle of Kubernetes' scheduling framework.
"""

import time

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded, TensorFusionError
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.binding_cycle import BindingCycle
from tensorfusion.scheduler.gangs import Gangs
from tensorfusion.scheduler.mirror import FleetMirror
from tensorfusion.scheduler.moved_places import MovedPlaces
from tensorfusion.scheduler.notes import Notes
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.preemptor import Preemptor
from tensorfusion.scheduler.reports import FAILED, Reports
from tensorfusion.scheduler.sharing import Sharing
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

_PARTITION = "PartitionTemplateMatchFailed"
_PARTITION_REASONS = {DeviceReason.TEMPLATE, DeviceReason.PARTITION}
_FAR_APART = "GPUInterconnectTopologyUnsatisfied"
_NO_SHARE = "GPUQuotaOrCapacityNotEnough"
"""Event of a pod that asks for shares and gets none; the reason is in its message."""


class SchedulingCycle:
    """Decides pods in their turn. ``moved`` keeps places for moved pods; ``sharing`` where several share the fleet."""

    def __init__(
        self,
        state: State,
        book: PodBook,
        mirror: FleetMirror,
        gangs: Gangs,
        preemptor: Preemptor,
        moved: MovedPlaces,
        bindings: BindingCycle,
        *,
        clock: Clock,
        pods: Cache[Pod],
        notes: Notes,
        reports: Reports,
        sharing: Sharing | None,
    ) -> None:
        self._state = state
        self._book = book
        self._mirror = mirror
        self._gangs = gangs
        self._preemptor = preemptor
        self._moved = moved
        self._bindings = bindings
        self._clock = clock
        self._pods = pods
        self._notes = notes
        self._reports = reports
        self._sharing = sharing

    def decide(self, pending: Pending) -> None:
        """One pod's turn. The edge of the loop: one pod's fault must not stop the others."""
        try:
            self._take_turn(pending)
        except Exception:
            log.exception("decision failed unexpectedly", pod=Key(pending.facts.namespace, pending.facts.name))
            group = self._book.gangs.of(pending.uid)
            for uid in (pending.uid, *(group.pending if group is not None else ())):
                if uid not in self._book.assumed:  # else its Binding is on its way
                    self._book.queue.retry(uid, now=self._clock.monotonic())

    def _take_turn(self, pending: Pending) -> None:
        facts = pending.facts
        key = Key(facts.namespace, facts.name)
        pod = self._pods.get(key)
        if pod is None or pod.metadata.uid != pending.uid:
            self._book.left(pending.uid)  # deleted; the event is on its way
            return
        self._book.learn(facts)
        if pending.attempts == 1 and facts.request is not None and self._mirror.dra_enabled(pod):
            self._reports.dra_fallback(pod)
        if self._sharing is not None and self._sharing.is_elsewhere(pending, pod):
            return
        if (facts.gang is not None or self._gangs.concerns_others) and self._gangs.take(pending):
            return
        started = time.perf_counter_ns()
        try:
            decision = self._choose(pod, facts)
            if self._sharing is not None and self._sharing.yields(pending, decision):
                return
            binding = self._bindings.compose(pod, facts, decision)
            self._book.assume(pending, decision.placement, binding)
        except (NotFit, QuotaExceeded) as failure:
            if self._sharing is not None and self._sharing.leaves(pending, failure):
                return
            self._hold_back(pending, pod, failure, nanoseconds=time.perf_counter_ns() - started)
        except TensorFusionError as error:
            log.warning("decision cannot be held", pod=key, error=error)
            self._book.queue.retry(pending.uid, now=self._clock.monotonic())
        else:
            self._bindings.placed(pending, decision, binding, time.perf_counter_ns() - started)

    def _choose(self, pod: Pod, facts: PodFacts) -> Decision:
        """A decision, by all that is kept for anybody.

        Raises:
            QuotaExceeded, Unschedulable: as a plain decision.
        """

        member = self._gangs.decide_member if facts.gang is not None else None

        def otherwise(facts: PodFacts) -> Decision:
            return self._preemptor.decide(facts, member)

        def plain(facts: PodFacts) -> Decision:
            return decide(self._state, facts) if member is None else member(facts)

        if not self._moved.active:
            return otherwise(facts)
        return self._moved.decide(pod, facts, plain=plain, otherwise=otherwise)

    def _hold_back(self, pending: Pending, pod: Pod, failure: Failure, *, nanoseconds: int) -> None:
        failure.__traceback__ = None  # kept while the pod waits, and its frames with it
        self._notes.refused(pending, failure, nanoseconds)
        event = FAILED if pending.facts.request is None else _NO_SHARE
        if isinstance(failure, NotFit) and not _PARTITION_REASONS.isdisjoint(failure.reasons):
            event = _PARTITION
        elif isinstance(failure, NotFit) and NodeReason.FAR_APART in failure.reasons:
            event = _FAR_APART
        self._reports.held_back(pod, event=event, message=str(failure))
        self._book.queue.failed(pending, failure, now=self._clock.monotonic())
        self._preemptor.consider(pending, pod)
