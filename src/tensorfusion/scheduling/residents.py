"""Who could leave which node and device, as columns: what a search for victims looks at instead of at every pod.

Apart from the ledger because a decision never needs it: a charge only notes the pod's name, and the columns catch up in
one go when somebody asks (``sync``). One row a pod and one row a share; rows of pods that left are used again, and row
0 is nobody's. Units: GFLOPS, bytes, milli-CPU, Unix seconds; int64.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.pools import PoolColumns

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]

_GONE, _LIVE, _ENDING, _NOMINATED = range(4)
NO_GANG = -1
NEVER: Final = int(np.iinfo(np.int64).max)
"""Unix seconds of a moment that does not come."""


class Holdings(Protocol):
    """The part of the ledger that the columns follow."""

    allocations: dict[str, Allocation]
    touched: dict[str, None]


@dataclass(frozen=True, slots=True)
class Terms:
    """Who may have to go for a pod: those below ``rank``, of ``namespace`` (empty: of any), but none of ``spared``.

    Nor anybody of its own ``gang``.
    """

    rank: int
    now: int
    namespace: str = ""
    spared: frozenset[str] = frozenset()
    gang: str = ""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Rows of pods that leave anyway (``free``) and that would have to go (``victims``). Shape (pods,)."""

    free: Bools
    victims: Bools
    rank: Ints
    """Of each pod the rank that counts: that of the most important member of its gang."""
    protected_until: int
    """When the first of those that are still protected loses its protection, in Unix seconds; else ``NEVER``."""
    owed: Bools | None = None
    """Victims only because their namespace holds what is another's own (``owing``); None where nobody asks for that."""
    shift: Ints | None = None
    """What ``rank`` has more than the pods' own: others than the least important go first."""


@dataclass(frozen=True, slots=True)
class Debts:
    """Namespaces that owe (``owing``), by their place in the order in which they give back.

    ``lower``: those of which only pods below the rank may be asked for. ``alone``: nobody else may have to go.
    """

    places: Mapping[str, int]
    lower: frozenset[str]
    band: int
    alone: bool


