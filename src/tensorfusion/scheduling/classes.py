"""Pods that ask for the same, and what the columns say to them: computed once, then corrected row by row.

A *class* is everything that a decision looks at in a pod: amounts, device wishes, the rules for nodes, the needs of the
node. Two pods of one class get the same answer from the same fleet, so the answer of every device and node and the
ranking key of every row are kept with the class. When the class is used again it reads the logs of what changed since
and looks at those rows anew; where that is too much, at all of them. The counts per reason are corrected with the
codes, so they are always those of the moment.

What voids a class altogether: other columns (a pool or the nodes outgrew theirs), another policy of the pool, a shape
that was forgotten. The classes kept are bounded in number and in bytes; the one that was not used for longest goes.

Rejected: correcting every class whenever a row changes. It costs the same for classes that no pod asks for any more.
"""

from abc import ABC, abstractmethod
from typing import Final, TypeAlias, TypeVar

import numpy as np

from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.changes import ChangeLog
from tensorfusion.scheduling.codes import FITS, LOWEST, NOT_ASKED, Bools, Codes, Ints, Rows, counts
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.reasons import DEVICE_REASONS, NODE_REASONS, DeviceReason, NodeReason
from tensorfusion.scheduling.search import device_codes, plain_codes, pool_codes
from tensorfusion.scheduling.shapes import PREFERENCE, Shape, rules_of

ClassKey: TypeAlias = tuple[object, ...]

KEPT_CLASSES: Final = 512
KEPT_BYTES: Final = 64 << 20


class Rated(ABC):
    """What both kinds of classes are: a code and a ranking key for every row of some columns of nodes."""

    def __init__(self, nodes: NodeColumns, log: ChangeLog, pod: PodFacts) -> None:
        self._nodes = nodes
        self._log = log
        self._pod = pod
        self._position = log.mark()
        self._shape: Shape = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
        self._codes = self._rate(None)
        self._counts = counts(self._codes)
        self._nodes_removed: tuple[tuple[NodeReason, int], ...] | None = None
        self.keys = self._rank(None)
        """Ranking key of each row, in units of preference; the lowest number where the pod does not fit."""
        self.keys[self._codes != FITS] = LOWEST

    def catch_up(self) -> bool:
        """Look again at what changed since the last time; False where it is better to start anew."""
        changed = self._log.since(self._position)
        if changed is None or not self._shape.kept or 4 * len(changed) > len(self.keys):
            return False
        self._shape.used = True
        if changed:
            self._position = self._log.mark()
            self._correct(np.array(changed, np.intp))
        return True

    def _correct(self, at: Rows) -> None:
        codes = self._rate(at)
        before = self._codes[at]
        if not np.array_equal(before, codes):
            self._counts += counts(codes) - counts(before)
            self._nodes_removed = None
            self._codes[at] = codes
        keys = self._rank(at)
        keys[codes != FITS] = LOWEST
        self.keys[at] = keys

    @abstractmethod
    def _rate(self, at: Rows | None) -> Codes:
        """What the filters say of these rows or all; a new array."""

    @abstractmethod
    def _rank(self, at: Rows | None) -> Ints:
        """Ranking keys of these rows or all, whether the pod fits or not; a new array."""

    @property
    def bytes(self) -> int:
        """Memory that keeping it takes."""
        return self._codes.nbytes + self.keys.nbytes

    @property
    def feasible(self) -> int:
        """Rows that can take the pod."""
        return int(self._counts[FITS])

    @property
    def rows(self) -> Bools:
        """The rows that can take the pod; a new array."""
        fits: Bools = self._codes == FITS
        return fits

    @property
    def nodes_removed(self) -> tuple[tuple[NodeReason, int], ...]:
        """What each node filter removed, in their order."""
        if self._nodes_removed is None:
            found = self._counts[: len(NODE_REASONS)].tolist()
            self._nodes_removed = tuple([pair for pair in zip(NODE_REASONS, found, strict=True) if pair[1]])
        return self._nodes_removed


class PlainClass(Rated):
    """Pods without shares, over the node rows."""

    def __init__(self, nodes: NodeColumns, pod: PodFacts) -> None:
        super().__init__(nodes, nodes.log, pod)

    def _rate(self, at: Rows | None) -> Codes:
        codes = plain_codes(self._nodes, self._pod, shape=self._shape, at=at)
        codes[codes == _ABSENT] = NOT_ASKED  # nodes that are not registered do not count
        return codes

    def _rank(self, at: Rows | None) -> Ints:
        score, preference = self._nodes.plain_score, self._shape.preference
        keys = score.copy() if at is None else score[at]
        if preference is not None:
            keys += preference if at is None else preference[at]
        return keys


