"""One pool as fragmentation-aware placement sees it: what is free of every node, what that is worth, what is kept.

Beside the columns, and behind them until somebody asks (``follow``): rows that changed are written again, the streams
are drawn again when the arrivals have grown enough, and whoever keeps something that follows from the streams or from
the order of whole nodes looks at ``version``.

Devices may be unequal: streams, whole nodes and the hold are told apart by the *kind* of device (its capacity) that is
first on a node; each device counts in thousandths of its own capacity.

Shapes: R rows of the pool, S slots. States are those of ``fragmentation``: (R, 2 + S), milli-CPU, MiB, milli-devices.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from tensorfusion.model.common import PlacementMode
from tensorfusion.model.partitions import Profile
from tensorfusion.scheduling.arrivals import WHOLE, Part, Size, mix_of
from tensorfusion.scheduling.asked import MIB, Asked, Kind, part_of
from tensorfusion.scheduling.codes import Bools, Ints, Rows
from tensorfusion.scheduling.facts import NodeFacts
from tensorfusion.scheduling.fragmentation import LookAhead, Outlook, draw
from tensorfusion.scheduling.holds import Device
from tensorfusion.scheduling.open_nodes import NO_NODE, OpenNode, are_open, open_node
from tensorfusion.scheduling.pools import PoolColumns, rows_of
from tensorfusion.scheduling.whole_nodes import WholeNodes, ranks, whole_nodes

FEW = 16
"""Rows up to which plain numbers are cheaper than columns."""
_NO_KIND = -1

Mark: TypeAlias = tuple[int, int, int]
"""What a pool is like: positions of its logs, and the version of what it has learned."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Whole nodes of one kind that are kept for jobs that want all ``gpus`` devices of one."""

    gpus: int
    expected: int
    """Such jobs that would run if the pool were full of what arrives."""
    running: int
    free: int

    @property
    def closed(self) -> bool:
        """Smaller pods may not take a free one."""
        return 0 < self.free <= self.expected - self.running

    @property
    def advice(self) -> str:
        """What would help whom it keeps out."""
        return (
            f"{_count(self.free, 'whole node')} stay{'s' * (self.free == 1)} free for jobs that want all {self.gpus} "
            f"devices of one: {self.running} of them run, and by what arrives {self.expected} would: ask for a share "
            "that fits beside others, add nodes, or let the pod preempt"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class _Devices:
    """What the devices of a row are: the capacity of the first one, and what any of them is."""

    size: tuple[int, int]
    makes: frozenset[tuple[str, str]]
    profiles: frozenset[tuple[str, str, Profile]]
    """What they can be cut into, by vendor and model."""


class Foresight:
    """What decisions of one pool look ahead with."""

    def __init__(self, pool: PoolColumns, parameters: LookAhead) -> None:
        self._pool = pool
        self.parameters = parameters
        self.version = 0
        """Grows when the streams, the whole nodes or their order have become other ones."""
        self.kinds: list[Kind] = []
        self._outlooks: list[Outlook] = []
        self._demands: list[Ints] = []
        """By kind, what each stream asks for in all, ascending."""
        self._whole: list[WholeNodes] = []
        self._closed: list[bool] = []
        """By kind, whether free whole nodes are kept."""
        self._frozen: tuple[list[bool], Bools] | None = None
        self._before: Bools | None = None
        """The rows that were kept when ``eased`` was asked last."""
        self._shape = (0, 0)
        self._position = self._facts_position = -1
        self._learned = -1
        """Version of the mix that the streams were drawn from."""
        self._asked: list[list[Part[Size]]] = []
        """By kind and tenant, what is asked for, and how much it weighs."""
        self._allocate()

    def _allocate(self) -> None:
        slots, rows = self._shape
        self.states: Ints = np.zeros((rows, 2 + slots), np.int64)
        self.worth: Ints = np.zeros(rows, np.int64)
        """V of each row's state, summed up over the streams."""
        self.rank: Ints = np.zeros(rows, np.int64)
        """Milli-GPU that a small pod would rather waste than open this node and not the first whole one."""
        self._kind: Ints = np.full(rows, _NO_KIND, np.int64)
        self._fleets: list[_Devices | None] = []
        """Of each row, what its devices are; None without any."""
        self._usable: Bools = np.zeros((rows, slots), np.bool_)
        self._facts: list[NodeFacts | None] = [None] * rows
        """Of each row's node, as of the last ``follow``; None where there are no devices, too."""
        self._nodes: list[OpenNode] = [NO_NODE] * rows
        self._open: Bools = np.zeros(rows, np.bool_)
        """Rows that take the pods that may come; of the others nothing is expected, nor kept."""
        self._installed: Bools = np.zeros(rows, np.bool_)
        """Rows that are whole nodes when nothing runs there."""
        self._free: Bools = np.zeros(rows, np.bool_)
        self._running: Ints = np.zeros(rows, np.int64)
        self._free_of: list[int] = []
        self._running_of: list[int] = []

    @property
    def devices(self) -> Ints:
        """Free milli of each device; 0 where none can be had. Shape (R, S), a view."""
        return self.states[:, 2:]

    def follow(self) -> None:
        """Take over what changed; to be called before anything is asked of it."""
        try:
            self._follow()
        except Exception:
            self._shape, self._learned, self.kinds = (0, 0), -1, []  # what is half done is done anew from the start
            raise

    def _follow(self) -> None:
        pool, learned = self._pool, self._pool.learned
        changed, facts = pool.log.since(self._position), pool.facts_log.since(self._facts_position)
        if self._shape != pool.shape or changed is None or facts is None:
            self._shape = pool.shape
            self._allocate()
            changed = facts = list(range(len(pool.devices)))
        if len(self._fleets) < len(pool.devices):
            self._fleets += [None] * (len(pool.devices) - len(self._fleets))
        self._position, self._facts_position = pool.log.mark(), pool.facts_log.mark()
        other = self._write_facts(facts) if facts else False
        at = np.array(changed, np.intp)
        other |= bool(changed) and self._write_nodes(changed)
        if changed:
            self._write_free(at)
        if (other and self._find_kinds()) or learned.version != self._learned:
            self._draw()
        elif other:
            self._find_whole_nodes()
        elif changed:
            self._count(at)
            self.worth[at] = self.values(at, self.states[at])

    def values(self, rows: Rows, states: Ints) -> Ints:
        """V of states of these rows, summed up over the streams; 0 of rows without devices. Shape (len(rows),)."""
        if len(self._outlooks) == 1:
            return self._outlooks[0].total(states)
        found, kinds = np.zeros(len(rows), np.int64), self._kind[rows]
        for kind, outlook in enumerate(self._outlooks):
            of_kind = kinds == kind
            if of_kind.any():
                found[of_kind] = outlook.total(states[of_kind])
        return found

    def most(self, rows: Rows, free: Ints) -> Ints:
        """A bound of V, over all streams, for states of these rows with so much free in all. Shape (len(rows),)."""
        found, kinds = np.zeros(len(rows), np.int64), self._kind[rows]
        for kind, demands in enumerate(self._demands):
            of_kind = kinds == kind
            met = np.searchsorted(demands, free[of_kind], side="right")
            sums = np.concatenate([[0], demands.cumsum()])
            found[of_kind] = sums[met] + (len(demands) - met) * free[of_kind]
        return found

    def is_whole_job(self, asked: Asked) -> tuple[bool, ...]:
        """By kind, whether whoever asks so is a whole-node job there, as of the last ``follow``."""
        pairs = zip(self._whole, self.kinds, strict=True)
        return tuple([whole.wants(asked.count, kind.milli(asked) or 0) for whole, kind in pairs])

    def of_kinds(self, flags: Sequence[bool], rows: Rows) -> Bools:
        """By row the flag of its kind; False for rows without devices."""
        return np.array([*flags, False], np.bool_)[self._kind[rows]]

    def kept(self, whole: Sequence[bool]) -> Bools | None:
        """The rows that are kept from a pod that is a whole-node job of these kinds; None where there are none."""
        closed, free = self._frozen or (self._closed, self._free)
        if not any(closed):
            return None
        flags = [each and not mine for mine, each in zip(whole, closed, strict=True)]
        return free & np.array([*flags, False], np.bool_)[self._kind] if any(flags) else None

    def eased(self) -> bool:
        """Whether a row that was kept when this was asked last is kept no more, as of the last ``follow``."""
        before, self._before = self._before, self.kept([False] * len(self._whole))
        if before is None:
            return False
        return bool((before if self._before is None else before & ~self._before[: len(before)]).any())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """In between what is kept now is kept, whoever leaves or comes: who leaves makes room for somebody."""
        before = self._frozen
        self._frozen = before or (self._closed, self._free.copy())
        try:
            yield
        finally:
            self._frozen = before

    @property
    def holds(self) -> list[Hold]:
        """What is kept, by kind, as of the last ``follow``."""
        return [
            Hold(whole.gpus, whole.running, running, free)
            for whole, running, free in zip(self._whole, self._running_of, self._free_of, strict=True)
        ]

    # --- what is there ---

    def _write_facts(self, rows: Sequence[int]) -> bool:
        """The devices of these rows may be other ones; answers whether that makes a difference to other rows."""
        pool, at = self._pool, np.array(rows, np.intp)
        usable = (pool.present & pool.running & pool.ours)[:, at].T
        different = not np.array_equal(usable, self._usable[at])
        self._usable[at] = usable
        for row in rows:
            found = _devices_of(pool.devices[row]) if pool.devices[row] else None
            if found != self._fleets[row]:
                self._fleets[row] = found
                different = True
        return different

    def _write_nodes(self, rows: Sequence[int]) -> bool:
        """Nodes may be other ones; answers whether one has other amounts of CPU and memory, or takes other pods."""
        different = False
        for row in rows:
            facts = self._pool.records[row].facts if self._pool.devices[row] else None
            if facts is self._facts[row]:
                continue
            node = NO_NODE if facts is None else open_node(facts)
            different |= node != self._nodes[row]
            self._facts[row], self._nodes[row] = facts, node
        return different

    def _write_free(self, at: Rows) -> None:
        pool, rows = self._pool, at.tolist()
        if len(rows) > FEW:
            free = thousandths(
                *(rows_of(each, at) for each in (pool.compute_free, pool.vram_free, pool.compute, pool.vram))
            )
            self.states[at, 2:] = np.where(self._usable[at], free.T, 0)
        for row in rows:
            record, devices = pool.records[row], pool.devices[row]
            self.states[row, 0] = max(0, record.cpu_free) if devices else 0
            self.states[row, 1] = max(0, record.memory_free) // MIB if devices else 0
            if len(rows) <= FEW:
                free_here = [_free_milli(device) for device in devices]
                self.states[row, 2:] = 0
                self.states[row, 2 : 2 + len(devices)] = free_here
                self.states[row, 2:][~self._usable[row]] = 0

    def _find_kinds(self) -> bool:
        """Tell devices apart anew; answers whether there are other kinds than before."""
        known, before = set(filter(None, self._fleets)), self.kinds
        self.kinds = []
        for size in sorted({one.size for one in known}):
            alike = [one for one in known if one.size == size]
            makes = frozenset(chain.from_iterable(one.makes for one in alike))
            profiles = sorted(chain.from_iterable(one.profiles for one in alike), key=_in_order)
            self.kinds.append(Kind(*size, makes, profiles[0][2] if profiles else None))
        numbers = {(kind.compute, kind.vram): number for number, kind in enumerate(self.kinds)}
        self._kind[: len(self._fleets)] = [_NO_KIND if one is None else numbers[one.size] for one in self._fleets]
        return before != self.kinds

    # --- what is expected ---

    def _draw(self) -> None:
        learned, known = self._pool.learned, self.parameters
        self._learned = learned.version
        self._asked = [[Part(kind.sizes(its.weights), its.idle) for its in learned.mix] for kind in self.kinds]
        limit = known.states // max(1, len(self.kinds))
        mixes = [mix_of(pair for its in each for pair in its.weights) for each in self._asked]
        streams = [draw(mix, streams=known.streams, length=known.length) for mix in mixes]
        self._outlooks = [Outlook(each, limit=limit) for each in streams]
        self._demands = [np.sort([sum(size.demand for size in stream) for stream in each]) for each in streams]
        self._find_whole_nodes()

    def _find_whole_nodes(self) -> None:
        """Whole nodes, their order, and with them everything that follows from the streams."""
        self.version += 1
        self._whole = []
        self.rank[:] = 0
        self._installed[:] = self._open[:] = False
        for kind, asked in enumerate(self._asked):
            rows = np.flatnonzero(self._kind == kind)
            nodes = [self._nodes[row] for row in rows.tolist()]
            self._open[rows] = taking = are_open(nodes)
            whole = np.where(self._usable[rows] & taking[:, None], WHOLE, 0)
            found = whole_nodes(asked, whole, most_percent=self.parameters.most_percent)
            self._whole.append(found)
            cpu, memory = np.array([(node.cpu, node.memory) for node in nodes], np.int64).reshape(-1, 2).T
            self._installed[rows] = taking & found.free(cpu, memory, whole)
            self.rank[rows] = ranks(self._installed[rows], found.takes(cpu, memory), most=self.parameters.rank)
        every = np.arange(len(self._kind))
        self._free[:] = False
        self._running[:] = 0
        self._free_of = [0] * len(self.kinds)
        self._running_of = [0] * len(self.kinds)
        self._count(every)
        self.worth = self.values(every, self.states)

    def _count(self, at: Rows) -> None:
        """Which of these rows are free whole nodes, and which run whole-node jobs."""
        for row in at.tolist():
            kind = int(self._kind[row])
            if kind == _NO_KIND:
                continue
            whole = self._whole[kind]
            cpu, memory, *devices = self.states[row].tolist()
            free = bool(self._installed[row]) and whole.is_free(cpu, memory, devices)
            running = self._jobs(row, whole) if self._open[row] else 0
            self._free_of[kind] += free - bool(self._free[row])
            self._running_of[kind] += running - int(self._running[row])
            self._free[row], self._running[row] = free, running
        self._closed = [hold.closed for hold in self.holds]

    def _jobs(self, row: int, whole: WholeNodes) -> int:
        """Whole-node jobs that run on a row."""
        taken = 0
        for device in self._pool.devices[row]:
            for request in device.holders.values():
                if request.count == whole.gpus:
                    compute, vram = device.amounts(request)
                    part = max(part_of(compute, device.compute), part_of(vram, device.vram))
                    taken += whole.wants(request.count, part)
        return taken // whole.gpus if taken else 0


def _devices_of(devices: Sequence[Device]) -> _Devices:
    facts = [device.facts for device in devices if device.facts is not None]
    first = devices[0]
    return _Devices(
        (first.compute, first.vram),
        frozenset([(one.vendor, one.model) for one in facts]),
        frozenset([(one.vendor, one.model, one.profile) for one in facts if one.profile is not None]),
    )


def _in_order(profile: tuple[str, str, Profile]) -> tuple[str, str, str]:
    """By vendor and model; of several profiles of a model, while it changes, by what they say."""
    vendor, model, what = profile
    return vendor, model, repr(what)


class Foresights:
    """The foresight of each pool that places by it."""

    def __init__(self, parameters: LookAhead | None = None) -> None:
        self._parameters = parameters or LookAhead()
        self._known: WeakKeyDictionary[PoolColumns, Foresight] = WeakKeyDictionary()

    def of(self, pool: PoolColumns) -> Foresight:
        """The pool's foresight, up to date."""
        known = self._known.get(pool)
        if known is None:
            known = self._known[pool] = Foresight(pool, self._parameters)
        known.follow()
        return known

    def marks(self) -> dict[PoolColumns, Mark]:
        """What the pools that look ahead now, and were asked about before, are like."""
        return {pool: mark_of(pool) for pool in self._known if looks_ahead(pool)}

    def knows_whole_job(self, pool: PoolColumns, asked: Asked) -> bool:
        """Whether whoever asks so was a whole-node job when the pool was asked about last."""
        known = self._known.get(pool)
        return known is not None and any(known.is_whole_job(asked))


def looks_ahead(pool: PoolColumns) -> bool:
    """Whether the pool's decisions look ahead."""
    return pool.policy.mode is PlacementMode.FRAGMENTATION_AWARE


def mark_of(pool: PoolColumns) -> Mark:
    """Another one once anything has changed that the pool's decisions go by."""
    return pool.log.mark(), pool.facts_log.mark(), pool.learned.version


def _free_milli(device: Device) -> int:
    """As ``thousandths``, of one device."""
    compute, vram = device.compute, device.vram
    found = WHOLE
    if compute:
        found = max(0, min(WHOLE, (compute - device.compute_held) * WHOLE // compute))
    if vram:
        found = max(0, min(found, (vram - device.vram_held) * WHOLE // vram))
    return found


def thousandths(compute: Ints, vram: Ints, of_compute: Ints, of_vram: Ints) -> Ints:
    """What is free, in thousandths of the capacity, of the resource of which less is, rounded down: 0..1000."""
    if of_compute.all() and of_vram.all():  # nearly always
        found: Ints = np.minimum(compute * WHOLE // of_compute, vram * WHOLE // of_vram)
        np.maximum(found, 0, out=found)
        return np.minimum(found, WHOLE, out=found)
    found = np.full(compute.shape, WHOLE, np.int64)
    for free, capacity in ((compute, of_compute), (vram, of_vram)):
        part = np.clip(free, 0, capacity) * WHOLE // np.maximum(capacity, 1)
        np.minimum(found, np.where(capacity > 0, part, WHOLE), out=found)
    return found
