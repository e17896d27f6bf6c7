"""The scheduler: applies what the watch says, decides, and hands decisions to the binder.

One task owns the columns. A *step* of it is synchronous: a slice of watch events is applied, or, once none is left, a
few pods are decided; between two steps it yields, so that a list of 50,000 pods never keeps the Lease from being
renewed. Where nothing is left to do, decisions to come are prepared (``spare_time``). Decisions are taken only while
this replica leads and only after it has *caught up* with its predecessor. A replica that does not lead keeps following
the watch and can take over at once.

Order is fixed: changes of the fleet go before changes of pods, both in the order of the watch; pods go by priority
and arrival, those of a tree of cohorts by share before arrival. The same events give the same decisions.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded, TensorFusionError
from tensorfusion.model import keys
from tensorfusion.model.core import Namespace, Pod, PriorityClass
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.pod_resources import pod_totals
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.model.resources import GPU_POOLS, GPUS, NAMESPACES, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler import feeds, meters
from tensorfusion.scheduler.binder import REFILL, Binder, Binding, Leadership, Outcome
from tensorfusion.scheduler.borrowed import BorrowedGauges
from tensorfusion.scheduler.configuration import Configuration
from tensorfusion.scheduler.defrag import Defragmenter
from tensorfusion.scheduler.defrag_marks import caches_of
from tensorfusion.scheduler.gangs import Gangs, Road
from tensorfusion.scheduler.grants import (
    binding_annotations,
    hard_annotations,
    partition_annotations,
    percent_annotations,
)
from tensorfusion.scheduler.inbox import Inbox
from tensorfusion.scheduler.leading import Leading
from tensorfusion.scheduler.mirror import FleetMirror
from tensorfusion.scheduler.mix_keeper import MixKeeper
from tensorfusion.scheduler.notes import Notes
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.preemptor import WATCHDOG_EVERY, Preemptor
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.recording.recorder import Recorder as History
from tensorfusion.scheduler.recording.recorder import RecordOptions
from tensorfusion.scheduler.recording.surroundings import Surroundings
from tensorfusion.scheduler.records import Records, policy_version
from tensorfusion.scheduler.reports import Recorder, Reports, Writer
from tensorfusion.scheduler.resizes import Resizes
from tensorfusion.scheduler.room_search import BUDGETS_BY_NAMESPACE
from tensorfusion.scheduler.shards import Shards
from tensorfusion.scheduler.sharing import Sharing
from tensorfusion.scheduler.spare_time import SpareTime
from tensorfusion.scheduler.waits import WaitGauge
from tensorfusion.scheduler.wakes import wake_helped, wake_parked
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

CHANGES_A_STEP = 250
DECISIONS_A_STEP = 32
HOUSEKEEPING = 5.0
RESIDENTS_A_ROUND = 2_000
"""Pods that a round of housekeeping writes down for searches for victims; the first search catches up with the rest."""
UNCONFIRMED_AFTER = 30.0
"""Seconds after which a successful Binding that the watch does not show is looked up."""

_FAILED = "FailedScheduling"
_PARTITION = "PartitionTemplateMatchFailed"
_PARTITION_REASONS = {DeviceReason.TEMPLATE, DeviceReason.PARTITION}
_FAR_APART = "GPUInterconnectTopologyUnsatisfied"
_NO_SHARE = "GPUQuotaOrCapacityNotEnough"
"""Event of a pod that asks for shares and gets none; the reason is in its message."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one scheduler is to do, as far as its administrator has a say. Times are in seconds."""

    scheduler_names: Sequence[str] = (keys.SCHEDULER_NAME,)
    configuration: Configuration = field(default_factory=Configuration)
    preempt_cluster_wide: Callable[[], bool] = lambda: False
    """Whether pods of other namespaces may be evicted for a pod."""
    watchdog_every: float = WATCHDOG_EVERY
    gang_patience: float = keys.GANG_PATIENCE
    domain_keys: Sequence[str] = keys.GANG_DOMAINS
    """Node labels within which gangs are placed together, narrowest first."""
    shards: Shards | None = None
    """Which part of the fleet this scheduler places on, where several share it; it is the leadership's, too."""
    record: RecordOptions | None = None
    """Where to record what happens; None records nothing."""


_PLAIN = Options()