class ShareClass(Rated):
    """Pods that ask for the same shares of one pool's devices, over the pool's rows."""

    def __init__(self, pool: PoolColumns, nodes: NodeColumns, pod: PodFacts, room: Room | None = None) -> None:
        if pod.request is None:
            raise ValueError(f"pod {pod.namespace}/{pod.name} asks for no share")
        self.pool = pool
        self._request: GpuRequest = pod.request
        self._room = room
        super().__init__(nodes, pool.log, pod)

    def _rate(self, at: Rows | None) -> Codes:
        pool = self.pool
        devices = device_codes(pool, self._request, room=self._room, at=at)
        if at is None:
            self._devices = devices
            self._device_counts = counts(devices)
            self._devices_removed: tuple[tuple[DeviceReason, int], ...] | None = None
        else:
            before = self._devices.take(at, axis=1)
            if not np.array_equal(before, devices):
                self._device_counts += counts(devices) - counts(before)
                self._devices_removed = None
                self._devices[:, at] = devices
        return pool_codes(pool, self._nodes, self._pod, shape=self._shape, devices=devices, at=at)

    def _rank(self, at: Rows | None) -> Ints:
        pool, preference = self.pool, self._shape.preference
        score, here = (pool.node_score, pool.node_row) if at is None else (pool.node_score[at], pool.node_row[at])
        keys = score * PREFERENCE
        if preference is not None:
            keys += preference.take(here)
        return keys

    @property
    def bytes(self) -> int:
        """Memory that keeping it takes."""
        return super().bytes + self._devices.nbytes

    @property
    def devices_removed(self) -> tuple[tuple[DeviceReason, int], ...]:
        """What each device filter removed of the pool's devices, in their order."""
        if self._devices_removed is None:
            found = self._device_counts[: len(DEVICE_REASONS)].tolist()
            pairs = list(zip(DEVICE_REASONS, found, strict=True))[1:]  # the first are slots without a device
            self._devices_removed = tuple([pair for pair in pairs if pair[1]])
        return self._devices_removed

    def best_slots(self, row: int) -> list[int]:
        """The row's fitting devices with the highest own scores, as many as are asked for; ties to the lower index."""
        own = self.pool.score[:, row].tolist()
        slots = [slot for slot, code in enumerate(self._devices[:, row].tolist()) if code == FITS]
        slots.sort(key=own.__getitem__, reverse=True)
        return slots[: self._request.count]


_ABSENT = NODE_REASONS.index(NodeReason.ABSENT)


_Rated = TypeVar("_Rated", bound=Rated)


def best(keys: Ints, count: int) -> list[tuple[int, int]]:
    """The ``count`` rows with the highest keys, and these; ties go to the lower row. Leaves the keys as they are."""
    found = []
    for _ in range(count):
        row = int(keys.argmax())
        found.append((row, int(keys[row])))
        keys[row] = LOWEST
    for row, key in found:
        keys[row] = key
    return found


class Classes:
    """The classes that were used last."""

    def __init__(self, limit: int = KEPT_CLASSES, most_bytes: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._most_bytes = most_bytes
        self._kept: dict[ClassKey, Rated] = {}
        self.bytes = 0
        """Memory that all of them take."""

    def shares(self, pool: PoolColumns, nodes: NodeColumns, pod: PodFacts) -> ShareClass:
        """The pod's class, up to date."""
        key = key_of(pod)
        known = self._known(key)
        if isinstance(known, ShareClass) and known.pool is pool:
            return known
        return self._keep(key, ShareClass(pool, nodes, pod))

    def plain(self, nodes: NodeColumns, pod: PodFacts) -> PlainClass:
        """The class of a pod without shares, up to date."""
        key = key_of(pod)
        known = self._known(key)
        if isinstance(known, PlainClass):
            return known
        return self._keep(key, PlainClass(nodes, pod))

    def __len__(self) -> int:
        return len(self._kept)

    def _known(self, key: ClassKey) -> Rated | None:
        known = self._kept.pop(key, None)
        if known is not None:
            if known.catch_up():
                self._kept[key] = known
                return known
            self.bytes -= known.bytes
        return None

    def _keep(self, key: ClassKey, fresh: _Rated) -> _Rated:
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self.bytes -= replaced.bytes
        self._kept[key] = fresh
        self.bytes += fresh.bytes
        while len(self._kept) > 1 and (len(self._kept) > self._limit or self.bytes > self._most_bytes):
            self.bytes -= self._kept.pop(next(iter(self._kept))).bytes
        return fresh


def key_of(pod: PodFacts) -> ClassKey:
    """Everything that a decision looks at in a pod, but its namespace's quota."""
    extended = tuple(sorted(pod.extended.items())) if pod.extended else ()
    needs = (pod.cpu, pod.memory, pod.native, extended, rules_of(pod))
    request = pod.request
    if request is None:
        return needs
    return (
        request.pool,
        request.isolation,
        request.count,
        request.compute,
        request.percent,
        request.vram,
        request.model,
        request.vendor,
        request.indices,
        request.partition,
        needs,
    )
