"""Pods whose place is kept while others leave it, and how each of these waits stands.

Apart from the preemptor because these are facts that its rules ask for: who is waited for, who should have left long
ago, whether the place is still there, why a wait has come to nothing, and whose places are in the way of a more
important pod.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.clock import Clock
from tensorfusion.errors import QuotaExceeded, TensorFusionError
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.pods import Failure, PodBook
from tensorfusion.scheduling.circumstances import KeptPlace
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.owing import still_owed
from tensorfusion.scheduling.reasons import DeviceReason
from tensorfusion.scheduling.residents import gang_of
from tensorfusion.scheduling.state import State

LONGEST_NOMINATION = 360.0
"""Seconds after which a nominated pod is decided anew: its victims are not evicted, or do not end when they should."""


@dataclass(slots=True, eq=False)
class Party:
    """Members of a gang that wait together: what ends the wait of one of them ends it for all."""

    key: str
    rank: int
    """That of its most important member: who is above may take its places."""
    members: "tuple[Nomination, ...]" = ()
    """The first of them has the victims of all."""


@dataclass(slots=True, eq=False)
class Nomination:
    """A pod that waits for others to leave its place."""

    facts: PodFacts
    key: Key
    placement: Placement
    since: float
    epoch: int
    victims: dict[str, Pod]
    """Those that are still to be evicted, by uid."""
    awaited: frozenset[str]
    """Uids of all that have to leave, those that end anyway among them. The same object for all of a party."""
    told: bool = False
    """Its status names the node."""
    names: tuple[str, ...] = field(default=())
    failures: Counter[str] = field(default_factory=Counter)
    """How often the server failed to evict a victim, by uid."""
    party: Party | None = None
    """The gang that it waits with."""
    owed: frozenset[str] = frozenset()
    """Uids of those who have to leave only because their namespace holds what is this one's own."""

    begun: set[str] = field(default_factory=set)
    """Gangs of which somebody was evicted."""

    @property
    def together(self) -> "tuple[Nomination, ...]":
        """All that wait with it, itself among them."""
        return self.party.members if self.party is not None else (self,)

    @property
    def rank(self) -> int:
        """Who is more important may take its place."""
        return self.party.rank if self.party is not None else self.facts.rank

    @property
    def owner(self) -> str:
        """Whom the wait is for: the gang or the pod."""
        return self.party.key if self.party is not None else self.facts.uid


