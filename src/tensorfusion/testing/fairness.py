"""Tenants of a cohort under saturation, simulated: who holds how much, with the scheduler's own queue, book and search.

Each tenant has more to do than there is, one far more than the others. Most devices belong to a namespace that is
idle, comes back in the middle for all that is its own, and ends again. Time is simulated; the same seed gives the same
answer.
"""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.pods import Failure
from tensorfusion.scheduler.queue import PendingQueue
from tensorfusion.scheduler.turns import Turns, is_parked
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import (
    CohortFacts,
    DeviceFacts,
    NodeFacts,
    Placement,
    PodFacts,
    PoolFacts,
    QuotaFacts,
)
from tensorfusion.scheduling.hints import Change, ChangeKind, helps
from tensorfusion.scheduling.preemption import Plan, search
from tensorfusion.scheduling.state import State

OWNER = "owner"
"""The namespace that most devices belong to."""
SIZES = (1, 2, 4)
"""Devices of a pod: of each size every tenant has as many waiting."""
_POOL, _COMPUTE, _VRAM = "pool", 100_000, 80 << 30


@dataclass(frozen=True, slots=True)
class Tenant:
    """One borrower. ``backlog``: pods of each size that it has waiting at any time."""

    name: str
    weight: int = 1
    own: int = 2
    backlog: int = 5


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated. Times are in seconds; the owner is there from ``comes`` to ``goes``."""

    tenants: Sequence[Tenant]
    nodes: int = 6
    devices: int = 8
    lifetime: float = 300.0
    length: float = 10_800.0
    comes: float = 6_000.0
    goes: float = 7_800.0
    fair: bool = True
    seed: int = 0

    @property
    def owned(self) -> int:
        """Devices of the owner: all that are not the tenants'."""
        return self.nodes * self.devices - sum(one.own for one in self.tenants)


@dataclass(slots=True)
class Outcome:
    """Devices that each namespace holds, whenever that changed; evictions; how long the owner waited for its own."""

    held: dict[str, list[tuple[float, int]]]
    evicted: int = 0
    owner_waits: list[float] = field(default_factory=list)
    least_own: int = 0
    """The least by which a tenant was above its own (or, below zero, below) right after one of its pods was evicted."""

    def average(self, name: str, start: float, end: float) -> float:
        """Devices held on average between two times."""
        total, points = 0.0, self.held[name]
        for (at, devices), (then, _) in zip(points, [*points[1:], (end, 0)], strict=True):
            total += devices * max(0.0, min(then, end) - max(at, start))
        return total / (end - start)


def simulate(scenario: Scenario) -> Outcome:
    """Play a scenario from its beginning to its end."""
    return _Play(scenario).run()


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def borrowed_by_weight(scenario: Scenario, outcome: Outcome, start: float, end: float) -> Mapping[str, float]:
    """What each tenant held above its own on average, divided by its weight."""
    return {one.name: float((outcome.average(one.name, start, end) - one.own) / one.weight) for one in scenario.tenants}


