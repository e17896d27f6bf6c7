"""Decide a whole gang in one statement of the ledger: as many of its members as it needs are placed, or none is.

Nothing is held for a gang that is not complete. Its members are decided one after the other behind a checkpoint, each
seeing the ones before it as placed, and the checkpoint is kept only when enough of them fit. So two gangs can never
each hold half of what the other waits for, and a refusal leaves no trace.

Members go in a fixed order, largest first: what is hardest to place meets the emptiest fleet. All of them in one rack
(else one zone) is tried first, in the domains that ``gang_room`` lets pass, tightest first, so that large domains stay
whole for large gangs; then anywhere, unless the topology is required.

Rejected: reserving devices for the members that came first, as upstream's Permit does. It needs time limits to undo a
deadlock, and strands capacity while it waits.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.keys import GANG_DOMAINS
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.diagnosis import requested
from tensorfusion.scheduling.facts import Off, PodFacts
from tensorfusion.scheduling.gang_room import room_by_node
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.shapes import LabelColumn
from tensorfusion.scheduling.state import State

TRIED_DOMAINS = 8
"""Domains of one label that are tried for real, tightest first."""

Bools: TypeAlias = NDArray[np.bool_]
Cause: TypeAlias = NotFit | QuotaExceeded | NotHoldable
Member: TypeAlias = tuple[PodFacts, int]
"""A pod and the number of its kind."""
_Stop: TypeAlias = tuple[int, PodFacts, Cause]
_NO_REQUEST = GpuRequest("")
_OWN = ("uid", "name", "created", "priority", "labels", "gang")
_kind_of: Callable[[PodFacts], tuple[object, ...]] = attrgetter(
    *(field.name for field in fields(PodFacts) if field.name not in _OWN)
)


class GangUnschedulable(NotFit):
    """Fewer members fit than the gang needs. ``cause`` is what stopped ``member``, the first that did not fit.

    ``alike``: all members ask for the same, anywhere, so that what helps ``member`` is all that helps.
    """

    def __init__(
        self,
        gang: Gang,
        *,
        needed: int,
        fits: int,
        why: str,
        member: PodFacts | None = None,
        cause: Cause | None = None,
        alike: bool = False,
    ) -> None:
        super().__init__(
            requested(member) if member is not None else f"gang {gang.key}",
            cause.reasons if isinstance(cause, NotFit) else {},
        )
        self.gang, self.needed, self.fits, self.why = gang, needed, fits, why
        self.member, self.cause, self.alike = member, cause, alike

    @property
    def message(self) -> str:
        """One line for every member's condition and event."""
        return f"gang {self.gang.key}: {self.why}"

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Domain:
    """The nodes with one value of a label. ``within`` has a place for every node row."""

    key: str
    value: str
    within: Bools

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class GangPlacement:
    """Where the members go; they are held already. ``domain`` is what all of them share, or empty."""

    members: tuple[tuple[PodFacts, Decision], ...]
    domain: str = ""


def place_gang(
    state: State, members: Sequence[PodFacts], *, needed: int, domain_keys: Sequence[str] = GANG_DOMAINS
) -> GangPlacement:
    """Place ``needed`` of the members, and hold what they get; the others are placed singly afterwards.

    Raises:
        GangUnschedulable: fewer fit together; nothing is held.
    """
    ordered = in_order(state, members)
    gang = ordered[0][0].gang
    if gang is None:
        raise ValueError(f"pod {ordered[0][0].namespace}/{ordered[0][0].name} is in no gang")
    _require_one_pool(gang, members, needed)
    best: GangUnschedulable | None = None
    if gang.topology is not GangTopology.NONE:
        for domain in _domains(state, ordered, gang, needed=needed, domain_keys=domain_keys):
            try:
                return _statement(state, ordered, gang, needed=needed, domain=domain)
            except GangUnschedulable as failure:
                best = failure if best is None or failure.fits > best.fits else best
        if gang.topology is GangTopology.REQUIRED:
            raise best or _without_domain(gang, needed, domain_keys)
    return _statement(state, ordered, gang, needed=needed, domain=None)


def place_member(
    state: State, pod: PodFacts, beside: Sequence[str], *, domain_keys: Sequence[str] = GANG_DOMAINS
) -> Decision:
    """Where one more member of a gang goes that runs on the nodes ``beside`` already: near them, if it can.

    Raises:
        NotFit, QuotaExceeded: as ``decide``; with a required topology also where only other domains have room.
    """
    gang = pod.gang
    if gang is None or gang.topology is GangTopology.NONE:
        return decide(state, pod)
    shared = _shared_domain(state, beside, keys_of(gang, domain_keys))
    if shared is not None:
        try:
            return decide(state, inside(state, pod, shared))
        except NotFit as cause:
            if gang.topology is GangTopology.REQUIRED:
                why = f"the others are in {shared}, and it has to be there too: {cause}"
                raise GangUnschedulable(gang, needed=1, fits=0, why=why, member=pod, cause=cause, alike=True) from None
    return decide(state, pod)