class _Numbers:
    """Small numbers for names that are in use; a number that nobody uses any more is given to another name."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._users: list[int] = []
        self._spare: list[int] = []

    def __len__(self) -> int:
        """How many numbers were ever in use at once: all are below."""
        return len(self._names)

    def of(self, name: str) -> int:
        """The number of a name; -1 where nobody uses it."""
        return self._numbers.get(name, -1)

    def take(self, name: str) -> int:
        """The number of a name, for one more user of it."""
        number = self._numbers.get(name)
        if number is None:
            if self._spare:
                number = self._spare.pop()
            else:
                number = len(self._names)
                self._names.append("")
                self._users.append(0)
            self._names[number] = name
            self._numbers[name] = number
        self._users[number] += 1
        return number

    def give_back(self, number: int) -> None:
        """One user less."""
        self._users[number] -= 1
        if not self._users[number]:
            del self._numbers[self._names[number]]
            self._names[number] = ""
            self._spare.append(number)


class Residents:
    """The columns. ``sync`` brings them up to date; nothing may be tried out in the ledger meanwhile."""

    def __init__(self, fleet: Fleet, ledger: Holdings) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._ending: set[str] = set()
        self._rows: dict[str, int] = {}
        self.uids: list[str] = [""]
        self._spare: list[int] = []
        self._spare_shares: list[int] = []
        self.share_count = 1
        """Rows of shares that were ever in use, and row 0, which is none's."""
        self._on_node: dict[int, list[int]] = {}
        self.ranks: dict[int, int] = {}
        """How many live pods have each rank."""
        self._namespaces = _Numbers()
        self._gangs = _Numbers()
        self._members: dict[int, set[int]] = {}
        self.state: NDArray[np.int8] = np.zeros(0, np.int8)
        self._allocate_pods(256)
        self._allocate_shares(256)

    def _allocate_pods(self, size: int) -> None:
        for name in (
            "rank",
            "until",
            "born",
            "node",
            "space",
            "gang",
            "cpu",
            "memory",
            "worker",
            "width",
            "first_share",
        ):
            column = np.zeros(size, np.int64)
            old: Ints | None = getattr(self, name, None)
            if old is not None:
                column[: len(old)] = old
            setattr(self, name, column)
        self.state = np.concatenate([self.state, np.zeros(size - len(self.state), np.int8)])

    rank: Ints
    until: Ints
    """End of the protection from eviction."""
    born: Ints
    node: Ints
    """Row of the pod's node."""
    space: Ints
    gang: Ints
    cpu: Ints
    memory: Ints
    worker: Ints
    """1 for a pod with shares."""
    width: Ints
    """How many devices it has a share of, at least 1: what a second of its work counts for."""
    first_share: Ints
    """Row of the first of its shares; 0 for a pod without."""

    def _allocate_shares(self, size: int) -> None:
        for name in ("share_pod", "share_device", "share_compute", "share_vram", "next_share"):
            column = np.zeros(size, np.int64)
            old: Ints | None = getattr(self, name, None)
            if old is not None:
                column[: len(old)] = old
            setattr(self, name, column)

    share_pod: Ints
    share_device: Ints
    share_compute: Ints
    share_vram: Ints
    next_share: Ints
    """Row of the next share of the same pod; 0 after the last."""

    def note_ending(self, uid: str) -> None:
        """The pod was told to end and holds its shares until it has."""
        if uid not in self._ending:
            self._ending.add(uid)
            self._ledger.touched[uid] = None

    def is_ending(self, uid: str) -> bool:
        return uid in self._ending

    @property
    def ending(self) -> AbstractSet[str]:
        """Uids of pods that were told to end."""
        return self._ending

    def sync(self, limit: int | None = None) -> None:
        """Take over what was charged and released since; at most ``limit`` pods of it."""
        touched = self._ledger.touched
        if limit is None or len(touched) <= limit:
            uids: Collection[str] = list(touched)
            touched.clear()
        else:
            uids = [uid for uid, _ in zip(touched, range(limit), strict=False)]
            for uid in uids:
                del touched[uid]
        for uid in uids:
            self._update(uid)

    def any_below(self, rank: int) -> bool:
        """Whether any live pod is less important."""
        self.sync()
        return any(other < rank for other in self.ranks)

    def members(self, row: int) -> Iterable[int]:
        """The rows of the pod's gang, its own among them."""
        gang = int(self.gang[row])
        return (row,) if gang == NO_GANG else sorted(self._members[gang])

    def on_node(self, node: int) -> Sequence[int]:
        """The rows of the pods that hold a place on the node of this row."""
        return self._on_node.get(node, ())

    def shares_of(self, pods: Ints) -> Ints:
        """Rows of the shares of the pods in these rows."""
        found = []
        shares = self.first_share[pods]
        while len(shares := shares[shares > 0]):
            found.append(shares)
            shares = self.next_share[shares]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def of_namespace(self, namespace: str) -> Bools:
        """Rows of pods of a namespace."""
        rows: Bools = self.space == self._namespaces.of(namespace)
        return rows

    def of_namespaces(self, namespaces: Iterable[str]) -> Bools:
        """Rows of pods of any of these."""
        meant = np.zeros(len(self._namespaces) + 1, np.bool_)
        meant[[self._namespaces.of(name) for name in namespaces]] = True
        meant[-1] = False  # of those that nobody uses
        return meant[self.space]

    def leaving(self, terms: Terms, debts: Debts | None = None) -> Leaving:
        """Who leaves anyway, and who may have to go."""
        live, rank = self.state == _LIVE, self.rank
        below = live & (rank < terms.rank)
        if terms.namespace:
            below &= self.of_namespace(terms.namespace)
        owed = shift = None
        if debts is not None:
            owed, shift = self._owed(terms, debts, live)
            if debts.alone:
                below[:] = False
            owed &= ~below
            below |= owed
        own = self._gangs.of(terms.gang)
        if own >= 0:
            below &= self.gang != own
        protected = below & (self.until > terms.now)
        victims = below & ~protected
        free = (self.state == _ENDING) | ((self.state == _NOMINATED) & (rank < terms.rank))
        for uid in terms.spared:
            row = self._rows.get(uid)
            if row is not None:
                victims[row] = free[row] = False
        if self._members:
            rank = self._whole_gangs(live, victims)
        until = int(self.until[protected].min()) if protected.any() else NEVER
        if owed is None or shift is None:
            return Leaving(free, victims, rank, until)
        return Leaving(free, victims, rank + shift, until, owed & victims, shift)

    def _owed(self, terms: Terms, debts: Debts, live: Bools) -> tuple[Bools, Ints]:
        """Rows of pods with shares of namespaces that owe, and how much later than by their rank each row goes."""
        place = np.full(len(self._namespaces) + 1, -1)
        lower = np.zeros(len(self._namespaces) + 1, np.bool_)
        for name, number in debts.places.items():
            place[self._namespaces.of(name)] = number
            lower[self._namespaces.of(name)] = name in debts.lower
        place[-1] = -1
        at = place[self.space]
        owed = live & (at >= 0) & (self.worker > 0) & (~lower[self.space] | (self.rank < terms.rank))
        return owed, np.where(owed, at, len(debts.places)) * debts.band

    def still(self, leaving: Leaving, gone: Iterable[str]) -> Leaving:
        """Without those that went meanwhile, in a statement that the columns do not know of."""
        rows = [self._rows[uid] for uid in gone]
        free, victims = leaving.free.copy(), leaving.victims.copy()
        free[rows] = victims[rows] = False
        return replace(leaving, free=free, victims=victims)

    def _whole_gangs(self, live: Bools, victims: Bools) -> Ints:
        """A gang goes as a whole or not at all; its members count as its most important one."""
        count = len(self._gangs)
        member = live & (self.gang != NO_GANG)
        stays = np.zeros(count, np.bool_)
        stays[self.gang[member & ~victims]] = True
        victims &= ~(member & stays[np.where(member, self.gang, 0)])
        highest = np.full(count, np.iinfo(np.int64).min)
        np.maximum.at(highest, self.gang[member], self.rank[member])
        return np.where(member, highest[np.where(member, self.gang, 0)], self.rank)

    def places(self, pool: PoolColumns) -> Ints:
        """By device number its place in the pool's columns (slot times rows plus row); -1 for devices of others."""
        return pool.places(self._fleet.numbers)

    def _update(self, uid: str) -> None:
        row = self._rows.pop(uid, 0)
        if row:
            self._clear(row)
        allocation = self._ledger.allocations.get(uid)
        if allocation is None:
            self._ending.discard(uid)
        else:
            self._write(uid, allocation)

    def _clear(self, row: int) -> None:
        if self.state[row] != _NOMINATED:
            rank = int(self.rank[row])
            self.ranks[rank] -= 1
            if not self.ranks[rank]:
                del self.ranks[rank]
        gang = int(self.gang[row])
        if gang != NO_GANG:
            members = self._members[gang]
            members.discard(row)
            if not members:
                del self._members[gang]
            self._gangs.give_back(gang)
        self._namespaces.give_back(int(self.space[row]))
        self.state[row] = _GONE
        node = int(self.node[row])
        here = self._on_node[node]
        here.remove(row)
        if not here:
            del self._on_node[node]
        share, self.first_share[row] = int(self.first_share[row]), 0
        while share:
            self.share_pod[share] = 0
            self._spare_shares.append(share)
            share = int(self.next_share[share])
        self._spare.append(row)

    def _write(self, uid: str, allocation: Allocation) -> None:
        pod = allocation.pod
        row = self._rows[uid] = self._new_row(uid)
        self.state[row] = _NOMINATED if allocation.nominated else _ENDING if uid in self._ending else _LIVE
        self.rank[row] = rank = pod.rank
        if not allocation.nominated:
            self.ranks[rank] = self.ranks.get(rank, 0) + 1
        self.until[row] = pod.protected_until
        self.born[row] = unix_seconds(pod.created)
        self.node[row] = node = self._fleet.nodes.records[allocation.placement.node].row
        self._on_node.setdefault(node, []).append(row)
        self.space[row] = self._namespaces.take(pod.namespace)
        self.gang[row] = self._join(row, gang_of(pod)) if not allocation.nominated else NO_GANG
        self.cpu[row] = pod.cpu
        self.memory[row] = pod.memory
        self.worker[row] = pod.request is not None
        self.width[row] = max(1, len(allocation.devices))
        if pod.request is not None:
            share = 0
            for device, compute, vram in allocation.amounts():
                share = self._new_share(row, device.number, compute, vram, following=share)
            self.first_share[row] = share

    def _join(self, row: int, name: str) -> int:
        if not name:
            return NO_GANG
        gang = self._gangs.take(name)
        self._members.setdefault(gang, set()).add(row)
        return gang

    def _new_row(self, uid: str) -> int:
        if self._spare:
            row = self._spare.pop()
            self.uids[row] = uid
            return row
        row = len(self.uids)
        self.uids.append(uid)
        if row == len(self.state):
            self._allocate_pods(2 * row)
        return row

    def _new_share(self, row: int, device: int, compute: int, vram: int, *, following: int) -> int:
        if self._spare_shares:
            share = self._spare_shares.pop()
        else:
            share = self.share_count
            self.share_count += 1
            if share == len(self.share_pod):
                self._allocate_shares(2 * share)
        self.share_pod[share] = row
        self.share_device[share] = device
        self.share_compute[share] = compute
        self.share_vram[share] = vram
        self.next_share[share] = following
        return share


def gang_of(pod: PodFacts) -> str:
    """The gang that the pod belongs to, by a name of its own in the whole cluster; empty for none."""
    return "" if pod.gang is None else pod.gang.key


def unix_seconds(created: str) -> int:
    """Unix seconds of an RFC 3339 time; 0 where there is none."""
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0