class _Play:
    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._random = random.Random(scenario.seed)
        self._now = 0.0
        self._events: list[tuple[float, int, str]] = []
        self._numbers = 0
        self._state = _world(scenario)
        self._turns = Turns(self._state.quotas.cohorts) if scenario.fair else None
        self._queue: PendingQueue[PodFacts, Failure] = PendingQueue(self._turns)
        self._hints: list[Change] = []
        self._asked_at: dict[str, float] = {}
        names = [*(one.name for one in scenario.tenants), OWNER]
        self._outcome = Outcome({name: [(0.0, 0)] for name in names})

    def run(self) -> Outcome:
        for tenant in self._scenario.tenants:
            for _ in range(tenant.backlog):
                for size in SIZES:
                    self._ask(tenant.name, size)
        self._at(self._scenario.comes, "come")
        self._at(self._scenario.goes, "go")
        while True:
            self._settle()
            due = self._queue.next_due(self._now)
            then = self._events[0][0] if self._events else self._scenario.length
            self._now = min(then, self._now + due) if due else then
            if self._now >= self._scenario.length:
                return self._outcome
            while self._events and self._events[0][0] <= self._now:
                self._happen(heapq.heappop(self._events)[2])

    def _happen(self, what: str) -> None:
        if what == "come":
            for _ in range(self._scenario.owned):
                self._ask(OWNER, 1)
        elif what == "go":
            for uid, one in list(self._state.allocations.items()):
                if one.pod.namespace == OWNER:
                    self._end(uid)
        elif what in self._state.allocations:
            self._end(what)

    def _at(self, when: float, what: str) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (when, self._numbers, what))

    def _ask(self, namespace: str, count: int) -> None:
        self._numbers += 1
        uid = f"{namespace}-{self._numbers}"
        request = GpuRequest(_POOL, count=count, compute=_COMPUTE, vram=_VRAM)
        created = f"2026-01-01T{int(self._now) // 3600:02}:{int(self._now) // 60 % 60:02}:{int(self._now) % 60:02}Z"
        facts = PodFacts(uid, namespace, uid, request=request, created=created)
        self._asked_at[uid] = self._now
        self._queue.put(uid, facts, priority=facts.rank, now=self._now)

    def _settle(self) -> None:
        while True:
            self._wake()
            entry = self._queue.pop(self._now)
            if entry is None:
                if self._hints:
                    continue
                return
            facts = entry.facts
            try:
                self._place(facts, decide(self._state, facts).placement)
            except (NotFit, QuotaExceeded) as failure:
                quotas = self._state.quotas
                owed = quotas.is_owed(facts.namespace) and quotas.stays_within_own(facts.namespace, facts.request)
                found = search(self._state, facts, failure, now=1 << 40) if owed else None
                if isinstance(found, Plan):
                    for victim in found.victims:
                        self._evict(victim.pod)
                    self._place(facts, found.placement)
                else:
                    failure.__traceback__ = None
                    self._queue.failed(entry, failure, now=self._now)

    def _wake(self) -> None:
        news, self._hints = self._hints, []
        trees = {one.cohort for one in news if one.kind is ChangeKind.USAGE and one.cohort} if self._turns else set()
        if self._turns is not None:
            self._turns.given_back(trees)
        if news:
            self._queue.wake(
                lambda entry: (
                    not is_parked(entry.failure, trees, news)
                    and entry.failure is not None
                    and any(helps(entry.failure, one) for one in news)
                ),
                now=self._now,
            )
        for entry in self._turns.due() if self._turns is not None else ():
            self._queue.activate(entry.uid)

    def _place(self, facts: PodFacts, placement: Placement) -> None:
        self._hints += self._state.assume(facts, placement)
        self._queue.remove(facts.uid)
        asked = self._asked_at.pop(facts.uid)
        if facts.namespace == OWNER:
            self._outcome.owner_waits.append(self._now - asked)
        else:
            self._at(self._now + self._random.expovariate(1 / self._scenario.lifetime), facts.uid)
            self._ask(facts.namespace, len(placement.devices))
        self._note(facts.namespace)

    def _end(self, uid: str) -> None:
        namespace = self._state.allocations[uid].pod.namespace
        self._hints += self._state.release(uid)
        self._note(namespace)

    def _evict(self, facts: PodFacts) -> None:
        """It ends at once, and whoever made it makes another one: its backlog is full, so that one is left out."""
        self._end(facts.uid)
        self._outcome.evicted += 1
        own = self._state.quotas.ceiling(facts.namespace)
        above = self._state.usage(facts.namespace).devices - ((own.total_devices if own is not None else 0) or 0)
        self._outcome.least_own = min(self._outcome.least_own, above)

    def _note(self, namespace: str) -> None:
        points, devices = self._outcome.held[namespace], self._state.usage(namespace).devices
        if points[-1][0] == self._now:
            points[-1] = (self._now, devices)
        else:
            points.append((self._now, devices))


def _world(scenario: Scenario) -> State:
    state = State()
    state.upsert_pool(PoolFacts(_POOL, mode="CompactFirst"))
    for number in range(scenario.nodes):
        node = f"n{number}"
        state.upsert_node(NodeFacts(node, cpu=1 << 20, memory=1 << 50, pods=1_000))
        for index in range(scenario.devices):
            state.upsert_device(DeviceFacts(f"{node}-{index}", node, _POOL, index=index, compute=_COMPUTE, vram=_VRAM))
    state.set_cohort(CohortFacts("all", reclaim=ReclaimPolicy.ANY))
    state.set_quota(QuotaFacts(OWNER, total_devices=scenario.owned, cohort="all"))
    for tenant in scenario.tenants:
        state.set_quota(QuotaFacts(tenant.name, total_devices=tenant.own, cohort="all", fair_weight=tenant.weight))
    return state