def of_several_pools(gang: Gang, pools: Collection[str], *, needed: int) -> GangUnschedulable:
    """Why a gang does not start whose members ask for several pools."""
    why = f"its members ask for pools {' and '.join(sorted(pools))}: give all of them the same gpupool"
    return GangUnschedulable(gang, needed=needed, fits=0, why=why)


def fits_when_empty(
    state: State, members: Sequence[PodFacts], *, needed: int, domain_keys: Sequence[str] = GANG_DOMAINS
) -> bool:
    """Whether the gang would fit if every pod on the nodes of its pool ended. Everything is as before afterwards."""
    pools = {pod.request.pool for pod in members if pod.request is not None}
    columns = [pool for name in pools if (pool := state.fleet.pools.get(name)) is not None]
    nodes = {name for pool in columns for name in pool.node_names}
    mark = state.checkpoint()
    try:
        for uid in [uid for uid, held in state.allocations.items() if held.placement.node in nodes]:
            state.release(uid)
        place_gang(state, members, needed=needed, domain_keys=domain_keys)
    except GangUnschedulable:
        return False
    finally:
        state.rollback(mark)
    return True


def _order(pod: PodFacts) -> tuple[object, ...]:
    request = pod.request or _NO_REQUEST
    amounts = (request.count, request.vram, request.compute, request.percent, pod.cpu, pod.memory)
    return (pod.request is None, *(-amount for amount in amounts), pod.created, pod.namespace, pod.name)


def _require_one_pool(gang: Gang, members: Sequence[PodFacts], needed: int) -> None:
    pools = {pod.request.pool for pod in members if pod.request is not None}
    if len(pools) > 1:
        raise of_several_pools(gang, pools, needed=needed)


def _statement(
    state: State, members: Sequence[Member], gang: Gang, *, needed: int, domain: Domain | None
) -> GangPlacement:
    """All or nothing, in one domain or anywhere.

    Raises:
        GangUnschedulable: fewer than ``needed`` fit.
    """
    enough = False
    mark = state.checkpoint()
    try:
        placed, stopped = _fill(state, members, gang, needed=needed, domain=domain)
        enough = len(placed) >= needed
    finally:
        if enough:
            state.keep(mark)
        else:
            state.rollback(mark)
    if not enough:
        raise _refusal(gang, members, needed=needed, fits=len(placed), stopped=stopped, domain=domain)
    return GangPlacement(tuple(placed), str(domain or ""))


def _fill(
    state: State, members: Sequence[Member], gang: Gang, *, needed: int, domain: Domain | None
) -> tuple[list[tuple[PodFacts, Decision]], list[_Stop]]:
    """Hold places for members until there are enough; also what stopped the others, and after how many."""
    placed: list[tuple[PodFacts, Decision]] = []
    stopped: list[_Stop] = []
    hopeless: set[int] = set()
    asking: dict[int, PodFacts] = {}
    """One pod of each kind, narrowed to the domain: the decision is the same for all of them."""
    for pod, kind in members:
        if kind in hopeless:
            continue
        try:
            if domain is not None and kind not in asking:
                asking[kind] = inside(state, pod, domain)
            decision = decide(state, asking.get(kind, pod))
            state.assume(pod, decision.placement)
        except (NotFit, QuotaExceeded, NotHoldable) as cause:
            cause.__traceback__ = None
            stopped.append((len(placed), pod, cause))
            hopeless.add(kind)
            if gang.strict:
                break
            continue
        placed.append((pod, decision))
        if len(placed) == needed:
            break
    return placed, stopped


def _refusal(
    gang: Gang,
    members: Sequence[Member],
    *,
    needed: int,
    fits: int,
    stopped: Sequence[_Stop],
    domain: Domain | None,
) -> GangUnschedulable:
    where = f" in {domain}, the best of them" if domain is not None else ""
    if not stopped:
        why = f"{fits} of {needed} members are there"
        return GangUnschedulable(gang, needed=needed, fits=fits, why=why)
    before, member, cause = stopped[0]
    why = f"{fits} of {needed} fit{where}; the {ordinal(before + 1)}: {cause}"
    # what stopped the member in this domain is not what would help in another one
    alike = domain is None and all(kind == members[0][1] for _, kind in members)
    return GangUnschedulable(gang, needed=needed, fits=fits, why=why, member=member, cause=cause, alike=alike)