class SchedulerService:
    """Places the pods of ``scheduler_names``. Subscribes when made; ``run`` is a task of the manager."""

    def __init__(
        self,
        manager: Manager,
        leadership: Leadership,
        *,
        recorder: Recorder,
        writer: Writer,
        options: Options = _PLAIN,
    ) -> None:
        configuration = options.configuration
        self._own_names = frozenset(options.scheduler_names)
        self.scheduler_names = self._own_names.union(configuration.names)
        self.configuration = configuration
        self.history = None if options.record is None else History(options.record, clock=manager.clock)
        """What is recorded of it, for questions about other policies and fleets."""
        self.state = State() if self.history is None else self.history.state
        self.state.profiles = configuration.profiles
        self.records = Records()
        self.pods = manager.informer(PODS, Pod).cache
        self.gpus = manager.informer(GPUS, GPU).cache
        self._classes = manager.informer(PRIORITY_CLASSES, PriorityClass).cache
        self._api = manager.client
        self._clock: Clock = manager.clock
        self._leadership = leadership
        self.shards = shards = options.shards
        self._stood_down = False
        """It was not decided here for a while: what was promised is given back, and nobody was looked for."""
        self._kick = asyncio.Event()
        self._hints: list[Hint] = []
        self._spare_time = SpareTime(
            self._prepare, clock=self._clock, free=lambda: self.deciding and not self.saturated
        )
        self._reports = Reports(recorder, writer, clock=self._clock, current=self.pods.get)
        self._binder = Binder(
            self._api,
            leadership,
            clock=self._clock,
            settle=self._settle,
            holds=(lambda _: True) if shards is None else shards.holds,
        )
        self.book = PodBook(
            self.state,
            self._hints,
            clock=self._clock,
            scheduler_names=self.scheduler_names,
            priority_of=self._priority_of,
            refused=self._refused,
            providers=lambda: self._mirror.providers,
            serves=None if shards is None else shards.serves,
        )
        self._leading = Leading(
            self._api,
            leadership,
            self.book,
            clock=self._clock,
            pods=self.pods,
            shards=shards,
            take_over=self._take_over,
            regroup=self._regroup,
            tend=self._tend_gangs,
            kick=self._kick.set,
        )
        self.notes = Notes(
            self.records,
            self.state,
            self.book.queue.figures,
            clock=self._clock,
            policy=policy_version(configuration),
            history=self.history,
        )
        self._waits = WaitGauge(self.book, self.state)
        self._gpu_pools = manager.informer(GPU_POOLS, GPUPool).cache
        self.mixes = MixKeeper(
            self._api,
            self.state,
            clock=self._clock,
            term=self._term_of,
            relearn=self.book.relearn,
            tell=self._tell,
            uid_of=self._uid_of_pool,
        )
        self._borrowed = BorrowedGauges(self.state)
        self._resizes = Resizes(
            self._api,
            leadership,
            self.book,
            self.state,
            clock=self._clock,
            pods=self.pods,
            told=self._resized,
            shards=shards,
        )
        budgets = manager.informer(POD_DISRUPTION_BUDGETS, DisruptionBudget)
        budgets.add_index(BUDGETS_BY_NAMESPACE, lambda budget: (budget.metadata.namespace,))
        self.preemptor = Preemptor(
            self._api,
            leadership,
            self.book,
            self.state,
            self._hints,
            clock=self._clock,
            pods=self.pods,
            budgets=budgets.cache,
            reports=self._reports,
            kick=self._kick.set,
            cluster_wide=options.preempt_cluster_wide,
            ours=(lambda _: True) if shards is None else shards.makes_room,
            watchdog_every=options.watchdog_every,
            domain_keys=options.domain_keys,
        )
        budgets.subscribe(lambda change: self.preemptor.budget_changed(change.key.namespace))
        self.defrag = Defragmenter(
            self._api,
            self.state,
            self._hints,
            caches_of(manager),
            clock=self._clock,
            recorder=recorder,
            is_there=self.preemptor.places.is_there,
            kick=self._kick.set,
            leads=lambda: self.deciding,
            decides=(lambda _: True) if shards is None else lambda pool: shards.may(shards.shard_of_pool(pool)),
        )
        self.gangs = Gangs(
            self.state,
            self.book,
            Road(self._binding, placed=self._placed, refused=self.notes.refused),
            self.preemptor,
            clock=self._clock,
            reports=self._reports,
            pod_of=self.pods.get,
            patience=options.gang_patience,
            domain_keys=options.domain_keys,
        )
        self._mirror = FleetMirror(
            self.state, self._hints, defaults=configuration.defaults, natives_changed=self._recount
        )
        self._inbox = Inbox(manager, self._mirror, pod=self._apply_pod, news=self._kick.set)
        self._sharing = (
            None
            if shards is None
            else Sharing(
                shards,
                self.state,
                self.book,
                clock=self._clock,
                told=lambda pod, why: self._reports.held_back(pod, event=_FAILED, message=why),
                idle=lambda: self._resizes.idle,
                kick=self._kick.set,
            )
        )
        if self.history is not None:
            self.history.attach(
                Surroundings(
                    self,
                    namespaces=manager.informer(NAMESPACES, Namespace).cache,
                    providers=lambda: self._mirror.providers,
                    shards=shards,
                ),
                self.book,
                domains=options.domain_keys,
                patience=options.gang_patience,
                cluster_wide=options.preempt_cluster_wide,
            )

    async def run(self) -> None:
        """Schedule until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._binder.run(), name="binder")
            group.create_task(self._resizes.run(), name="live changes")
            group.create_task(self.preemptor.run(), name="evictions")
            group.create_task(self.defrag.run(), name="defragmentation")
            group.create_task(self._leading.follow(), name="leadership")
            if self.shards is not None:
                group.create_task(self._leading.win(self.shards), name="shards that were won")
            if self.history is not None:
                group.create_task(self.history.run(), name="recording")
            group.create_task(self.mixes.run(), name="what pools learn")
            group.create_task(self._keep_house(), name="housekeeping")
            group.create_task(self._loop(), name="scheduler")

    def configure(self, configuration: Configuration) -> None:
        """Follow another configuration from the next decision on; every pod that waits is looked at anew."""
        self.configuration = configuration
        self.notes.policy = policy_version(configuration)
        self.state.profiles = configuration.profiles
        self.scheduler_names = self._own_names.union(configuration.names)
        self.book.serve(self.scheduler_names)
        self._mirror.set_defaults(configuration.defaults)
        if self.history is not None:
            self.history.configured(configuration.profiles)
        for pod in self.pods.all():
            if not pod.spec.node_name:
                self.book.observe(pod)
        self.book.queue.wake(lambda _: True, now=self._clock.monotonic())
        self._kick.set()

    def judge(self, uid: str, request: GpuRequest) -> str | None:
        """Why a running pod's devices or namespace have no room for other amounts, as far as is known here and now."""
        return self._resizes.judge(uid, request)

    def now(self) -> datetime:
        """The time by this scheduler's clock."""
        return self._clock.now()

    @property
    def providers(self) -> Providers:
        """What the cluster's ProviderConfigs say."""
        return self._mirror.providers

    @property
    def synced(self) -> bool:
        """Everything the watch brought so far is in the columns."""
        return self._inbox.empty

    @property
    def deciding(self) -> bool:
        """This replica leads, knows what its predecessor did, and has not been told that its time is over."""
        return self._leading.deciding

    @property
    def saturated(self) -> bool:
        """Pods are decided faster than their Bindings can be sent: everything else may wait."""
        return self._binder.backlog > 0

    def _term_of(self, pool: str) -> int | None:
        """The epoch in which it is decided on a pool here; None where it is not."""
        if not self.deciding:
            return None
        if self.shards is None:
            return self._leadership.epoch
        shard = self.shards.shard_of_pool(pool)
        return self.shards.term(shard).epoch if self.shards.may(shard) else None

    def _uid_of_pool(self, pool: str) -> str:
        found = self._gpu_pools.get(Key("", pool))
        return "" if found is None else found.metadata.uid

    def _tell(self, hints: Iterable[Hint]) -> None:
        """Something changed beside the watch."""
        self._hints += hints
        if self._hints:
            self._beside("wake pods that wait", self._wake_waiting)
            self._kick.set()

    # --- the loop ---

    async def _loop(self) -> None:
        while True:
            self._kick.clear()
            more = self._step()
            if self.deciding:
                self._beside("wake pods that nodes are kept from", self._wake_kept_out)
            if more:
                await asyncio.sleep(0)
            else:
                await self._spare_time.until(self._kick)

    def _prepare(self) -> bool:
        """A little of what the next decisions would have to do first; False where all of it is done."""
        return self.state.classes.catch_up_one()

    def _step(self) -> bool:
        """Apply, or decide; answers whether there is more to do at once."""
        if not self._inbox.empty:
            self._inbox.apply(CHANGES_A_STEP)
            self._beside("wake pods that wait", self._wake_waiting)
            return True
        if not self.deciding:
            if self.preemptor.nominations:
                self._beside("give back what is kept for nominated pods", self.preemptor.surrender)
            self._beside("give up what is kept for gangs", self.gangs.surrender)
            self._beside("give up what is kept for moved pods", self.defrag.surrender)
            self._stood_down = True
            return False
        self._beside("count what is kept for moved pods that are gone", self.defrag.places.follow)
        if self._stood_down:
            self._stood_down = False
            self._beside("look for what was promised", self._resume)
        if self.preemptor.asks.promised:
            self._beside("keep what was promised", self.preemptor.asks.keep_promise)
            return True
        if self.book.wishes:
            self._beside("answer wishes of running pods", self._resizes.step)
        if self.book.gangs.changed:
            self._beside("look at gangs that changed", self.gangs.catch_up)
        self._beside("wake pods that cohorts have room for", self._wake_parked)
        self._beside("make room for pods that fit nowhere", self.preemptor.step)
        if self._hints:  # what was given back beside the watch
            self._beside("wake pods that wait", self._wake_waiting)
        for _ in range(DECISIONS_A_STEP):
            if not self._binder.has_room:
                return False  # the binder's answers kick
            pending = self.book.queue.pop(self._clock.monotonic())
            if pending is None:
                return False
            self._decide(pending)
        return True

    def _resume(self) -> None:
        """It is decided here again: promises first, then all who were not looked for while it was not."""
        self.preemptor.resume()
        self.book.queue.wake(lambda _: True, now=self._clock.monotonic())

    def _recount(self) -> None:
        for pod in self.pods.all():
            self.book.recount(pod)

    def _beside(self, what: str, work: Callable[[], None]) -> None:
        """Do what goes along with decisions. The edge of the loop: a fault in it must not stop the decisions."""
        try:
            work()
        except Exception:
            log.exception("a step beside the decisions failed unexpectedly", step=what)

    def _apply_pod(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.book.left(old.metadata.uid)
            self._reports.forget(old.metadata.uid)
        if new is not None:
            self.book.observe(new, old)
        if self.history is not None:
            self.history.follow(old, new)

    def _wake_waiting(self) -> None:
        """Offer what changed to the pods that wait."""
        wake_helped(self._hints, self.book, self.gangs, now=self._clock.monotonic())

    def _wake_kept_out(self) -> None:
        eased = self.state.eased_holds()
        if eased:
            self._tell(eased)

    def _wake_parked(self) -> None:
        wake_parked(self.book)

    def _priority_of(self, pod: Pod) -> int:
        """What the API server resolved; where it left that to us, the class's own value."""
        spec = pod.spec
        if spec.priority or not spec.priority_class_name:
            return spec.priority
        found = self._classes.get(Key("", spec.priority_class_name))
        return found.value if found is not None else keys.PRIORITY_VALUES.get(spec.priority_class_name, 0)

    # --- decisions ---

    def _decide(self, pending: Pending) -> None:
        """One pod's turn. The edge of the loop: one pod's fault must not stop the others."""
        try:
            self._take_turn(pending)
        except Exception:
            log.exception("decision failed unexpectedly", pod=Key(pending.facts.namespace, pending.facts.name))
            group = self.book.gangs.of(pending.uid)
            for uid in (pending.uid, *(group.pending if group is not None else ())):
                if uid not in self.book.assumed:  # else its Binding is on its way
                    self.book.queue.retry(uid, now=self._clock.monotonic())

    def _take_turn(self, pending: Pending) -> None:
        facts = pending.facts
        key = Key(facts.namespace, facts.name)
        pod = self.pods.get(key)
        if pod is None or pod.metadata.uid != pending.uid:
            self.book.left(pending.uid)  # deleted; the event is on its way
            return
        self.book.learn(facts)
        if pending.attempts == 1 and facts.request is not None and self._mirror.dra_enabled(pod):
            self._reports.dra_fallback(pod)
        if self._sharing is not None and self._sharing.is_elsewhere(pending, pod):
            return
        if (facts.gang is not None or self.gangs.concerns_others) and self.gangs.take(pending):
            return
        started = time.perf_counter_ns()
        try:
            decision = self._choose(pod, facts)
            if self._sharing is not None and self._sharing.yields(pending, decision):
                return
            binding = self._binding(pod, facts, decision)
            self.book.assume(pending, decision.placement, binding)
        except (NotFit, QuotaExceeded) as failure:
            if self._sharing is not None and self._sharing.leaves(pending, failure):
                return
            self._hold_back(pending, pod, failure, nanoseconds=time.perf_counter_ns() - started)
        except TensorFusionError as error:
            log.warning("decision cannot be held", pod=key, error=error)
            self.book.queue.retry(pending.uid, now=self._clock.monotonic())
        else:
            self._placed(pending, decision, binding, time.perf_counter_ns() - started)

    def _choose(self, pod: Pod, facts: PodFacts) -> Decision:
        """A decision, by all that is kept for anybody.

        Raises:
            QuotaExceeded, Unschedulable: as a plain decision.
        """

        member = self.gangs.decide_member if facts.gang is not None else None

        def otherwise(facts: PodFacts) -> Decision:
            return self.preemptor.decide(facts, member)

        def plain(facts: PodFacts) -> Decision:
            return decide(self.state, facts) if member is None else member(facts)

        if not self.defrag.places.active:
            return otherwise(facts)
        return self.defrag.places.decide(pod, facts, plain=plain, otherwise=otherwise)

    def _placed(self, pending: Pending, decision: Decision, binding: Binding, nanoseconds: int) -> None:
        """The places are held: the Binding may go, whatever becomes of the record."""
        try:
            self.notes.placed(pending, decision, nanoseconds)
        except Exception:
            log.exception("decision cannot be recorded", pod=binding.key)
        self._binder.submit(binding)

    def _binding(self, pod: Pod, facts: PodFacts, decision: Decision) -> Binding:
        epoch, request = self._leadership.epoch, facts.request
        term = None if self._sharing is None else self._sharing.term(facts, decision.placement.node)
        devices = decision.placement.devices
        containers = [container.name for container in pod.spec.containers]
        annotations = binding_annotations(pod.metadata.annotations, containers, devices, epoch=epoch, term=term)
        if request is not None and request.isolation is Isolation.HARD:
            annotations |= hard_annotations(request, self.state.capacities(devices))
        elif request is not None and request.isolation is Isolation.PARTITIONED:
            annotations |= partition_annotations(request, decision.placement)
        if request is not None:
            annotations |= percent_annotations(request, self.state.capacities(devices))
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

    def _hold_back(self, pending: Pending, pod: Pod, failure: Failure, *, nanoseconds: int) -> None:
        failure.__traceback__ = None  # kept while the pod waits, and its frames with it
        self.notes.refused(pending, failure, nanoseconds)
        event = _FAILED if pending.facts.request is None else _NO_SHARE
        if isinstance(failure, NotFit) and not _PARTITION_REASONS.isdisjoint(failure.reasons):
            event = _PARTITION
        elif isinstance(failure, NotFit) and NodeReason.FAR_APART in failure.reasons:
            event = _FAR_APART
        self._reports.held_back(pod, event=event, message=str(failure))
        self.book.queue.failed(pending, failure, now=self._clock.monotonic())
        self.preemptor.consider(pending, pod)

    def _refused(self, pod: Pod, message: str) -> None:
        """The pod's wishes cannot be read: it waits for somebody to change it."""
        self.notes.unreadable(pod, message)
        if self.deciding and (self._sharing is None or self._sharing.tells(pod)):
            self._reports.held_back(pod, event=_FAILED, message=message)

    # --- what became of Bindings ---

    def _settle(self, binding: Binding, outcome: Outcome, pod: Pod | None, why: str) -> None:
        """The binder's answer. Where nothing was bound the hold is given back, and the pod looked at anew."""
        meters.BINDINGS.add((outcome,))
        record = self.records.get(binding.uid)
        if record is not None:
            record.binding = outcome.value
        if outcome is not Outcome.BOUND or self._binder.backlog <= REFILL:
            self._kick.set()
        cached = self.pods.get(binding.key)
        if cached is not None and cached.metadata.uid != binding.uid:
            cached = None
        assumption = self.book.assumed.get(binding.uid)
        if outcome in (Outcome.BOUND, Outcome.SEEN):
            meters.BIND_SECONDS.observe(meters.ONE, self._clock.monotonic() - binding.decided_at)
            if assumption is not None:
                assumption.answered_at = self._clock.monotonic()
            if cached is not None:
                self._bound(binding, cached, pod)
            return
        if outcome is Outcome.FENCED and self.shards is not None and binding.term is not None:
            self.shards.fenced(binding.term)
        elif outcome is Outcome.FENCED:
            self._leading.fence()
        log.info("not bound", pod=binding.key, node=binding.node, outcome=outcome, why=why)
        if outcome is Outcome.GONE:
            self.book.left(binding.uid)
            return
        self.book.forget(binding.uid)
        if cached is not None:
            self.book.observe(cached)

    def _bound(self, binding: Binding, cached: Pod, read: Pod | None) -> None:
        """Tell the pod's owner; where the pod was read, that view may be ahead of the watch."""
        if read is not None and not cached.finished:
            self.book.observe(read)
        node = binding.node if read is None else read.spec.node_name
        native = 0 if binding.devices else self._native_devices(cached)
        if binding.devices and node == binding.node:
            pool = cached.metadata.labels.get(keys.GPU_POOL, "")
            meters.ALLOCATIONS.add((self.notes.pool_label(pool),))
        self._reports.placed(cached, node, binding.devices if node == binding.node else (), native=native)
        if binding.plan is not None and node == binding.node:
            self._reports.near(cached, binding.plan)

    def _native_devices(self, pod: Pod) -> int:
        return feeds.native_devices(pod_totals(pod.spec).extended, self._mirror.providers)

    def _resized(self, pod: Pod, request: GpuRequest | None, words: str) -> None:
        """A wish was answered: its owner hears of it, and pods that wait for what became free."""
        record = self.records.get(pod.metadata.uid)
        if record is not None and request is not None:
            record.now_asks = request
        self._reports.resized(pod, accepted=request is not None, words=words)
        self._kick.set()

    # --- beside the loop ---

    def _regroup(self, shards: Shards) -> None:
        """Decide what is decided here from now on, and nothing else."""
        if shards.changed():
            self.preemptor.surrender()
            self.gangs.surrender()
            self.defrag.hand_over()
            for pod in self.pods.all():
                if not pod.spec.node_name:
                    self.book.observe(pod)
            self.preemptor.resume()
        elif not shards.rested():
            return
        self.book.queue.wake(lambda _: True, now=self._clock.monotonic())

    def _take_over(self, epoch: int) -> None:
        """From here on this replica decides; what it did not say while it only followed, it says now."""
        self.preemptor.surrender()  # what an earlier epoch nominated is looked at anew
        self.defrag.surrender()
        self._stood_down = True
        self._kick.set()
        for pod in self.pods.all() if self.book.unreadable else ():
            message = self.book.unreadable.get(pod.metadata.uid)
            if message is not None:
                self._reports.held_back(pod, event=_FAILED, message=message)
        log.info("scheduling", epoch=epoch, pods=len(self.state.allocations))

    def _tend_gangs(self) -> None:
        if self.book.gangs.groups:
            self._beside("look after gangs that wait", self.gangs.tick)

    async def _keep_house(self) -> None:
        """Flush what has waited too long, look for Bindings that the watch never showed, and measure."""
        while True:
            await self._clock.sleep(HOUSEKEEPING)
            now = self._clock.monotonic()
            self.book.queue.flush(now)
            self._reports.tell_newer()
            for assumption in self.book.assumed.values():
                if assumption.answered_at is not None and now - assumption.answered_at >= UNCONFIRMED_AFTER:
                    assumption.answered_at = now
                    self._binder.doubt(assumption.binding)
            for place in (Place.ACTIVE, Place.BACKOFF, Place.WAITING):
                meters.PENDING.labels(place.name.lower()).set(self.book.queue.depth(place))
            await self._waits.measure()
            self._borrowed.measure()
            self.state.residents.sync(RESIDENTS_A_ROUND)
            meters.NOMINATED.set(len(self.preemptor.nominations))
            meters.ASSUMED.set(len(self.book.assumed))
            meters.IN_DOUBT.set(self._binder.in_doubt)
            meters.OVERCOMMITTED.set(len(self.state.overcommitted()))
