"""The shards of this replica: which it holds, which it tries for, which it gives away, and what it may decide.

Several schedulers share the pools: each shard (a pool, or what belongs to none) has a Lease, whose epoch travels in
every Binding. Who should have which is ``policy.shards``; here are the Leases. Three of them per replica count: its own
(it lives), that of each shard it holds, and the leader's Lease, which all of them hold together so that no scheduler
that takes everything for its own can act beside them (``runtime.shared_lease``).

Quotas cross pools. A pod of a namespace with a quota is decided only while this replica holds *every* pool in which the
namespace has a pod that is not over; all namespaces of a tree of cohorts are as one in this. Of two pods of one
namespace the scheduler that sees the younger one has seen the older one, so it holds the other's pool, too, and knows
what was decided there; the decision record has the proof. The pools of such a namespace are tied and come to one owner.

Pods without shares go to nodes of one's own; the Binding itself decides between two who try. So that they seldom do,
the owner of the common shard comes first, and the others wait their turn unless nobody but them has a fitting node.
"""

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, NotFit
from tensorfusion.model import keys
from tensorfusion.model.core import Lease, Pod
from tensorfusion.model.resources import LEASES
from tensorfusion.policy.shards import COMMON, Seat, member_lease, plan, ranking, shard_lease
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.lease import LeaderElector
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.shared_lease import SharedLease
from tensorfusion.scheduler.binder import Term
from tensorfusion.scheduler.territory import Spans, Territory, pool_of
from tensorfusion.scheduling.domain import Domain
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

TICK = 0.5
"""Seconds between two looks at who holds what."""
FENCED_FOR = 15.0
SWEEP_EVERY = 60.0
FORGOTTEN_AFTER = 20
"""Durations of a Lease after which the Lease of a replica that is gone is cleared away."""


class WaitsForOwner(NotFit):
    """The pod's pool is between two schedulers, or its namespace has a quota and pods in pools of several."""

    def __init__(self, pod: PodFacts, pools: Iterable[str] = ()) -> None:
        super().__init__(f"pod {pod.namespace}/{pod.name}", {})
        names = ", ".join(sorted(pool or "(none)" for pool in pools))
        self.lasts = bool(names)
        """Until pools have come to one owner, and not for a moment only."""
        self._line = (
            f"namespace {pod.namespace} has a quota (perhaps shared) and pods in several pools: waits until one "
            f"scheduler places on all of them ({names} {'is' if ',' not in names else 'are'} being handed over)"
            if names
            else "waits while its pool is handed over from one scheduler to another"
        )

    def __str__(self) -> str:
        return self._line


@dataclass(slots=True)
class _Office:
    """One shard's Lease, from this replica's side."""

    elector: LeaderElector
    heard: float
    ready: int = -1
    """The epoch in which this replica knows what its predecessors did."""
    gone_since: float | None = None
    """Since when there is no such pool."""
    fenced_until: float = float("-inf")
    trying: "asyncio.Task[None] | None" = None
    giving_since: float | None = None


@dataclass(slots=True)
class _Sight:
    """A Lease as the watch shows it. ``since``: when this version was first seen; ``born``: since when it is alive."""

    holder: str
    version: str
    duration: float
    since: float
    born: float
    shard: str | None


@dataclass(frozen=True, slots=True)
class Scope:
    """What the shards need to know of the scheduler: its pools, namespaces with a quota, and what is on its way."""

    pools: Callable[[], Iterable[str]]
    has_ceiling: Callable[[str], bool]
    together: Callable[[str], Iterable[str]]
    """The namespaces that one with a quota shares it with, itself among them."""
    capped: Callable[[], Iterable[str]]
    drained: Callable[[str], bool]
    """Whether nothing that was decided in the name of a shard is on its way."""
    kick: Callable[[], None] = field(default=lambda: None)