def _without_domain(gang: Gang, needed: int, domain_keys: Sequence[str]) -> GangUnschedulable:
    names = " or ".join(keys_of(gang, domain_keys))
    why = (
        f"it has to be in one domain, and no node has label {names}: label the nodes, or set annotation "
        "gang-topology to preferred"
    )
    return GangUnschedulable(gang, needed=needed, fits=0, why=why)


def inside(state: State, pod: PodFacts, domain: Domain) -> PodFacts:
    """The pod kept in the domain, beside its own rules: what they mean elsewhere stays as it is.

    Raises:
        NotFit: its own selector keeps it out.
    """
    wanted = pod.node_selector.get(domain.key, domain.value)
    if wanted != domain.value and Off.OWN_NODES not in pod.off:
        raise NotFit(requested(pod), {f"node selector {domain.key}={wanted}": 1})
    narrowed = replace(pod, within=((domain.key, domain.value),))
    nodes = state.fleet.nodes
    base = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
    nodes.shapes.narrow(pod, narrowed, domain.within, base=base)
    return narrowed


def _domains(
    state: State, members: Sequence[Member], gang: Gang, *, needed: int, domain_keys: Sequence[str]
) -> Iterator[Domain]:
    """Domains that may hold the gang: narrowest label first, then tightest. For a required topology also, last, the
    roomiest one, which then says why the gang does not fit.
    """
    counts = Counter(kind for _, kind in members)
    one_of = {kind: pod for pod, kind in reversed(members)}
    rooms = [(room_by_node(state, one_of[kind]), count) for kind, count in counts.items()]
    roomiest: tuple[int, Domain] | None = None
    found = False
    for column in label_columns(state, keys_of(gang, domain_keys)):
        values, codes = column.values, column.codes
        labelled = codes >= 0
        if not values or not labelled.any():
            continue
        free = np.zeros(len(values), np.int64)
        enough = np.zeros(len(values), np.int64)
        for room, count in rooms:
            sums = np.bincount(codes[labelled], weights=room[labelled], minlength=len(values)).astype(np.int64)
            free += sums
            enough += np.minimum(sums, count)
        fitting = np.flatnonzero(enough >= needed)
        for place in fitting[np.argsort(free[fitting], kind="stable")][:TRIED_DOMAINS].tolist():
            found = True
            yield Domain(column.key, values[place], codes == place)
        place = int(enough.argmax())
        if roomiest is None or enough[place] > roomiest[0]:
            roomiest = int(enough[place]), Domain(column.key, values[place], codes == place)
    if roomiest is not None and not found and gang.topology is GangTopology.REQUIRED:
        yield roomiest[1]


def _shared_domain(state: State, nodes: Sequence[str], domain_keys: Sequence[str]) -> Domain | None:
    """The narrowest domain that all these nodes are in."""
    records = [record for name in nodes if (record := state.fleet.nodes.records.get(name)) is not None]
    for column in label_columns(state, domain_keys):
        found = {int(column.codes[record.row]) for record in records}
        if len(found) == 1 and min(found) >= 0:
            place = found.pop()
            return Domain(column.key, column.values[place], column.codes == place)
    return None


def label_columns(state: State, domain_keys: Sequence[str]) -> Iterator[LabelColumn]:
    nodes = state.fleet.nodes
    return (nodes.shapes.labels(key, nodes.with_facts, nodes.size) for key in domain_keys)


def keys_of(gang: Gang, domain_keys: Sequence[str]) -> Sequence[str]:
    return (gang.topology_key,) if gang.topology_key else domain_keys


def in_order(state: State, members: Sequence[PodFacts]) -> list[Member]:
    """The members in their order, each with the number of its kind. Equal ones mostly stand side by side."""
    by_labels = any(pod.rules is not None for pod in members)
    known: list[tuple[object, ...]] = []
    found: list[Member] = []
    kind = -1
    for pod in sorted(members, key=_order):
        asks = (*_kind_of(pod), pod.labels if by_labels else _known_as(state, pod))
        if kind < 0 or known[kind] != asks:
            kind = known.index(asks) if asks in known else len(known)
            if kind == len(known):
                known.append(asks)
        found.append((pod, kind))
    return found


def _known_as(state: State, pod: PodFacts) -> Hashable:
    """What the labels of a pod mean to a decision where no member has rules: which terms of placed pods are about it.

    Not the labels themselves: those of an indexed job's pods all differ, and nobody asks for the index.
    """
    return frozenset(state.fleet.neighbours.about(pod, state.fleet.nodes.size))


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
