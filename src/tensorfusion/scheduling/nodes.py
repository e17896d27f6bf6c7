"""The node columns: what each node has left of CPU, memory, pods, workers and other named resources.

One row a node, in the order in which they became known; a freed row goes to the next new node, lowest first. A row
exists while the node is registered, has devices, or holds pods, so what is charged survives the node's absence and
counts again when it returns. Units: milli-CPU, bytes, counts; all int64, shape (rows,), spare rows included.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tensorfusion.scheduling.changes import ChangeLog
from tensorfusion.scheduling.codes import Ints, elements
from tensorfusion.scheduling.facts import NodeFacts, PodFacts
from tensorfusion.scheduling.shapes import PREFERENCE, Shapes

GPU_FREE = 1_000_000
"""Added to the score that plain pods see of a node without devices: it always wins over a node with devices."""


@dataclass(slots=True)
class NodeRecord:
    """One node, known or only referred to, and what its pods hold of it."""

    name: str
    row: int
    facts: NodeFacts | None = None
    devices: int = 0
    cpu: int = 0
    memory: int = 0
    pods: int = 0
    workers: int = 0
    native: int = 0
    """Devices that its pods asked of their maker's own device plugin."""
    foreign: int = 0
    """Devices that such a plugin is known to have handed out."""
    extended: dict[str, int] = field(default_factory=dict)
    watchers: list[tuple[ChangeLog, int]] = field(default_factory=list)
    """Where else a change is written down: a pool's log, and the number of the node's row there."""

    @property
    def needed(self) -> bool:
        return self.facts is not None or self.devices > 0 or self.pods > 0

    @property
    def cpu_free(self) -> int:
        return (self.facts.cpu if self.facts is not None else 0) - self.cpu

    @property
    def memory_free(self) -> int:
        return (self.facts.memory if self.facts is not None else 0) - self.memory

    @property
    def pods_free(self) -> int:
        return (self.facts.pods if self.facts is not None else 0) - self.pods

    def extended_free(self, name: str) -> int:
        return (self.facts.extended.get(name, 0) if self.facts is not None else 0) - self.extended.get(name, 0)

    @property
    def fullness(self) -> int:
        """Mean of the used percent of CPU and memory, rounded down, 0..100: what plain pods are packed by."""
        if self.facts is None:
            return 0
        cpu = 100 * self.cpu // self.facts.cpu if self.facts.cpu else 100
        memory = 100 * self.memory // self.facts.memory if self.facts.memory else 100
        level = (cpu + memory) // 2
        return level if 0 <= level <= 100 else 100 if level > 0 else 0


