"""From a decision to a pod that is bound: its Binding is composed and submitted, and its outcome settled.

Apart from the scheduling cycle because it goes on beside the next decisions, and gangs take it as single pods do. Apart
from the binder because that sends Bindings and keeps no books.

Source: the binding cycle of Kubernetes' scheduling framework.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.pod_resources import pod_totals
from tensorfusion.model.request import Isolation
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler import feeds, meters
from tensorfusion.scheduler.binder import REFILL, Binder, Binding, Leadership, Outcome
from tensorfusion.scheduler.grants import (
    binding_annotations,
    hard_annotations,
    partition_annotations,
    percent_annotations,
)
from tensorfusion.scheduler.mirror import FleetMirror
from tensorfusion.scheduler.notes import Notes
from tensorfusion.scheduler.pods import Pending, PodBook
from tensorfusion.scheduler.records import Records
from tensorfusion.scheduler.reports import Reports
from tensorfusion.scheduler.shards import Shards
from tensorfusion.scheduler.sharing import Sharing
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


class BindingCycle:
    """Bindings from their decision to their outcome.

    ``shards`` and ``sharing`` where several schedulers share the fleet. ``fence`` is called when admission refused this
    replica's epoch, and ``kick`` for the loop to look.
    """

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        state: State,
        book: PodBook,
        mirror: FleetMirror,
        *,
        clock: Clock,
        pods: Cache[Pod],
        records: Records,
        notes: Notes,
        reports: Reports,
        shards: Shards | None,
        sharing: Sharing | None,
        fence: Callable[[], None],
        kick: Callable[[], None],
    ) -> None:
        self._leadership = leadership
        self._state = state
        self._book = book
        self._mirror = mirror
        self._clock = clock
        self._pods = pods
        self._records = records
        self._notes = notes
        self._reports = reports
        self._shards = shards
        self._sharing = sharing
        self._fence = fence
        self._kick = kick
        self.binder = Binder(
            api,
            leadership,
            clock=clock,
            settle=self._settle,
            holds=(lambda _: True) if shards is None else shards.holds,
        )

    def compose(self, pod: Pod, facts: PodFacts, decision: Decision) -> Binding:
        """The Binding of a decision.

        Raises:
            WaitsForOwner: the shard in whose name it was decided is not this replica's any more.
        """
        epoch, request = self._leadership.epoch, facts.request
        term = None if self._sharing is None else self._sharing.term(facts, decision.placement.node)
        devices = decision.placement.devices
        containers = [container.name for container in pod.spec.containers]
        annotations = binding_annotations(pod.metadata.annotations, containers, devices, epoch=epoch, term=term)
        if request is not None and request.isolation is Isolation.HARD:
            annotations |= hard_annotations(request, self._state.capacities(devices))
        elif request is not None and request.isolation is Isolation.PARTITIONED:
            annotations |= partition_annotations(request, decision.placement)
        if request is not None:
            annotations |= percent_annotations(request, self._state.capacities(devices))
        return Binding(
            uid=pod.metadata.uid,
            key=pod.key,
            node=decision.placement.node,
            devices=devices,
            annotations=annotations,
            epoch=epoch,
            decided_at=self._clock.monotonic(),
            plan=decision.plan,
            term=term,
        )

    def placed(self, pending: Pending, decision: Decision, binding: Binding, nanoseconds: int) -> None:
        """The places are held: the Binding may go, whatever becomes of the record."""
        try:
            self._notes.placed(pending, decision, nanoseconds)
        except Exception:
            log.exception("decision cannot be recorded", pod=binding.key)
        self.binder.submit(binding)

    def _settle(self, binding: Binding, outcome: Outcome, pod: Pod | None, why: str) -> None:
        """The binder's answer. Where nothing was bound the hold is given back, and the pod looked at anew."""
        meters.BINDINGS.add((outcome,))
        record = self._records.get(binding.uid)
        if record is not None:
            record.binding = outcome.value
        if outcome is not Outcome.BOUND or self.binder.backlog <= REFILL:
            self._kick()
        cached = self._pods.get(binding.key)
        if cached is not None and cached.metadata.uid != binding.uid:
            cached = None
        assumption = self._book.assumed.get(binding.uid)
        if outcome in (Outcome.BOUND, Outcome.SEEN):
            meters.BIND_SECONDS.observe(meters.ONE, self._clock.monotonic() - binding.decided_at)
            if assumption is not None:
                assumption.answered_at = self._clock.monotonic()
            if cached is not None:
                self._bound(binding, cached, pod)
            return
        if outcome is Outcome.FENCED and self._shards is not None and binding.term is not None:
            self._shards.fenced(binding.term)
        elif outcome is Outcome.FENCED:
            self._fence()
        log.info("not bound", pod=binding.key, node=binding.node, outcome=outcome, why=why)
        if outcome is Outcome.GONE:
            self._book.left(binding.uid)
            return
        self._book.forget(binding.uid)
        if cached is not None:
            self._book.observe(cached)

    def _bound(self, binding: Binding, cached: Pod, read: Pod | None) -> None:
        """Tell the pod's owner; where the pod was read, that view may be ahead of the watch."""
        if read is not None and not cached.finished:
            self._book.observe(read)
        node = binding.node if read is None else read.spec.node_name
        native = 0 if binding.devices else self._native_devices(cached)
        if binding.devices and node == binding.node:
            pool = cached.metadata.labels.get(keys.GPU_POOL, "")
            meters.ALLOCATIONS.add((self._notes.pool_label(pool),))
        self._reports.placed(cached, node, binding.devices if node == binding.node else (), native=native)
        if binding.plan is not None and node == binding.node:
            self._reports.near(cached, binding.plan)

    def _native_devices(self, pod: Pod) -> int:
        return feeds.native_devices(pod_totals(pod.spec).extended, self._mirror.providers)
