"""The device columns of one pool: shape (slots, rows), one row a node of the pool, one slot a device of the node.

Slots come first so that reductions over the devices of a node run over whole contiguous rows: with 500 nodes of 6
devices they take 2 us instead of 12. A mask (``present``) covers the slots that a node does not have. The slots of a
node are in the order of device index, then name; rows are in the order in which nodes joined the pool, and a freed row
goes to the next one, lowest first. Names are interned: models, vendors and modes are small integers here.

Two kinds of columns. *Static* ones change with facts of devices, and what a kind of request makes of them is kept
(``static``). *Live* ones (free amounts, scores, modes in use) change with every assumption, one element at a time.
Every change of a row is written down (``facts_log``, and ``log`` for all of them), so that what was computed from the
columns can be kept and corrected row by row.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.common import IsolationPolicy
from tensorfusion.model.gpu import GpuPhase
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.changes import ChangeLog
from tensorfusion.scheduling.codes import Bools, Codes, Ints, Rows, elements, lower
from tensorfusion.scheduling.facts import DeviceFacts, PoolFacts
from tensorfusion.scheduling.holds import MODE_BIT, Device
from tensorfusion.scheduling.learned import Learned
from tensorfusion.scheduling.nodes import NodeRecord
from tensorfusion.scheduling.partitions import Cut, Layout, cut, held_sorted
from tensorfusion.scheduling.quota import WHOLE
from tensorfusion.scheduling.reasons import DEVICE_ORDER, DeviceReason
from tensorfusion.scheduling.scoring import Policy, Scale, policy_of, scale_of, scores
from tensorfusion.scheduling.wiring import Wired, Wirings, wiring_of

CutWish: TypeAlias = tuple[str, int, int, int]
Wish: TypeAlias = tuple[str, str, str, tuple[int, ...]]

KEPT_WISHES = 64
_PENDING = GpuPhase.PENDING
_GATED = (Isolation.SOFT, Isolation.HARD, Isolation.PARTITIONED)


class Names:
    """Strings as small integers, in the order of their first use."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def id(self, name: str) -> int:
        return self._ids.setdefault(name, len(self._ids))

    def table(self, test: Callable[[str], bool]) -> Bools:
        """The test's answer for every name, at the name's integer."""
        return np.array([test(name) for name in self._ids], np.bool_)


@dataclass(frozen=True, slots=True)
class CutTable:
    """What one wish gets by layout; the columns' last entry is for devices that cannot be cut. GFLOPS and bytes."""

    cuts: tuple[Cut, ...]
    covered: Bools
    placed: Bools
    compute: Ints
    vram: Ints


class Cuts:
    """The layouts of a pool's devices as small integers, and what each kind of request gets on each of them."""

    def __init__(self) -> None:
        self._ids: dict[Layout, int] = {}
        self._tables: dict[CutWish, CutTable] = {}

    def id(self, layout: Layout) -> int:
        return self._ids.setdefault(layout, len(self._ids))

    def forms(self) -> list[str]:
        """Names of what the devices can be cut into, the smallest first."""
        found = {form.name: (form.vram, form.compute, form.name) for one in self._ids for form in one.profile.forms}
        return sorted(found, key=found.__getitem__)

    def table(self, request: GpuRequest) -> CutTable:
        """What the request gets on each layout."""
        wish: CutWish = (request.partition, request.compute, request.percent, request.vram)
        table = self._tables.pop(wish, None)
        known = table.cuts if table is not None else ()
        if table is None or len(known) < len(self._ids):
            if len(self._tables) >= KEPT_WISHES:
                del self._tables[next(iter(self._tables))]
            table = _cut_table((*known, *(cut(layout, request) for layout in list(self._ids)[len(known) :])))
        self._tables[wish] = table
        return table


def _cut_table(cuts: tuple[Cut, ...]) -> CutTable:
    found = [one.partition for one in cuts]
    return CutTable(
        cuts=cuts,
        covered=np.array([*(one.covered for one in cuts), False], np.bool_),
        placed=np.array([*(one is not None for one in found), False], np.bool_),
        compute=np.array([*(one.compute if one else 0 for one in found), 0], np.int64),
        vram=np.array([*(one.vram if one else 0 for one in found), 0], np.int64),
    )


class Static:
    """What the static filters say of each slot for one kind of request, up to a position of the facts' log.

    ``codes`` have the shape (slots, rows); where there is no device, the code of no filter.
    """

    __slots__ = ("_rows", "_single", "codes", "position")

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self.position = 0
        self._single, self._rows = elements(codes), codes.shape[1]

    def of(self, row: int) -> list[int]:
        """The codes of a row's slots; a new list."""
        found: list[int] = self._single[row :: self._rows].tolist()
        return found