class NodeColumns:
    """Every node's record and its row of the columns."""

    def __init__(self) -> None:
        self.records: dict[str, NodeRecord] = {}
        self.rows: list[NodeRecord | None] = []
        self.names: list[str] = []
        """Name of each row's node, or of its last one."""
        self.registered = 0
        self.with_facts: list[NodeFacts | None] = []
        self.shapes = Shapes()
        self.log = ChangeLog()
        """Rows of which anything changed."""
        self.layout = 0
        """Grows whenever another node has a row, or a node is registered or no more."""
        self._spare: list[int] = []
        self.extended: dict[str, Ints] = {}
        self.native = 0
        """Devices on all nodes that pods asked of a device plugin; mostly none, and then no decision looks further."""
        self._allocate(16)

    def _allocate(self, rows: int) -> None:
        self.cpu_free: Ints = np.zeros(rows, np.int64)
        self.memory_free: Ints = np.zeros(rows, np.int64)
        self.pods_free: Ints = np.zeros(rows, np.int64)
        self.workers: Ints = np.zeros(rows, np.int64)
        self.unknown_native: Ints = np.zeros(rows, np.int64)
        """Devices that a plugin was asked for and whose choice is not known yet; above 0 any device may be it."""
        self.plain_score: Ints = np.zeros(rows, np.int64)
        """Score for plain pods in units of preference, without the pod's own preferences."""
        columns = self.cpu_free, self.memory_free, self.pods_free, self.workers, self.unknown_native, self.plain_score
        self._cells = tuple(elements(column) for column in columns)
        self.extended = {name: np.zeros(rows, np.int64) for name in self.extended}
        self.shapes.clear()
        self.log.reset()
        for record in self.rows:
            if record is not None:
                self.refresh(record)

    @property
    def size(self) -> int:
        """Length of the columns, spare rows included."""
        return len(self.cpu_free)

    def packing(self, row: int) -> int:
        """The points that plain pods give a node for how full it is, 0..100."""
        points: int = self.plain_score.item(row)
        return points // PREFERENCE % GPU_FREE

    def record(self, name: str) -> NodeRecord:
        """The node's record; a new one when nothing was known of it. Call ``settle`` after use."""
        record = self.records.get(name)
        if record is None:
            row = heapq.heappop(self._spare) if self._spare else len(self.rows)
            record = self.records[name] = NodeRecord(name, row)
            self.layout += 1
            if row == len(self.rows):
                self.rows.append(record)
                self.names.append(name)
                self.with_facts.append(None)
                if row == self.size:
                    self._allocate(row + row // 2)
            else:
                self.rows[row], self.names[row] = record, name
            self.refresh(record)
        return record

    def settle(self, record: NodeRecord) -> None:
        """Write the record's row, or give the row back when nothing refers to the node any more."""
        self.refresh(record)
        self.forget_unneeded(record)

    def forget_unneeded(self, record: NodeRecord) -> None:
        """Give the node's row back when nothing refers to it any more."""
        if not record.needed and self.records.get(record.name) is record:
            del self.records[record.name]
            self.rows[record.row] = None
            heapq.heappush(self._spare, record.row)

    def upsert(self, facts: NodeFacts) -> bool:
        """Answers whether anything changed."""
        record = self.record(facts.name)
        old = record.facts
        if old == facts:
            return False
        self.registered += old is None
        self.layout += old is None
        record.facts = self.with_facts[record.row] = facts
        for name in facts.extended:
            self._column(name)
        self.shapes.set(record.row, facts)
        self.refresh(record)
        return True

    def remove(self, name: str) -> bool:
        """The node is gone; what its pods hold stays written down."""
        record = self.records.get(name)
        if record is None or record.facts is None:
            return False
        self.registered -= 1
        record.facts = self.with_facts[record.row] = None
        self.shapes.set(record.row, None)
        self.settle(record)
        return True

    def charge(self, record: NodeRecord, pod: PodFacts, sign: int = 1) -> None:
        """Take the pod's share of the node, or with ``sign`` -1 give it back; ``settle`` may then be due."""
        record.cpu += sign * pod.cpu
        record.memory += sign * pod.memory
        record.pods += sign
        if pod.request is not None:
            record.workers += sign
        if pod.native:
            record.native += sign * pod.native
            self.native += sign * pod.native
        if pod.extended:
            self._charge_extended(record, pod.extended, sign)
        self.refresh(record)

    def _charge_extended(self, record: NodeRecord, amounts: Mapping[str, int], sign: int) -> None:
        for name, amount in amounts.items():
            left = record.extended.get(name, 0) + sign * amount
            if left:
                record.extended[name] = left
            else:
                record.extended.pop(name, None)
            self._column(name)

    def add_devices(self, record: NodeRecord, count: int) -> None:
        """The node gained (or lost) devices."""
        record.devices += count
        self.settle(record)

    def add_foreign(self, record: NodeRecord, count: int) -> None:
        """A device plugin took devices of the node, or gave them back."""
        record.foreign += count
        self.refresh(record)

    def refresh(self, record: NodeRecord) -> None:
        """Write the record into its row."""
        row, facts = record.row, record.facts
        cpu_free, memory_free, pods_free, workers, unknown_native, plain_score = self._cells
        if facts is None:
            cpu_free[row], memory_free[row], pods_free[row] = -record.cpu, -record.memory, -record.pods
        else:
            cpu_free[row] = facts.cpu - record.cpu
            memory_free[row] = facts.memory - record.memory
            pods_free[row] = facts.pods - record.pods
        workers[row] = record.workers
        unknown_native[row] = record.native - record.foreign
        plain_score[row] = ((0 if record.devices else GPU_FREE) + record.fullness) * PREFERENCE
        if self.extended:
            for name, column in self.extended.items():
                column[row] = record.extended_free(name)
        self.log.add(row)
        for log, there in record.watchers:
            log.add(there)

    def _column(self, name: str) -> Ints:
        column = self.extended.get(name)
        if column is None:
            column = self.extended[name] = np.zeros(self.size, np.int64)
            for record in self.rows:
                if record is not None:
                    column[record.row] = record.extended_free(name)
        return column
