"""One run of a recorded period in virtual time, by the code that decides in a cluster.

The queue, its order and backoffs, what wakes who waits, single decisions, gangs and who has to go for whom are the
scheduler's own. Decisions take no time, Bindings always succeed, and who is evicted is gone at once. Left out are what
no recording has: disruption budgets, and defragmentation.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.core import Pod, PodSpec
from tensorfusion.model.meta import Key, Meta
from tensorfusion.scheduler.binder import Binding
from tensorfusion.scheduler.gang_book import Group
from tensorfusion.scheduler.gangs import Gangs, Road, speaker
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.recording.history import FleetChange, History
from tensorfusion.scheduler.wakes import wake_helped, wake_parked
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import (
    Placement,
    PodFacts,
)
from tensorfusion.scheduling.gang_preemption import GangPlan, search_gang
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.preemption import Plan, search
from tensorfusion.scheduling.state import State
from tensorfusion.testing.what_if.ground import Ground
from tensorfusion.testing.what_if.jobs import Job
from tensorfusion.testing.what_if.meter import Meter
from tensorfusion.testing.what_if.outcome import Outcome
from tensorfusion.testing.what_if.scenario import Scenario
from tensorfusion.testing.what_if.seams import RunClock, Silent

_FLUSH_EVERY = 5_000
"""Milliseconds between two looks for who has waited for too long, as in the service."""
_TICK = 1_000
_END, _FLEET, _ARRIVE, _RESIZE, _GIVE_UP = range(5)


@dataclass(slots=True)
class _Life:
    """Where a job is. ``runs`` numbers its runs: an end that was planned for an earlier one does not count."""

    job: Job
    placement: Placement | None = None
    runs: int = 0
    gone: bool = False
    waited: bool = False
    """It has had its first place, or somebody else chose it."""


class Replay:
    """One run. ``tick`` is called for each arrival."""

    def __init__(
        self, history: History, jobs: Sequence[Job], scenario: Scenario, *, tick: Callable[[], None] = lambda: None
    ) -> None:
        self._history = history
        self._jobs = jobs
        self._scenario = scenario
        self._tick = tick
        self._settings = history.settings
        self._outcome = Outcome(seconds=history.seconds)
        self._clock = RunClock(history.start)
        self._state = State()
        self._state.profiles = history.fleet.profiles
        self._hints: list[Hint] = []
        self._lives: dict[str, _Life] = {}
        self._members: dict[Key, Pod] = {}
        """Members of gangs, as objects."""
        self._ranks: Counter[int] = Counter()
        """How many placed pods there are of each importance."""
        self._news = 0
        """Grows with everything that happens: what was decided before holds no more."""
        self._refused: dict[int, tuple[int, Failure]] = {}
        """Why jobs of a kind did not fit, and after which news: until there are others the same is true of the next."""
        self._events: list[tuple[int, int, int, object]] = []
        self._count = 0
        self._flushed = history.start
        self._book = PodBook(
            self._state,
            self._hints,
            clock=self._clock,
            scheduler_names=frozenset(),
            priority_of=lambda _: 0,
            refused=lambda _, __: None,
        )
        self._gangs = Gangs(
            self._state,
            self._book,
            Road(self._binding, placed=self._member_placed, refused=self._member_refused),
            self,
            clock=self._clock,
            reports=Silent(),
            pod_of=self._members.get,
            patience=self._settings.patience,
            domain_keys=self._settings.domains,
            timer=lambda: 0,
        )
        self._meter = Meter(self._state, history.prices, start=history.start)
        self._ground = Ground(self._state, self._hints, self._meter, scenario)

    def run(self) -> Outcome:
        """Play the period through. Once."""
        for change in self._scenario.fleet(self._history.fleet):
            self._fleet(change)
        for change in self._scenario.extra():
            self._fleet(change)
        for change in self._history.changes:
            self._plan(change.at, _FLEET, change)
        for job in self._jobs:
            if job.held:
                self._resume(job)
            else:
                self._plan(job.arrives, _ARRIVE, job)
        self._settle()
        while (at := self._next()) is not None and at <= self._history.end:
            self._meter.advance(at)
            self._clock.at = at
            while self._events and self._events[0][0] <= at:
                _, kind, _, what = heapq.heappop(self._events)
                self._happen(kind, what)
            self._settle()
        self._meter.advance(self._history.end)
        return self._summed()

    # --- time ---

    def _plan(self, at: int, kind: int, what: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, kind, self._count, what))

    def _next(self) -> int | None:
        """When something happens next; None: nothing does any more."""
        now = self._clock.at
        times = [self._events[0][0]] if self._events else []
        due = self._book.queue.next_due(now / 1000)
        if due is not None:
            times.append(now + max(1, -int(-due * 1000 // 1)))
        if any(group.pending for group in self._book.gangs.groups.values()):
            times.append(now + _TICK)
        return min(times, default=None)

    def _happen(self, kind: int, what: object) -> None:
        if isinstance(what, FleetChange):
            self._fleet(what)
        elif isinstance(what, Job):
            self._arrive(what)
        elif isinstance(what, tuple):
            uid, detail = what
            life = self._lives[uid]
            if kind == _END and life.runs == detail and life.placement is not None:
                self._leave(life)
            elif kind == _GIVE_UP and life.placement is None and not life.waited:
                self._outcome.of(life.job.size).gave_up += 1
                self._leave(life)
            elif kind == _RESIZE and not life.gone:
                self._resize(life, detail)

    def _fleet(self, change: FleetChange) -> None:
        gone = self._ground.change(change)
        if gone is not None:
            self._empty(gone)

    def _empty(self, node: str) -> None:
        """Pods lose the node that goes. Who was on it in the recording ended with it; anybody else starts anew.

        With a node that is left out only those end that can be nowhere else.
        """
        is_left_out = node in self._ground.left_out
        for uid in [uid for uid, one in self._state.allocations.items() if one.placement.node == node]:
            life = self._lives[uid]
            again = not self._ground.leaves_out(life.job) if is_left_out else life.job.node != node
            self._outcome.displaced += again
            self._outcome.dropped += is_left_out and not again
            self._leave(life, again=again)

    # --- pods come and go ---

    def _resume(self, job: Job) -> None:
        """It is there already."""
        facts, place = self._scenario.pod(job.facts), job.fixed
        if place is not None and place.node not in self._ground.left_out:
            life = self._lives[facts.uid] = _Life(job, waited=True)
            self._book.learn(facts)
            self._hold(life, facts, place)
            self._plan_resizes(job)
        elif self._ground.leaves_out(job):
            self._outcome.dropped += 1
        else:
            self._outcome.displaced += 1
            self._arrive(replace(job, fixed=None, held=False, waits_since=self._clock.at))

    def _arrive(self, job: Job) -> None:
        self._tick()
        facts = self._scenario.pod(job.facts)
        life = self._lives[facts.uid] = _Life(job)
        if self._ground.leaves_out(job):
            self._outcome.dropped += 1
            life.gone = True
            return
        life.waited = job.pinned
        if not job.pinned:
            self._outcome.of(job.size).arrived += 1
        self._plan_resizes(job)
        if job.fixed is not None:
            self._hold(life, facts, job.fixed)
            return
        if job.patience is not None:
            self._plan(job.arrives + job.patience, _GIVE_UP, (facts.uid, None))
        self._enqueue(facts)

    def _plan_resizes(self, job: Job) -> None:
        for at, shape in job.resizes:
            self._plan(at, _RESIZE, (job.facts.uid, shape))

    def _enqueue(self, facts: PodFacts) -> None:
        self._book.learn(facts)
        self._book.queue.put(facts.uid, facts, priority=facts.rank, now=self._clock.monotonic())
        self._join(facts, node="")

    def _join(self, facts: PodFacts, *, node: str) -> None:
        """The books of gangs know members as objects."""
        if facts.gang is None:
            return
        meta = Meta(name=facts.name, namespace=facts.namespace, uid=facts.uid, creation_timestamp=facts.created or None)
        pod = self._members[meta.key] = Pod(metadata=meta, spec=PodSpec(node_name=node))
        self._book.gangs.observe(pod, facts.gang, None if node else facts)

    def _hold(self, life: _Life, facts: PodFacts, place: Placement) -> None:
        """The pod has its place from now on."""
        self._book.queue.remove(facts.uid)
        self._book.assumed.pop(facts.uid, None)
        self._hints += self._state.confirm(facts, place)
        self._news += 1
        self._join(facts, node=place.node)
        life.placement = place
        life.runs += 1
        self._ranks[facts.rank] += 1
        self._meter.note(place.devices)
        if not life.waited:
            life.waited = True
            waited = max(0, self._clock.at - life.job.waits_since)
            self._outcome.of(life.job.size).waits.append(waited)
            self._outcome.waits[facts.uid] = waited
        if life.job.lasts is not None:
            self._plan(self._clock.at + life.job.lasts, _END, (facts.uid, life.runs))

    def _leave(self, life: _Life, *, again: bool = False) -> None:
        """The pod ends, or gives its place back and waits ``again``."""
        uid = life.job.facts.uid
        held = self._state.allocations.get(uid)
        self._book.left(uid)
        if held is not None:
            self._ranks[held.pod.rank] -= 1
            if not self._ranks[held.pod.rank]:
                del self._ranks[held.pod.rank]
        place, life.placement = life.placement, None
        if place is not None:
            self._meter.note(place.devices)
        if again:
            self._enqueue(self._scenario.pod(life.job.facts))
        else:
            life.gone = True
            if life.job.facts.gang is not None:
                self._members.pop(Key(life.job.facts.namespace, life.job.facts.name), None)

    def _resize(self, life: _Life, shape: PodFacts) -> None:
        facts = self._scenario.pod(shape)
        held = self._state.allocations.get(facts.uid)
        if held is None or life.placement is None:
            return  # it is asked for when it runs
        if facts.request is None or held.pod.request is None:
            return
        try:
            self._state.resize(facts.uid, facts.request)
        except (NotHoldable, QuotaExceeded):
            self._outcome.not_resized += 1
            return
        self._hints += self._state.confirm(replace(held.pod, request=facts.request), life.placement)
        self._meter.note(life.placement.devices)

    # --- decisions ---

    def _settle(self) -> None:
        """Decide until nothing more can be decided now."""
        queue, now = self._book.queue, self._clock.monotonic()
        if self._clock.at - self._flushed >= _FLUSH_EVERY:
            self._flushed = self._clock.at
            queue.flush(now)
        if self._book.gangs.groups:
            self._gangs.tick()
        while True:
            self._hints += self._state.eased_holds()
            self._news += bool(self._hints)
            wake_helped(self._hints, self._book, self._gangs, now=now)
            if self._book.gangs.changed:
                self._gangs.catch_up()
            wake_parked(self._book)
            pending = queue.pop(now)
            if pending is None:
                if self._hints or self._book.gangs.changed:
                    continue
                return
            self._decide(pending)

    def _decide(self, pending: Pending) -> None:
        facts = pending.facts
        if (facts.gang is not None or self._gangs.concerns_others) and self._gangs.take(pending):
            return
        life = self._lives[facts.uid]
        place = self._place_for(life, facts)
        if isinstance(place, Placement):
            self._hold(life, facts, place)
        else:
            self._book.queue.failed(pending, place, now=self._clock.monotonic())

    def _place_for(self, life: _Life, facts: PodFacts) -> Placement | Failure:
        """Where the pod goes, whoever has to go for it; or why it goes nowhere."""
        alone = facts.gang is None and facts.rules is None and not self._some_may_go(facts, facts.rank)
        known = self._refused.get(life.job.kind) if alone else None
        if known is not None and known[0] == self._news:
            return known[1]
        try:
            return self._choose(facts)
        except (NotFit, QuotaExceeded) as failure:
            place = self._made_room(facts, failure)
            if place is not None:
                return place
            failure.__traceback__ = None
            if alone:
                self._refused[life.job.kind] = self._news, failure
            return failure

    def _choose(self, facts: PodFacts) -> Placement:
        """Where the pod goes.

        Raises:
            QuotaExceeded, Unschedulable: as a plain decision.
        """
        decision = decide(self._state, facts) if facts.gang is None else self._gangs.decide_member(facts)
        return decision.placement

    def _some_may_go(self, facts: PodFacts, rank: int) -> bool:
        """Whether there is anybody who could have to go for such a pod: a search takes long."""
        return min(self._ranks, default=rank) < rank or self._state.quotas.is_owed(facts.namespace)

    def _made_room(self, facts: PodFacts, failure: Failure) -> Placement | None:
        """A place that less important pods had; None where nobody's going would help."""
        if not self._some_may_go(facts, facts.rank):
            return None
        plan = search(self._state, facts, failure, now=self._clock.at // 1000, cluster_wide=self._settings.cluster_wide)
        if not isinstance(plan, Plan):
            return None
        self._evict(plan)
        return plan.placement

    def _evict(self, plan: Plan | GangPlan) -> None:
        for one in plan.victims:
            life = self._lives[one.pod.uid]
            self._outcome.evicted += 1
            self._leave(life, again=life.job.comes_again)

    # --- gangs: the part of the road that a cluster has for them ---

    def _binding(self, pod: Pod, facts: PodFacts, decision: Decision) -> Binding:
        place = decision.placement
        now = self._clock.monotonic()
        return Binding(pod.metadata.uid, pod.key, place.node, place.devices, {}, epoch=0, decided_at=now)

    def _member_placed(self, pending: Pending, decision: Decision, binding: Binding, nanoseconds: int) -> None:
        self._hold(self._lives[pending.uid], pending.facts, decision.placement)

    def _member_refused(self, pending: Pending, failure: Failure, nanoseconds: int) -> None:
        """Nobody counts refusals here."""

    def set_aside(self, uids: object) -> list[Hint]:
        """Nothing is kept for anybody: victims are gone at once."""
        return []

    def used(self, uids: object, given_back: list[Hint]) -> None:
        """Nothing was kept."""

    def missed(self, group: Group) -> None:
        """The gang does not fit: it does once less important pods are gone, and then it is its turn at once."""
        members = list(group.pending.values())
        if not group.complete or not self._some_may_go(members[0], min(one.rank for one in members)):
            return
        plan = search_gang(
            self._state,
            members,
            needed=group.gang.required,
            now=self._clock.at // 1000,
            domain_keys=self._settings.domains,
            cluster_wide=self._settings.cluster_wide,
        )
        if isinstance(plan, GangPlan) and plan.victims:
            self._evict(plan)
            group.retry_at = float("-inf")
            first = speaker(group, self._book.queue)
            if first is not None:
                self._book.queue.activate(first.uid)

    # --- what came of it ---

    def _summed(self) -> Outcome:
        outcome, meter = self._outcome, self._meter
        outcome.device_time, outcome.idle_time = meter.device_time, meter.idle_time
        outcome.taken_time, outcome.micro_usd = meter.taken_time, meter.micro_usd
        outcome.unpriced = sorted(meter.unpriced)
        return outcome
