"""The places that were found for pods that are moved: kept until the successor of each has one.

Apart from the campaign because every decision asks here. A place is charged in the ledger as a promised one, under a
name of its own. While the pod that is moved counts in its namespace's quota the place counts in none; from the moment
the pod is gone it counts there instead, so that nobody who waits for the quota comes before the successor. It goes to
the next pod of the same controller that asks for the same, on the very devices that were found: the pool's placement
mode might break into a whole one. Whoever is more important than the pod that was moved, and fits nowhere else, may
have it. Otherwise it is given back a while after the pod is gone, or at the latest after a longer one.

Nodes that are being emptied get pods with shares only where no other node can take them; a kept place is taken only by
whom no node has room for, those that are being emptied among them.

Nothing of it outlives this process: after a takeover successors are placed like any other pod.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit, QuotaExceeded, TensorFusionError
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.defrag import Move
from tensorfusion.scheduling.domain import Narrowed
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

KEPT_FOR = 60.0
"""Seconds for which a place is kept after its pod is gone."""
LONGEST_KEPT = 900.0
"""Seconds after which it is given back even though the pod still ends."""
_HIGHEST = 1 << 40
"""Priority of what is kept: nobody's search for victims takes it for free."""

Decide = Callable[[PodFacts], Decision]


@dataclass(slots=True, eq=False)
class MovedPlace:
    """The place of one pod that is moved. ``owner`` is the uid of its controller, times are by the monotonic clock."""

    pool: str
    facts: PodFacts
    owner: str
    placement: Placement
    since: float
    gone_at: float | None = None
    """Since when its pod is gone: from then on the place counts in the quota of the namespace."""

    @property
    def name(self) -> str:
        """Under which the ledger holds it."""
        return _name_of(self.facts.uid)

    @property
    def key(self) -> Key:
        return Key(self.facts.namespace, self.facts.name)


