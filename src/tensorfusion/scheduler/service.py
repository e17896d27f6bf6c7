"""The scheduler: its parts put together, and its loop, which applies what the watch says and has pods decided in turn.

One task owns the columns. A *step* of it is synchronous: a slice of watch events is applied, or, once none is left, a
few pods are decided; between two steps it yields, so that a list of 50,000 pods never keeps the Lease from being
renewed. Where nothing is left to do, decisions to come are prepared (``spare_time``). Decisions are taken only while
this replica leads and only after it has *caught up* with its predecessor. A replica that does not lead keeps following
the watch and can take over at once.

Order is fixed: changes of the fleet go before changes of pods, both in the order of the watch; pods go by priority
and arrival, those of a tree of cohorts by share before arrival. The same events give the same decisions.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.model import keys
from tensorfusion.model.core import Namespace, Pod, PriorityClass
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.resources import GPU_POOLS, GPUS, NAMESPACES, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler.binder import Leadership
from tensorfusion.scheduler.binding_cycle import BindingCycle
from tensorfusion.scheduler.configuration import Configuration
from tensorfusion.scheduler.containment import contained
from tensorfusion.scheduler.defrag import Defragmenter
from tensorfusion.scheduler.defrag_marks import caches_of
from tensorfusion.scheduler.gangs import Gangs, Road
from tensorfusion.scheduler.handover import Handover
from tensorfusion.scheduler.housekeeping import Housekeeping
from tensorfusion.scheduler.inbox import Inbox
from tensorfusion.scheduler.leading import Leading
from tensorfusion.scheduler.mirror import FleetMirror
from tensorfusion.scheduler.mix_keeper import MixKeeper
from tensorfusion.scheduler.notes import Notes
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.preemptor import WATCHDOG_EVERY, Preemptor
from tensorfusion.scheduler.recording.recorder import Recorder as History
from tensorfusion.scheduler.recording.recorder import RecordOptions
from tensorfusion.scheduler.recording.surroundings import Surroundings
from tensorfusion.scheduler.records import Records, policy_version
from tensorfusion.scheduler.reports import FAILED, Recorder, Reports, Writer
from tensorfusion.scheduler.resizes import Resizes
from tensorfusion.scheduler.room_search import BUDGETS_BY_NAMESPACE
from tensorfusion.scheduler.scheduling_cycle import SchedulingCycle
from tensorfusion.scheduler.shards import Shards
from tensorfusion.scheduler.sharing import Sharing
from tensorfusion.scheduler.spare_time import SpareTime
from tensorfusion.scheduler.wakes import wake_helped, wake_parked
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.state import State

CHANGES_A_STEP = 250
DECISIONS_A_STEP = 32


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
        self.shards = shards = options.shards
        self._kick = asyncio.Event()
        self._hints: list[Hint] = []
        self._spare_time = SpareTime(
            self._prepare, clock=self._clock, free=lambda: self.deciding and not self.saturated
        )
        self._reports = Reports(recorder, writer, clock=self._clock, current=self.pods.get)
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
        self._gpu_pools = manager.informer(GPU_POOLS, GPUPool).cache
        self.mixes = MixKeeper(
            self._api,
            self.state,
            clock=self._clock,
            term=self._leading.term_of,
            relearn=self.book.relearn,
            tell=self._tell,
            uid_of=self._uid_of_pool,
        )
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
        self._sharing = (
            None
            if shards is None
            else Sharing(
                shards,
                self.state,
                self.book,
                clock=self._clock,
                told=lambda pod, why: self._reports.held_back(pod, event=FAILED, message=why),
                idle=lambda: self._resizes.idle,
                kick=self._kick.set,
            )
        )
        self._mirror = FleetMirror(
            self.state, self._hints, defaults=configuration.defaults, natives_changed=self._recount
        )
        self._bindings = BindingCycle(
            self._api,
            leadership,
            self.state,
            self.book,
            self._mirror,
            clock=self._clock,
            pods=self.pods,
            records=self.records,
            notes=self.notes,
            reports=self._reports,
            shards=shards,
            sharing=self._sharing,
            fence=self._leading.fence,
            kick=self._kick.set,
        )
        self._binder = self._bindings.binder
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
            Road(self._bindings.compose, placed=self._bindings.placed, refused=self.notes.refused),
            self.preemptor,
            clock=self._clock,
            reports=self._reports,
            pod_of=self.pods.get,
            patience=options.gang_patience,
            domain_keys=options.domain_keys,
        )
        self._cycle = SchedulingCycle(
            self.state,
            self.book,
            self._mirror,
            self.gangs,
            self.preemptor,
            self.defrag.places,
            self._bindings,
            clock=self._clock,
            pods=self.pods,
            notes=self.notes,
            reports=self._reports,
            sharing=self._sharing,
        )
        self._handover = Handover(
            self.state,
            self.book,
            self.preemptor,
            self.gangs,
            self.defrag,
            clock=self._clock,
            pods=self.pods,
            reports=self._reports,
            kick=self._kick.set,
        )
        self._housekeeping = Housekeeping(
            self.state, self.book, self._binder, self.preemptor, clock=self._clock, reports=self._reports
        )
        self._inbox = Inbox(manager, self._mirror, pod=self._apply_pod, news=self._kick.set)
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
            group.create_task(self._leading.follow(self._handover), name="leadership")
            if self.shards is not None:
                group.create_task(self._leading.win(self.shards, self._handover), name="shards that were won")
            if self.history is not None:
                group.create_task(self.history.run(), name="recording")
            group.create_task(self.mixes.run(), name="what pools learn")
            group.create_task(self._housekeeping.run(), name="housekeeping")
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

    def _uid_of_pool(self, pool: str) -> str:
        found = self._gpu_pools.get(Key("", pool))
        return "" if found is None else found.metadata.uid

    def _tell(self, hints: Iterable[Hint]) -> None:
        """Something changed beside the watch."""
        self._hints += hints
        if self._hints:
            contained("wake pods that wait", self._wake_waiting)
            self._kick.set()

    # --- the loop ---

    async def _loop(self) -> None:
        while True:
            self._kick.clear()
            more = self._step()
            if self.deciding:
                contained("wake pods that nodes are kept from", self._wake_kept_out)
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
            contained("wake pods that wait", self._wake_waiting)
            return True
        if not self.deciding:
            self._handover.stand_down()
            return False
        contained("count what is kept for moved pods that are gone", self.defrag.places.follow)
        self._handover.resume()
        if self.preemptor.asks.promised:
            contained("keep what was promised", self.preemptor.asks.keep_promise)
            return True
        if self.book.wishes:
            contained("answer wishes of running pods", self._resizes.step)
        if self.book.gangs.changed:
            contained("look at gangs that changed", self.gangs.catch_up)
        contained("wake pods that cohorts have room for", self._wake_parked)
        contained("make room for pods that fit nowhere", self.preemptor.step)
        if self._hints:  # what was given back beside the watch
            contained("wake pods that wait", self._wake_waiting)
        for _ in range(DECISIONS_A_STEP):
            if not self._binder.has_room:
                return False  # the binder's answers kick
            pending = self.book.queue.pop(self._clock.monotonic())
            if pending is None:
                return False
            self._cycle.decide(pending)
        return True

    def _recount(self) -> None:
        for pod in self.pods.all():
            self.book.recount(pod)

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

    def _refused(self, pod: Pod, message: str) -> None:
        """The pod's wishes cannot be read: it waits for somebody to change it."""
        self.notes.unreadable(pod, message)
        if self.deciding and (self._sharing is None or self._sharing.tells(pod)):
            self._reports.held_back(pod, event=FAILED, message=message)

    def _resized(self, pod: Pod, request: GpuRequest | None, words: str) -> None:
        """A wish was answered: its owner hears of it, and pods that wait for what became free."""
        record = self.records.get(pod.metadata.uid)
        if record is not None and request is not None:
            record.now_asks = request
        self._reports.resized(pod, accepted=request is not None, words=words)
        self._kick.set()

    def _tend_gangs(self) -> None:
        if self.book.gangs.groups:
            contained("look after gangs that wait", self.gangs.tick)
