"""Which pod is searched victims for next, and how often at all.

Apart from the preemptor because it decides nothing about places. Searches cost, so there is a bound on them; the most
important pod goes first, and among equals the namespaces take turns. A pod that nothing helped *rests*, longer each
time, unless what was in its way (a disruption budget, protection from eviction) changes earlier.

Places can be lost: to somebody more important, or because a decision says that what a search found is none. Who lost
one is searched for again at once, but not without an end: whatever pods or gangs undo each other's places, each of them
is nominated at most ``LOSSES_IN_A_ROW + 1`` times at one moment, and then *pauses*, longer each time.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from tensorfusion.clock import Clock
from tensorfusion.scheduler.pods import Pending, PodBook
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.residents import NEVER
from tensorfusion.scheduling.state import State

SEARCHES_A_SECOND = 200.0
"""Searches a second in a small fleet, and as many at once; in a large one a search counts for several."""
COST_OF = 8_000
"""Devices and pods of a fleet that make a search count for one more: what all searches take is a tenth of the time."""
MEMBERS_AS_ONE = 8
"""Members of a gang that make a search count for one more."""
FIRST_REST, LONGEST_REST = 10.0, 300.0
"""Seconds for which a pod is not searched for again that nothing could help: doubled each time."""
LOSSES_IN_A_ROW = 4
"""How often a pod or a gang may lose its place and be searched for again at once."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""Seconds for which it is not searched for again after one more loss: doubled each time."""
FORGIVEN_AFTER = 30.0
"""Seconds without a loss after which the earlier ones do not count any more."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the pods that nothing could help."""


@dataclass(slots=True)
class Rest:
    """A pod that nothing could help, and what it is searched for again at. ``until`` is of the monotonic clock."""

    facts: PodFacts
    until: float
    doublings: int = 0
    wanted: bool = False
    """It was refused again meanwhile."""
    protected_until: int = NEVER
    """Unix seconds: the end of the protection from eviction that was in its way."""
    spaces: frozenset[str] = frozenset()
    """Namespaces of the disruption budgets that were in its way."""
    stalled: bool = False
    """Its victims did not end, or places were lost: it is not searched for until then, whoever speaks for its gang."""
    entitled: bool = False
    """Those were asked that hold what is its namespace's own."""