class Shards:
    """Shards of one replica. ``regime`` is the leadership over the whole that all replicas hold together."""

    def __init__(self, manager: Manager, *, identity: str, seconds: float = 15.0) -> None:
        self._manager = manager
        self._clock: Clock = manager.clock
        self.identity: Final = identity
        self._seconds = seconds
        self.regime = SharedLease(
            manager.client,
            namespace=keys.SYSTEM_NAMESPACE,
            name=keys.LEADER_LEASE,
            group=keys.SHARDED_HOLDER,
            clock=manager.clock,
            duration=seconds,
            renew_every=seconds / 5,
        )
        self._member = self._elector(member_lease(identity), None)
        self.domain = Domain(self._allows)
        self.territory = Territory(manager, clock=manager.clock, rest=seconds, changed=self.domain.changed)
        self.spans = Spans(manager)
        self._offices: dict[str, _Office] = {}
        self._known: AbstractSet[str] = frozenset()
        """The shards that there are, and those that there were until now."""
        self._strange: dict[str, float] = {}
        """Pools that pods of a namespace with a quota name and that are not known, and since when."""
        self._nowhere: AbstractSet[str] = frozenset()
        """Those of them of which it is certain by now that there is no such pool."""
        self._sights: dict[str, _Sight] = {}
        self._mine: frozenset[str] = frozenset()
        self._missed = False
        """Somebody was told no for one of these: should it be decided here again, all has to be looked at anew."""
        self._scope: Scope | None = None
        self._group: asyncio.TaskGroup | None = None
        leases = manager.informer(LEASES, Lease, namespace=keys.SYSTEM_NAMESPACE, labels=keys.SHARD_LEASES)
        leases.subscribe(self._see)

    def serve(self, scope: Scope) -> None:
        """Whom the shards are for."""
        self._scope = scope

    async def run(self) -> None:
        """Hold, try, give, until cancelled; then give everything up."""
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self.regime.run(), name="shared lease")
            self._group.create_task(self._member.run(), name="member")
            self._group.create_task(self._sweep(), name="sweep")
            try:
                while True:
                    self._look()
                    await self._clock.sleep(TICK)
            finally:
                self._end()

    # --- what the scheduler asks ---

    def may(self, shard: str) -> bool:
        """Whether this replica decides for the shard now."""
        office = self._offices.get(shard)
        return (
            office is not None
            and office.giving_since is None
            and office.ready == office.elector.epoch
            and office.elector.is_leader()
            and self._clock.monotonic() >= office.fenced_until
        )

    def decides(self, shard: str) -> bool:
        """As ``may``, for answers on which somebody rests until ``changed`` says that there are others."""
        if self.may(shard):
            return True
        self._missed = self._missed or shard in self._mine
        return False

    def term(self, shard: str) -> Term:
        """In whose name something is decided."""
        office = self._offices.get(shard)
        return Term(shard, office.elector.epoch if office is not None else -1)

    def holds(self, term: Term) -> bool:
        """Whether what was decided in that term may still be sent."""
        office = self._offices.get(term.shard)
        return office is not None and office.elector.is_leader() and office.elector.epoch == term.epoch

    def shard_of_pool(self, pool: str) -> str:
        """A pool that nobody knows belongs to the common shard: somebody has to say that there is no such pool."""
        return pool if pool in self._known else COMMON

    def shard_of(self, facts: PodFacts, node: str) -> str:
        """The shard in whose name a pod is placed on a node."""
        return self.territory.shard_of(node) if facts.request is None else self.shard_of_pool(facts.request.pool)

    def serves(self, pod: Pod) -> bool:
        """Whether a pod that waits is for this replica to look at. Pods without shares are for all of them."""
        pool = pool_of(pod)
        return pool is None or self.decides(self.shard_of_pool(pool))

    def elsewhere(self, pod: Pod) -> str | None:
        """Who looks at a pod that waits, in words; None where it is this replica."""
        if self.serves(pod):
            return None
        pool = pool_of(pod)
        holder = self.owners().get(self.shard_of_pool(pool or COMMON), "")
        if not holder or holder == self.identity:
            return f"pool {pool} is being handed over from one scheduler to another"
        return f"scheduler {holder} places on pool {pool}, and has the record of the pod"

    def obstacle(self, facts: PodFacts) -> WaitsForOwner | None:
        """Why a pod that takes a share cannot be decided now: shards that this replica would have to hold."""
        if facts.request is None:
            return None
        shard = self.shard_of_pool(facts.request.pool)
        if self._scope is None or not self.decides(shard):
            return WaitsForOwner(facts)
        return self.quota_obstacle(facts) if self._scope.has_ceiling(facts.namespace) else None

    def quota_obstacle(self, facts: PodFacts) -> WaitsForOwner | None:
        """The pools of a namespace with a quota, and of those that it shares it with, that others decide about."""
        pools = self._pools_of(facts.namespace)
        others = [pool for pool in pools if self._is_new(pool) or not self.decides(self.shard_of_pool(pool))]
        return WaitsForOwner(facts, others or pools) if others or not self.spans.certain else None

    def _is_new(self, pool: str) -> bool:
        """Whether a pool that nobody here knows may be one that others know, and place on, already."""
        if pool == COMMON or pool in self._known or pool in self._nowhere:
            return False
        self._strange.setdefault(pool, self._clock.monotonic())
        return True

    def makes_room(self, pods: Iterable[PodFacts]) -> bool:
        """Whether it is this replica that evicts for a pod or a gang; without shares the common shard's owner does."""
        pools = {self.shard_of_pool(facts.request.pool) for facts in pods if facts.request is not None}
        return all(map(self.decides, pools or (COMMON,)))

    def turn(self, uid: str) -> int:
        """After how many others it is this replica's turn to place a pod without shares; 0 is first."""
        if self.may(COMMON):
            return 0
        first = self._sights.get(shard_lease(COMMON))
        others = self._members() - {first.holder if first is not None else ""}
        order = ranking(uid, others)
        return 1 + (order.index(self.identity) if self.identity in order else len(order))

    def fresh(self) -> list[Term]:
        """Shards that are held, and of which it is not known yet what the predecessor did."""
        return [
            Term(shard, office.elector.epoch)
            for shard, office in self._offices.items()
            if office.elector.is_leader() and office.ready != office.elector.epoch
        ]

    def caught_up(self, terms: Iterable[Term]) -> None:
        """Everything that was decided before these terms is known, or will be refused."""
        for term in terms:
            office = self._offices.get(term.shard)
            if office is not None:
                office.ready = term.epoch
                log.info("placing on a shard", shard=term.shard or "(no pool)", epoch=term.epoch)

    def fenced(self, term: Term) -> None:
        """Admission refused the term: by the end of the pause it is known who holds the shard."""
        office = self._offices.get(term.shard)
        if office is not None:
            office.fenced_until = self._clock.monotonic() + FENCED_FOR

    def changed(self) -> bool:
        """Whether other shards are decided here than at the last call, or one was not for a while in between."""
        mine = frozenset(shard for shard in self._offices if self.may(shard))
        if mine == self._mine and not self._missed:
            return False
        self._mine, self._missed = mine, False
        self.domain.changed()
        return True

    def rested(self) -> bool:
        """Whether nodes that had changed their shard can be placed on now."""
        return self.territory.tick()

    @property
    def mine(self) -> list[str]:
        """The shards that are decided here."""
        return sorted(self._mine)

    @property
    def electors(self) -> list[LeaderElector]:
        """Elections of this replica that were ever won."""
        return [self._member, *(one.elector for one in self._offices.values() if one.elector.epoch >= 0)]

    def owners(self) -> dict[str, str]:
        """Who holds each shard, as far as the watch has shown; empty where nobody does."""
        now = self._clock.monotonic()
        seats = {shard: self._seat(shard, office) for shard, office in sorted(self._offices.items())}
        return {shard: "" if seat.free_for(now) >= 0 else seat.holder for shard, seat in seats.items()}

    def _allows(self, node: str) -> bool:
        return self.decides(self.territory.shard_of(node)) and not self.territory.rests(node)

    # --- the Leases ---

    def _look(self) -> None:
        """Hear of pools that came, and do what the plan says."""
        scope = self._scope
        if scope is None:
            return
        now = self._clock.monotonic()
        known = {COMMON, *scope.pools()}
        for shard in known - self._offices.keys():
            elector = self._elector(shard_lease(shard), shard)
            self._offices[shard] = _Office(elector, heard=now)
        self._know(known, now)
        seats = {shard: self._seat(shard, self._offices[shard]) for shard in known}
        ties = [*self.territory.ties(), *(self._spanned(namespace) for namespace in scope.capped())]
        move = plan(self.identity, members=self._members(), seats=seats, ties=ties, now=now, patience=self._seconds)
        for shard, office in self._offices.items():
            if shard in move.take:
                self._try(shard, office)
            elif (
                office.trying is not None
                and not office.elector.is_leader()
                and (shard not in seats or seats[shard].holder != self.identity)
            ):
                self._stop(office)
        giving = [shard for shard, office in self._offices.items() if office.giving_since is not None]
        gone = [shard for shard in self._offices.keys() - known if self._offices[shard].elector.is_leader()]
        if not giving and (gone or move.give is not None):
            self._give(min(gone) if gone else str(move.give), now)
        for shard in giving:
            self._hand_over(shard, self._offices[shard], now)

    def _know(self, shards: AbstractSet[str], now: float) -> None:
        """Leave what names a pool that is gone to the common shard, once nothing of its last owner is to come."""
        for shard, office in self._offices.items():
            if shard in shards:
                office.gone_since = None
            elif office.gone_since is None:
                office.gone_since = now
        over = {
            shard
            for shard in self._known - shards
            if (since := self._offices[shard].gone_since) is not None
            and now - since >= self._seconds
            and self._seat(shard, self._offices[shard]).free_for(now) >= 0
        }
        self._known = (self._known | shards) - over
        settled = {
            pool for pool, since in self._strange.items() if now - since >= self._seconds and self._is_free(pool)
        }
        self._nowhere = (self._nowhere | over | settled) - shards
        came = self._strange.keys() & shards
        self._strange = {pool: since for pool, since in self._strange.items() if pool not in settled | shards}
        self._missed = self._missed or bool(over or settled or came)

    def _spanned(self, namespace: str) -> set[str]:
        """The shards that have to come to one owner for a namespace."""
        return {self.shard_of_pool(pool) for pool in self._pools_of(namespace)}

    def _pools_of(self, namespace: str) -> AbstractSet[str]:
        """The pools in which pods count for the namespace's quota."""
        if self._scope is None:
            return self.spans.of(namespace)
        return self.spans.of_all(self._scope.together(namespace))

    def _try(self, shard: str, office: _Office) -> None:
        if office.trying is not None or self._group is None:
            return
        sight = self._sights.get(office.elector.name)
        if sight is not None:
            office.elector.watched(sight.version, sight.since)
        kick = self._scope.kick if self._scope is not None else lambda: None
        office.trying = self._group.create_task(office.elector.run(kick, kick), name=f"shard {shard or 'common'}")

    def _give(self, shard: str, now: float) -> None:
        office = self._offices[shard]
        if office.trying is not None and office.elector.is_leader():
            log.info("giving a shard away", shard=shard or "(no pool)")
            office.giving_since = now

    def _hand_over(self, shard: str, office: _Office, now: float) -> None:
        """Let the shard go once nothing decided in its name is on its way; keep it where that does not end."""
        if self._scope is None or office.giving_since is None:
            return
        if not office.elector.is_leader() or self._scope.drained(shard):
            office.giving_since = None
            self._stop(office)
        elif now - office.giving_since >= 4 * self._seconds:
            office.giving_since = None

    def _stop(self, office: _Office) -> None:
        office.ready = -1
        if office.trying is not None:
            office.trying.cancel()
            office.trying = None

    def _members(self) -> set[str]:
        """Replicas that live, and have followed the watch for as long as a node rests that changed its shard."""
        now = self._clock.monotonic()
        return {
            sight.holder
            for sight in self._sights.values()
            if sight.shard is None
            and sight.holder
            and now - sight.since < sight.duration
            and now - sight.born >= self._seconds
        }

    def _seat(self, shard: str, office: _Office) -> Seat:
        sight = self._sights.get(office.elector.name)
        return Seat("", office.heard) if sight is None else Seat(sight.holder, sight.since, sight.duration)

    def _is_free(self, shard: str) -> bool:
        """Whether nobody holds the Lease of a shard that may not exist, as far as the watch has shown."""
        sight, now = self._sights.get(shard_lease(shard)), self._clock.monotonic()
        return sight is None or not sight.holder or now - sight.since >= sight.duration

    async def _sweep(self) -> None:
        """Clear away what lost replicas leave behind. Leases of pools stay: their epochs must not start anew."""
        while True:
            await self._clock.sleep(SWEEP_EVERY)
            now = self._clock.monotonic()
            for name, sight in list(self._sights.items()):
                gone = sight.shard is None and now - sight.since >= FORGOTTEN_AFTER * self._seconds
                if not gone or not self.may(COMMON):
                    continue
                try:
                    await self._manager.client.delete(
                        LEASES, name, namespace=keys.SYSTEM_NAMESPACE, resource_version=sight.version
                    )
                except ApiError as error:
                    log.info("the lease of a replica that is gone stays", lease=name, error=error)

    def _end(self) -> None:
        """Only shards of which nothing is on its way are given up at once; admission trusts an epoch for a while."""
        for shard, office in self._offices.items():
            office.ready = -1
            if self._scope is not None and not self._scope.drained(shard):
                office.elector.lapse()

    def _see(self, change: Change[Lease]) -> None:
        lease = change.new
        if lease is None:
            self._sights.pop(change.key.name, None)
            return
        now, known = self._clock.monotonic(), self._sights.get(change.key.name)
        spec, version = lease.spec, lease.metadata.resource_version
        holder = spec.holder_identity or ""
        alive = known is not None and known.holder == holder and now - known.since < known.duration
        self._sights[change.key.name] = _Sight(
            holder,
            version,
            float(spec.lease_duration_seconds or 0),
            since=known.since if known is not None and known.version == version else now,
            born=known.born if known is not None and alive else now,
            shard=lease.metadata.annotations.get(keys.SCHEDULER_SHARD),
        )

    def _elector(self, name: str, shard: str | None) -> LeaderElector:
        notes = {} if shard is None else {"annotations": {keys.SCHEDULER_SHARD: shard}}
        return LeaderElector(
            self._manager.client,
            namespace=keys.SYSTEM_NAMESPACE,
            name=name,
            identity=self.identity,
            clock=self._clock,
            duration=self._seconds,
            renew_every=self._seconds / 5,
            retry_every=self._seconds / 7.5,
            metadata={"labels": {keys.COMPONENT: keys.SHARD_COMPONENT}, **notes},
        )