class PoolColumns:
    """The devices of one pool."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.facts = PoolFacts(name)
        self.known = False
        self.policy: Policy = policy_of(self.facts)
        self.devices: list[list[Device]] = []
        """The devices of each row in slot order."""
        self.records: list[NodeRecord] = []
        """The node of each row, or its last one."""
        self.node_names: list[str] = []
        self.count = 0
        self.nodes = 0
        self.moves = 0
        """Grows whenever devices change their slots."""
        self.models = Names()
        self.vendors = Names()
        self._rows: dict[str, int] = {}
        self._spare: list[int] = []
        self._node_sums: list[int] = []
        self._statics: dict[Wish, Static] = {}
        self._costs: dict[int, Ints] = {}
        self._places: tuple[int, Ints] = (-1, np.zeros(0, np.int64))
        """By device number its place, and after how many moves."""
        self._scales: dict[tuple[int, int], Scale] = {}
        self.cuts = Cuts()
        self.located = 0
        """Rows whose devices report how near they are to each other, as of the last ``follow_wirings``."""
        self.wirings = Wirings()
        self._wired: list[Wired | None] = []
        self._rewired: set[int] = set()
        """Rows whose wiring has to be looked at again."""
        self.learned = Learned()
        """What has been asked of the pool."""
        self.log = ChangeLog()
        """Rows of which anything changed, what pods hold of the node included."""
        self.facts_log = ChangeLog()
        """Rows of which facts of devices changed."""
        self._allocate(1, 16)

    def _allocate(self, slots: int, rows: int) -> None:
        """New columns; those who call fill them again."""
        shape = (slots, rows)
        self.present: Bools = np.zeros(shape, np.bool_)
        self.number: NDArray[np.int32] = np.zeros(shape, np.int32)
        """Number of the device in the whole fleet."""
        self.running: Bools = np.zeros(shape, np.bool_)
        self.ours: Bools = np.zeros(shape, np.bool_)
        self.dynamic: Bools = np.zeros(shape, np.bool_)
        self.index: Ints = np.full(shape, -1, np.int64)
        self.model: NDArray[np.int32] = np.zeros(shape, np.int32)
        self.vendor: NDArray[np.int32] = np.zeros(shape, np.int32)
        self.offers: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        """Bits of the isolation modes that the device accepts while idle."""
        self.modes: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        """Bits of the isolation modes in use."""
        self.layout: NDArray[np.int32] = np.full(shape, -1, np.int32)
        """Number of the device's layout; -1 for devices that cannot be cut."""
        self.compute: Ints = np.zeros(shape, np.int64)
        self.vram: Ints = np.zeros(shape, np.int64)
        self.compute_free: Ints = np.zeros(shape, np.int64)
        self.vram_free: Ints = np.zeros(shape, np.int64)
        self.score: Ints = np.zeros(shape, np.int64)
        """Score of the device when devices of its node are chosen."""
        self.node_row: NDArray[np.intp] = np.zeros(rows, np.intp)
        self.node_score: Ints = np.zeros(rows, np.int64)
        live = self.compute_free, self.vram_free, self.modes, self.score
        self._cells = tuple(elements(column) for column in live)
        self.node_scores = elements(self.node_score)
        self.wiring: Ints = np.full(rows, -1, np.int64)
        """Number of the row's wiring, as of the last ``follow_wirings``; -1 where its devices report none."""
        self.dynamic_devices = 0
        self._costs.clear()
        self.log.reset()
        self.facts_log.reset()

    @property
    def shape(self) -> tuple[int, int]:
        slots, rows = self.present.shape
        return slots, rows

    def set_policy(self, facts: PoolFacts) -> bool:
        """Take over the pool's way of placing; answers whether anything changed."""
        changed = not self.known or facts != self.facts
        self.facts, self.known = facts, True
        policy = policy_of(facts)
        if policy != self.policy:
            self.policy = policy
            self._scales.clear()
            for device in chain.from_iterable(self.devices):
                self.refresh(device)
        if changed:
            self.log.reset()
        return changed

    def attach(self, device: Device, facts: DeviceFacts, node: NodeRecord) -> None:
        """Give the device a slot in the row of its node."""
        row = self._rows.get(facts.node)
        if row is None:
            row = self._new_row(node)
            node.watchers.append((self.log, row))
        devices = self.devices[row]
        slots, rows = self.shape
        if len(devices) == slots:
            self._resize(slots + 1, rows)
        device.facts, device.row, device.slot, device.node_part = facts, row, len(devices), 0
        self.moves += 1
        devices.append(device)
        self.count += 1
        self.node_row[row] = node.row
        if len(devices) == 1 or _slot_order(devices[-2]) < _slot_order(device):
            self._write(device, facts)
            self._note_facts(row)
        else:
            self._lay(row)

    def detach(self, device: Device, record: NodeRecord) -> None:
        """Take the device out of its slot."""
        row, node = device.row, self.node_names[device.row]
        self.devices[row].remove(device)
        self.count -= 1
        device.facts, device.row, device.slot = None, -1, -1
        self._lay(row)
        if not self.devices[row]:
            del self._rows[node]
            record.watchers.remove((self.log, row))
            heapq.heappush(self._spare, row)
            self.node_names[row] = ""
            self.nodes -= 1

    def changed(self, device: Device, facts: DeviceFacts) -> None:
        """A device of this pool and node has new facts."""
        old = device.facts
        device.facts = facts
        if old is not None and old.index == facts.index:
            self._write(device, facts)
            self._note_facts(device.row)
        else:
            self._lay(device.row)

    def refresh(self, device: Device) -> None:
        """What is held of the device changed: write its live columns and its node's score."""
        row = device.row
        node_scores, compute, vram = self.node_scores, device.compute, device.vram
        compute_held, vram_held = device.compute_held, device.vram_held
        at = device.slot * len(node_scores) + row
        compute_free, vram_free, modes, score = self._cells
        compute_free[at] = compute - compute_held
        vram_free[at] = vram - vram_held
        modes[at] = device.modes
        scale = self._scales.get((compute, vram))
        if scale is None:
            scale = self._scales[compute, vram] = scale_of(self.policy, compute=compute, vram=vram)
        part, score[at] = scores(self.policy, scale, compute_held=compute_held, vram_held=vram_held)
        if device.facts is not None and device.facts.phase == _PENDING:
            part //= 4
        self._node_sums[row] = total = self._node_sums[row] + part - device.node_part
        device.node_part = part
        node_scores[row] = total // len(self.devices[row])
        self.log.add(row)

    def scores_of(self, row: int) -> list[int]:
        """The scores of a row's slots when devices of its node are chosen; a new list."""
        found: list[int] = self._cells[-1][row :: len(self.node_scores)].tolist()
        return found

    def lay_out(self, device: Device, facts: DeviceFacts) -> None:
        """What partitions may still go onto the device changed."""
        device.layout = -1
        if facts.profile is not None:
            held = held_sorted(list(device.partitions.values()))
            device.layout = self.cuts.id(Layout(facts.profile, facts.compute, facts.vram, held))
        self.layout[device.slot, device.row] = device.layout

    def follow_wirings(self) -> None:
        """Take over what devices report of each other; to be called before anything is asked of it."""
        if not self._rewired:
            return
        before = self.located
        for row in self._rewired:
            wiring = wiring_of(self.devices[row])
            wired = None if wiring is None else self.wirings.of(wiring)
            self.located += (wired is not None) - (self._wired[row] is not None)
            self._wired[row] = wired
            self.wiring[row] = -1 if wired is None else wired.number
        self._rewired.clear()
        if bool(before) != bool(self.located):
            self.log.reset()  # who did not ask for distances so far has to, or need not any more

    def wired(self, row: int) -> Wired | None:
        """How near the devices of a row are to each other, as of the last ``follow_wirings``."""
        return self._wired[row]

    def places(self, numbers: int) -> Ints:
        """By device number its place in the flattened columns (slot times rows plus row); -1 for devices of others.

        Shape (at least ``numbers``,): all numbers are below that. Belongs to the pool.
        """
        moves, places = self._places
        if moves != self.moves or len(places) < numbers:
            places = np.full(numbers, -1, np.int64)
            at = np.flatnonzero(self.present)
            places[self.number.ravel()[at]] = at
            self._places = self.moves, places
        return places

    def row_of(self, node: str) -> int | None:
        return self._rows.get(node)

    def static(self, request: GpuRequest) -> Static:
        """What the static filters say for requests of this kind; belongs to the pool."""
        wish: Wish = (request.isolation, request.vendor, request.model, request.indices)
        known = self._statics.pop(wish, None)
        changed = None if known is None else self.facts_log.since(known.position)
        if known is None or changed is None or 2 * len(changed) > len(self.devices):
            if known is None and len(self._statics) >= KEPT_WISHES:
                del self._statics[next(iter(self._statics))]
            known = Static(self._static_codes(request, None))
        elif changed:
            at = np.array(changed, np.intp)
            known.codes[:, at] = self._static_codes(request, at)
        known.position = self.facts_log.mark()
        self._statics[wish] = known
        return known

    def _static_codes(self, request: GpuRequest, at: Rows | None) -> Codes:
        codes = np.negative(rows_of(self.present, at).view(np.uint8))
        for reason, passes in self.static_stages(request, at):
            lower(codes, passes, DEVICE_ORDER[reason])
        return codes

    def static_stages(self, request: GpuRequest, at: Rows | None = None) -> Iterator[tuple[DeviceReason, Bools]]:
        """The filters that depend on facts of devices only, in order: reason, and who passes, in these rows or all."""
        yield DeviceReason.PHASE, rows_of(self.running, at)
        yield DeviceReason.USED_BY, rows_of(self.ours, at)
        if request.indices:
            yield DeviceReason.INDEX, np.isin(rows_of(self.index, at), request.indices)
        yield DeviceReason.ISOLATION, (rows_of(self.offers, at) & MODE_BIT[request.isolation]) != 0
        if request.vendor:
            vendors = self.vendors.table(lambda vendor: vendor == request.vendor)
            yield DeviceReason.VENDOR, vendors[rows_of(self.vendor, at)]
        if request.model:
            models = self.models.table(lambda model: model_matches(request.model, model))
            yield DeviceReason.MODEL, models[rows_of(self.model, at)]

    def cost(self, percent: int, at: Rows | None = None) -> Ints:
        """GFLOPS of this share (milli-percent) of every device, in these rows or all, rounded down."""
        if at is not None:
            return rows_of(self.compute, at) * percent // WHOLE
        known = self._costs.pop(percent, None)
        if known is None:
            if len(self._costs) >= KEPT_WISHES:
                del self._costs[next(iter(self._costs))]
            known = self.compute * percent // WHOLE
        self._costs[percent] = known
        return known

    def _new_row(self, node: NodeRecord) -> int:
        row = heapq.heappop(self._spare) if self._spare else len(self.devices)
        self._rows[node.name] = row
        self.nodes += 1
        if row == len(self.devices):
            self.devices.append([])
            self.node_names.append(node.name)
            self.records.append(node)
            self._node_sums.append(0)
            self._wired.append(None)
            slots, rows = self.shape
            if row == rows:
                self._resize(slots, rows + rows // 2)
        else:
            self.node_names[row], self.records[row] = node.name, node
        return row

    def _resize(self, slots: int, rows: int) -> None:
        node_rows = self.node_row
        self._allocate(slots, rows)
        self.node_row[: len(node_rows)] = node_rows
        for row in range(len(self.devices)):
            self._lay(row)

    def _note_facts(self, row: int) -> None:
        self.facts_log.add(row)
        self.log.add(row)
        self._rewired.add(row)
        self._costs.clear()

    def _lay(self, row: int) -> None:
        """Write a whole row again, its devices in the order of index and name."""
        devices = self.devices[row]
        devices.sort(key=_slot_order)
        self.moves += 1
        self._node_sums[row] = 0
        for slot, device in enumerate(devices):
            device.slot, device.node_part = slot, 0
            if device.facts is not None:
                self._write(device, device.facts)
        spare = slice(len(devices), None), row
        self.dynamic_devices -= int(np.count_nonzero(self.dynamic[spare]))
        self.present[spare] = False
        self.dynamic[spare] = False
        self._note_facts(row)

    def _write(self, device: Device, facts: DeviceFacts) -> None:
        at = device.slot, device.row
        dynamic = facts.isolation_policy == IsolationPolicy.DYNAMIC
        self.dynamic_devices += dynamic - int(self.dynamic[at])
        self.present[at] = True
        self.number[at] = device.number
        self.running[at] = facts.phase == GpuPhase.RUNNING
        self.ours[at] = facts.ours
        self.dynamic[at] = dynamic
        self.index[at] = facts.index
        self.model[at] = self.models.id(facts.model)
        self.vendor[at] = self.vendors.id(facts.vendor)
        self.offers[at] = offered(facts)
        self.compute[at] = facts.compute
        self.vram[at] = facts.vram
        self.lay_out(device, facts)
        self.refresh(device)


_Column = TypeVar("_Column", bound=np.generic)


def rows_of(column: NDArray[_Column], at: Rows | None) -> NDArray[_Column]:
    """The column in these rows, or the whole column. Shape (slots, rows)."""
    return column if at is None else column.take(at, axis=1)


def offered(facts: DeviceFacts) -> int:
    """Bits of the isolation modes that a device accepts while idle: ``shared`` always, the others as it says.

    Source: TensorFusion's isolation rules: a Static device has one mode or any, a Dynamic one any but partitioned;
    capabilities gate where they are stated.
    """
    bits = MODE_BIT[Isolation.SHARED]
    for mode in _GATED:
        if facts.isolation_policy == IsolationPolicy.DYNAMIC:
            accepted = mode is not Isolation.PARTITIONED
        else:
            accepted = facts.isolation_mode in ("", mode)
        if accepted and (facts.capabilities is None or mode in facts.capabilities):
            bits |= MODE_BIT[mode]
    return bits


def _slot_order(device: Device) -> tuple[int, str]:
    facts = device.facts
    return (facts.index if facts is not None else -1, device.name)