class SearchLine:
    """Entries of the queue by uid."""

    def __init__(self, book: PodBook, state: State, *, clock: Clock) -> None:
        self._queue = book.queue
        self._state = state
        self._clock = clock
        self._asking: list[tuple[int, int, int, str]] = []
        """Pods to be searched for: by rank, then one of each namespace in turn."""
        self._asked: set[str] = set()
        self._turns: dict[str, int] = {}
        """The turn that each namespace had last."""
        self._turn = 0
        self._rests: dict[str, Rest] = {}
        """Pods that nothing could help, by uid."""
        self._losses: dict[str, tuple[int, float]] = {}
        """How many places a pod or a gang lost in a row, and when the last one, by owner; the latest stands last."""
        self._looked_at = float("-inf")
        self._eased = state.eased
        self._cohorts = state.quotas.cohorts.version
        self._tokens = SEARCHES_A_SECOND
        self._counted_at = clock.monotonic()

    def __len__(self) -> int:
        return len(self._asking)

    # --- asking ---

    def wants(self, entry: Pending) -> bool:
        """The pod was refused: it stands in line, unless it rests (then it is asked for afterwards)."""
        if self.rests(entry.facts):
            rest = self._rests[entry.uid]
            if rest.entitled or rest.stalled or not self._is_entitled(entry):
                rest.wanted = True
                return False
            del self._rests[entry.uid]
        self.ask(entry)
        return True

    def _is_entitled(self, entry: Pending) -> bool:
        """Whether others hold what is its namespace's own, and it asks for no more than that."""
        quotas, facts = self._state.quotas, entry.facts
        return quotas.is_owed(facts.namespace) and quotas.stays_within_own(facts.namespace, facts.request)

    def ask(self, entry: Pending) -> None:
        """Put a pod in line, once."""
        if entry.uid in self._asked:
            return
        self._asked.add(entry.uid)
        space = entry.facts.namespace
        turn = self._turns[space] = max(self._turn, self._turns.get(space, 0)) + 1
        heapq.heappush(self._asking, (-entry.facts.rank, turn, entry.arrival, entry.uid))

    def ask_again(self, uid: str) -> None:
        """Something changed for the pod: it rests no more."""
        self._rests.pop(uid, None)
        entry = self._queue.get(uid)
        if entry is not None and entry.place is Place.WAITING:
            self.ask(entry)

    def next(self) -> str | None:
        """The pod to be searched for now; None where there is none, or the bound on searches is reached."""
        if not self._asking:
            if self._turns:
                self._turns.clear()
                self._turn = 0
            return None
        if not self._has_token():
            return None
        _, self._turn, _, uid = heapq.heappop(self._asking)
        self._asked.discard(uid)
        return uid

    def spend(self, members: int = 1) -> None:
        """A search begins, for one pod or for so many members of a gang."""
        size = self._state.fleet.present + len(self._state.allocations)
        self._tokens -= 1 + size // COST_OF + members // MEMBERS_AS_ONE

    def _has_token(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(SEARCHES_A_SECOND, self._tokens + (now - self._counted_at) * SEARCHES_A_SECOND)
        self._counted_at = now
        return self._tokens > 0

    # --- resting ---

    def rest(
        self,
        facts: PodFacts,
        *,
        protected_until: int = NEVER,
        spaces: frozenset[str] = frozenset(),
        entitled: bool = False,
    ) -> None:
        """Do not search for this pod for a while, longer each time."""
        before = self._rests.get(facts.uid)
        doublings = before.doublings + 1 if before is not None and before.facts == facts else 0
        until = self._clock.monotonic() + min(LONGEST_REST, FIRST_REST * (1 << min(doublings, 8)))
        self._rests[facts.uid] = Rest(
            facts, until, doublings, protected_until=protected_until, spaces=spaces, entitled=entitled
        )

    def rest_for(self, facts: PodFacts, seconds: float) -> None:
        """Do not search for this pod for so long, whatever changes."""
        self._rests[facts.uid] = Rest(facts, self._clock.monotonic() + seconds, stalled=True)

    def lost(self, owner: str, pods: Iterable[PodFacts]) -> None:
        """The place of these pods, which are the owner's, was lost, or was none: after a few in a row they pause."""
        now = self._clock.monotonic()
        count, at = self._losses.pop(owner, (0, now))
        count = count + 1 if now - at < FORGIVEN_AFTER else 1
        self._losses[owner] = count, now
        while now - self._losses[first := next(iter(self._losses))][1] >= FORGIVEN_AFTER:
            del self._losses[first]
        more = count - LOSSES_IN_A_ROW
        if more > 0:
            for facts in pods:
                self.rest_for(facts, min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(more - 1, 8))))

    def stalls(self, pods: Iterable[PodFacts]) -> bool:
        """Whether nobody is to be evicted for these as one, because of what one of them saw; it is asked afterwards."""
        stalled = [one for facts in pods if self.rests(facts) and (one := self._rests[facts.uid]).stalled]
        for one in stalled:
            one.wanted = True
        return bool(stalled)

    def rests(self, facts: PodFacts) -> bool:
        """Whether it is not yet time to search for this pod again."""
        rest = self._rests.get(facts.uid)
        return rest is not None and rest.facts == facts and self._clock.monotonic() < rest.until

    def found(self, uid: str) -> None:
        """A place was found for the pod."""
        self._rests.pop(uid, None)

    def look(self) -> None:
        """End the rests of pods for which something changed or time went by."""
        if not self._rests:
            return
        now = self._clock.monotonic()
        eased, self._eased = self._state.eased != self._eased, self._state.eased
        if now - self._looked_at < LOOK_EVERY and not eased:
            return
        self._looked_at = now
        self._follow_cohorts(now)
        wall = self._clock.now().timestamp()
        for uid, rest in list(self._rests.items()):
            if uid not in self._queue:
                del self._rests[uid]
            elif rest.protected_until <= wall or (eased and rest.protected_until != NEVER):
                self.ask_again(uid)
            elif rest.wanted and rest.until <= now:
                rest.wanted = False
                entry = self._queue.get(uid)
                if entry is not None and entry.place is Place.WAITING:
                    self.ask(entry)

    def _follow_cohorts(self, now: float) -> None:
        """Others may be asked for what is lent once cohorts or quotas are others: those that ask rest no more."""
        cohorts = self._state.quotas.cohorts
        if cohorts.version == self._cohorts:
            return
        self._cohorts = cohorts.version
        for rest in self._rests.values():
            if rest.entitled and not rest.stalled and cohorts.member(rest.facts.namespace) is not None:
                rest.until, rest.wanted = min(rest.until, now), True

    def budget_changed(self, namespace: str) -> bool:
        """A disruption budget may let pods go that it kept before; answers whether anybody waited for that."""
        waited = [uid for uid, rest in self._rests.items() if namespace in rest.spaces]
        for uid in waited:
            self.ask_again(uid)
        return bool(waited)

    def clear(self) -> None:
        """This replica searches for nobody any more."""
        self._asking.clear()
        self._asked.clear()
        self._turns.clear()
        self._turn = 0
        self._rests.clear()
        self._losses.clear()