class MovedPlaces:
    """Called by the owner of the state, and never waits. ``unplaced`` hears of successors that got no place."""

    def __init__(
        self,
        state: State,
        hints: list[Hint],
        *,
        clock: Clock,
        kick: Callable[[], None],
        unplaced: Callable[[Pod, str], None] = lambda _pod, _pool: None,
    ) -> None:
        self._state = state
        self._hints = hints
        self._clock = clock
        self._kick = kick
        self._unplaced = unplaced
        self.by_uid: dict[str, MovedPlace] = {}
        """By the uid of the pod that is moved."""
        self.sources: Mapping[str, str] = {}
        """Nodes that are being emptied, and the pool that it is for."""

    @property
    def active(self) -> bool:
        """Whether any decision is another one because of what is kept here."""
        return bool(self.by_uid or self.sources)

    def keep(self, pool: str, moves: Iterable[tuple[Move, str]]) -> None:
        """Keep the targets of these moves; with each the uid of the pod's controller.

        Raises:
            NotHoldable: a place is kept for one of these pods already.
        """
        now = self._clock.monotonic()
        for move, owner in moves:
            place = MovedPlace(pool, move.pod, owner, move.target, now)
            self._state.nominate(_charge_of(place, counted=False), move.target)
            self.by_uid[move.pod.uid] = place

    def decide(self, pod: Pod, facts: PodFacts, *, plain: Decide, otherwise: Decide) -> Decision:
        """A decision that gives a successor its place, keeps off places of others, and off nodes that are emptied.

        ``plain`` takes what is free; ``otherwise`` may take what is kept for less important pods, too.

        Raises:
            QuotaExceeded, Unschedulable: as a plain decision.
        """
        own = self._place_for(pod, facts)
        if own is None:
            return self._beside_sources(facts, plain, otherwise)
        found = self._at(own, facts)
        if found is not None:
            return found
        self._count(own, counted=False)  # elsewhere the successor counts itself
        try:
            decision = self._beside_sources(facts, plain, otherwise)
        except (NotFit, QuotaExceeded):
            self._unplaced(pod, own.pool)
            raise
        else:
            if self.by_uid.get(own.facts.uid) is own:
                self._drop(own, "its successor has another place")
        finally:
            self._count(own, counted=own.gone_at is not None)
        return decision

    def follow(self) -> None:
        """Places whose pods are gone count in quotas from now on. Called before anybody is decided."""
        here = self._state.allocations
        for uid, one in self.by_uid.items():
            if one.gone_at is None and uid not in here:
                one.gone_at = self._clock.monotonic()
                self._count(one, counted=True)

    def can_go_on(self, moves: Sequence[Move], number: int) -> bool:
        """Whether a decision would still give the move of this number its target, after those before it.

        ``moves`` are those of a step. Nothing is changed.
        """
        state, own = self._state, self.by_uid.get(moves[number].pod.uid)
        if own is None:
            return False
        mark = state.checkpoint()
        try:
            here = state.allocations
            held = [name for move in moves for name in (move.pod.uid, _name_of(move.pod.uid)) if name in here]
            kept = [move for move in moves[:number] if move.pod.uid in self.by_uid]
            state.without([here[name] for name in held])
            for move in kept:
                state.assume(move.pod, move.target)
            self._decision_at(own, own.facts)
        except TensorFusionError:
            return False
        finally:
            state.rollback(mark)
        return True

    def review(self, is_there: Callable[[Placement], bool]) -> None:
        """Give back what came to nothing: nobody came for it in time, or the node or a device of it is gone."""
        self.follow()
        now = self._clock.monotonic()
        for uid, one in list(self.by_uid.items()):
            if one.name not in self._state.nominated:
                del self.by_uid[uid]
            elif not is_there(one.placement):
                self._drop(one, "the node or a device of it is gone")
            elif (one.gone_at is not None and now - one.gone_at >= KEPT_FOR) or now - one.since >= LONGEST_KEPT:
                self._drop(one, "no successor came in time")

    def waiting(self, pool: str) -> list[MovedPlace]:
        """The places of a pool that are still kept."""
        return [one for one in self.by_uid.values() if one.pool == pool]

    def give_back(self, uids: Iterable[str], why: str) -> None:
        """These pods are not moved after all."""
        for uid in uids:
            one = self.by_uid.get(uid)
            if one is not None:
                self._drop(one, why)

    def surrender(self) -> None:
        """This replica decides no more: nothing is kept any more."""
        self.sources = {}
        self.give_back(list(self.by_uid), "it is not decided here any more")

    # --- decisions ---

    def _place_for(self, pod: Pod, facts: PodFacts) -> MovedPlace | None:
        """The oldest place that is kept for a pod like this one."""
        owner = pod.metadata.controller
        if owner is None or facts.request is None or not self.by_uid:
            return None
        alike = (
            one
            for one in self.by_uid.values()
            if one.owner == owner.uid and one.facts.request == facts.request and one.facts.namespace == facts.namespace
        )
        return next(alike, None)

    def _at(self, own: MovedPlace, facts: PodFacts) -> Decision | None:
        """A decision for the place itself; None where the pod does not fit there any more."""
        state = self._state
        mark = state.checkpoint()
        given_back = state.release(own.name)
        try:
            decision = self._decision_at(own, facts)
        except (NotFit, QuotaExceeded):
            state.rollback(mark)
            return None
        state.keep(mark)
        del self.by_uid[own.facts.uid]
        self._hints += given_back
        return decision

    def _decision_at(self, own: MovedPlace, facts: PodFacts) -> Decision:
        """A decision for the very node and devices of a place that is free.

        Raises:
            QuotaExceeded, Unschedulable: the pod does not fit there.
        """
        state, narrowed = self._state, facts
        devices = [state.fleet.devices.get(name) for name in own.placement.devices]
        indices = tuple(one.facts.index for one in devices if one is not None and one.facts is not None)
        if facts.request is not None and len(indices) == len(devices) and min(indices, default=-1) >= 0:
            narrowed = replace(facts, request=replace(facts.request, indices=indices))
        with state.within(Narrowed(state.domain, (own.placement.node,), only=True)):
            return decide(state, narrowed)

    def _beside_sources(self, facts: PodFacts, plain: Decide, otherwise: Decide) -> Decision:
        """On another node than those that are emptied, if one has room; what is kept for others is taken last."""
        state, pool = self._state, facts.request.pool if facts.request is not None else None
        sources = [node for node, of in self.sources.items() if of == pool]
        if sources and facts.uid not in state.nominated:
            off = Narrowed(state.domain, sources, only=False)

            def over_places(facts: PodFacts) -> Decision:
                return self._over_places(facts, otherwise)

            for domain, attempt in ((off, plain), (state.domain, plain), (off, over_places)):
                try:
                    with state.within(domain):
                        return attempt(facts)
                except (NotFit, QuotaExceeded) as failure:
                    failure.__traceback__ = None
        return self._over_places(facts, otherwise)

    def _over_places(self, facts: PodFacts, otherwise: Decide) -> Decision:
        """What is kept for less important pods is free for this one; they lose it where it is needed."""
        try:
            return otherwise(facts)
        except (NotFit, QuotaExceeded):
            lower = [one for one in self.by_uid.values() if one.facts.rank < facts.rank]
            node = self._node_without(facts, lower) if lower else None
            if node is None:
                raise
        for one in sorted(lower, key=lambda one: (one.placement.node != node, one.facts.rank, -one.since)):
            self._drop(one, "a more important pod takes the place")
            if self._node_without(facts, ()) is not None:
                break
        return otherwise(facts)

    def _node_without(self, facts: PodFacts, places: Iterable[MovedPlace]) -> str | None:
        """Where the pod would go if these places were not kept."""
        state = self._state
        mark = state.checkpoint()
        try:
            for one in places:
                state.release(one.name)
            return decide(state, facts).placement.node
        except (NotFit, QuotaExceeded):
            return None
        finally:
            state.rollback(mark)

    def _count(self, place: MovedPlace, *, counted: bool) -> None:
        """Let a place that is still kept count in its namespace's quota, or not."""
        held = self._state.nominated.get(place.name)
        charge = _charge_of(place, counted=counted)
        if held is not None and held.pod != charge:
            self._state.release(place.name)  # helps nobody: it is charged again at once
            self._state.nominate(charge, place.placement)

    def _drop(self, place: MovedPlace, why: str) -> None:
        del self.by_uid[place.facts.uid]
        if place.name in self._state.nominated:
            self._hints += self._state.release(place.name)
        log.info("a place is kept no more", pod=place.key, node=place.placement.node, why=why)
        self._kick()


def _name_of(uid: str) -> str:
    """Under which the ledger holds the place of the pod with this uid."""
    return f"moved:{uid}"


def _charge_of(place: MovedPlace, *, counted: bool) -> PodFacts:
    """What the ledger is told: the amounts alone, under nobody's rules, and ``counted`` in the namespace's quota."""
    facts = place.facts
    return PodFacts(
        uid=place.name,
        namespace=facts.namespace if counted else "",
        name=place.name,
        priority=_HIGHEST,
        request=facts.request,
        cpu=facts.cpu,
        memory=facts.memory,
        extended=facts.extended,
    )