class Nominations:
    """By the uid of the pod. The holds themselves are in the ledger (``State.nominated``)."""

    def __init__(self, state: State, book: PodBook, *, clock: Clock, pods: Cache[Pod]) -> None:
        self.by_uid: dict[str, Nomination] = {}
        self._state = state
        self._book = book
        self._clock = clock
        self._pods = pods

    def waits(self, nomination: Nomination) -> bool:
        """Whether anybody is still there that has to leave."""
        allocations = self._state.allocations
        return any(uid in allocations for uid in nomination.awaited)

    def overdue(self, nomination: Nomination) -> list[str]:
        """Those that should have left long ago. The end that was announced to a pod includes the time it may take."""
        latest = self._clock.now().timestamp() - LONGEST_NOMINATION
        overdue = []
        for uid in nomination.awaited:
            allocation = self._state.allocations.get(uid)
            if allocation is None:
                continue
            pod = self._pods.get(Key(allocation.pod.namespace, allocation.pod.name))
            if pod is None or pod.metadata.uid != uid:
                continue  # gone; the event is on its way
            announced = pod.metadata.deletion_timestamp
            if announced is None or datetime.fromisoformat(announced).timestamp() <= latest:
                overdue.append(uid)
        return overdue

    def is_owed(self, nomination: Nomination) -> bool:
        """Whether those that are still to be evicted for what was lent may still be asked for it.

        A gang of which somebody was evicted already goes as a whole.
        """
        if not nomination.owed:
            return True
        here, units = self._state.allocations, dict[str, list[Allocation]]()
        for uid in nomination.victims:
            one = here.get(uid) if uid in nomination.owed else None
            if one is not None and gang_of(one.pod) not in nomination.begun:
                units.setdefault(gang_of(one.pod) or uid, []).append(one)
        return still_owed(self._state, [one.facts for one in nomination.together], units.values())

    def is_ending(self, uid: str) -> bool:
        """Whether the pod was told to end."""
        return self._state.residents.is_ending(uid)

    def is_there(self, placement: Placement) -> bool:
        """Whether the node and the devices of a place still are."""
        node = self._state.fleet.nodes.records.get(placement.node)
        devices = self._state.fleet.devices
        return (
            node is not None
            and node.facts is not None
            and node.facts.ready
            and all(name in devices and devices[name].facts is not None for name in placement.devices)
        )

    def void(self, one: Nomination) -> str:
        """Why the wait of this pod has come to nothing; empty where it has not."""
        uid = one.facts.uid
        entry = self._book.queue.get(uid)
        if uid not in self._state.nominated or entry is None:
            return "the pod waits no more" if one.party is None else "a member of the gang waits no more"
        if one.party is not None:
            group = self._book.gangs.of(uid)
            if entry.facts is not one.facts and entry.facts != one.facts:
                return "a member of the gang was changed"
            if group is None or group.key != one.party.key:
                return "a member of the gang left it"
        elif one.facts.gang is not None and not self._book.gangs.goes_singly(one.facts):
            return "its gang has to start anew"
        if not self.is_owed(one):
            return "what was lent has come back otherwise"
        return "" if self.is_there(one.placement) else "the node or a device of it is gone"

    def void_together(self, one: Nomination) -> str:
        """Why the wait of the whole gang has come to nothing: what need not be asked for each of its members."""
        group = self._book.gangs.of(one.facts.uid) if one.party is not None else None
        if group is None:
            return ""
        if self._book.gangs.is_satisfied(group):
            return "its gang runs already"
        return "" if group.complete else "its gang has too few members by now"

    def await_end(self) -> None:
        """The ledger counts (``departed``) each time that one of those ends whom any nomination is about."""
        awaited = self._state.awaited
        awaited.clear()
        different = {id(one.awaited): one.awaited for one in self.by_uid.values()}  # a gang has one for all
        awaited.update(self.by_uid, *different.values())

    def kept(self) -> Iterator[KeptPlace]:
        """The places that are kept."""
        return map(_kept_place, self.by_uid.values())

    def in_the_way(self, facts: PodFacts, failure: Failure) -> list[Nomination]:
        """The nominations of less important pods whose end may let this one fit."""
        rank, nominated = facts.rank, self._state.nominated
        lower = [one for one in self.by_uid.values() if one.rank < rank and one.facts.uid in nominated]
        shared = self._state.quotas.counts_with
        if any(one.owed for one in lower) and not self._state.quotas.stays_within_own(facts.namespace, facts.request):
            # what was got back for its owner is not lent again before the owner has it
            lower = [one for one in lower if not _kept_place(one).is_barred(self._state, facts.namespace)]
        if isinstance(failure, QuotaExceeded) and not any(
            shared(one.facts.namespace, facts.namespace) for one in lower
        ):
            return []
        fleet = self._state.fleet
        if not lower or fleet.neighbours.active or facts.rules is not None:
            return lower  # a neighbour counts for more than its own node
        over_quota = isinstance(failure, QuotaExceeded) or DeviceReason.QUOTA in failure.reasons
        near = self._nodes_of(lower, facts)
        return [
            one
            for one in lower
            if near.get(one.placement.node) or (over_quota and shared(one.facts.namespace, facts.namespace))
        ]

    def _nodes_of(self, nominations: list[Nomination], facts: PodFacts) -> Mapping[str, bool]:
        """By the nodes of these: whether the pod could be placed there at all."""
        names = [one.placement.node for one in nominations]
        if facts.request is not None:
            pool = self._state.fleet.pools.get(facts.request.pool)
            return {} if pool is None else {name: pool.row_of(name) is not None for name in names}
        selector = facts.node_selector.items()
        records = {name: self._state.fleet.nodes.records.get(name) for name in names}
        return {
            name: record is not None and record.facts is not None and selector <= record.facts.labels.items()
            for name, record in records.items()
        }

    def can_hold(self, facts: PodFacts, placement: Placement) -> bool:
        """Whether the pod could be held there as things are. Changes nothing."""
        mark = self._state.checkpoint()
        try:
            self._state.assume(facts, placement)
        except TensorFusionError:
            return False
        finally:
            self._state.rollback(mark)
        return True


def _kept_place(one: Nomination) -> KeptPlace:
    return KeptPlace(one.facts.uid, one.facts.namespace, one.rank, in_gang=one.party is not None, owed=bool(one.owed))
