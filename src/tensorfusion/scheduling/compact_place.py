"""Where a pod takes least of what is still whole: the place that is looked for when nodes are emptied.

Apart from a decision because it follows another aim than the pool's placement mode, and only its search: the filters
are a decision's own. Preferred, in this order: devices that are in use already; the fuller node, by the mean of used
percent over its devices (VRAM and TFLOPS count half each); the node that became known first. On the node the fuller
device wins, then the lower index; where devices are to be near each other, nearness goes first.

Source: TensorFusion's defragmentation (compact score with weights 0.5 and 0.5). That devices in use go before whole
ones is ours: a node is emptied to have whole devices.
"""

import numpy as np

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.common import PlacementMode
from tensorfusion.scheduling.codes import Bools, Ints
from tensorfusion.scheduling.cycle import placement_on
from tensorfusion.scheduling.extra_rules import extra_rules
from tensorfusion.scheduling.facts import Placement, PodFacts, PoolFacts
from tensorfusion.scheduling.holds import Device
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.scoring import Scale, policy_of, scale_of, scores
from tensorfusion.scheduling.state import State

_COMPACT = policy_of(PoolFacts("", PlacementMode.COMPACT_FIRST, vram_weight=0.5, tflops_weight=0.5))
_WHOLE = 1_000
"""What a device that is in use is worth beside a whole one: more than a score can give."""


class CompactPlaces:
    """Places in one pool as it is at each question. Nothing is changed by asking."""

    def __init__(self, state: State, pool: PoolColumns) -> None:
        self._state = state
        self._pool = pool
        self._scales: dict[tuple[int, int], Scale] = {}
        self._position = pool.log.mark()
        self._fullness = np.zeros(0, np.int64)
        """Mean score of each row's devices, 0..100, where it is known; of as many rows as the pool has columns."""
        self._known = np.zeros(0, np.bool_)
        """The rows whose score is known: they are scored when they are asked for."""

    def find(self, pod: PodFacts, allowed: Bools) -> Placement | None:
        """The best place on one of the pool's rows that are ``allowed``, shape (rows,); None where there is none."""
        request, pool = pod.request, self._pool
        if request is None:
            return None
        rated = self._state.classes.shares(pool, self._state.fleet.nodes, pod)
        rows = rated.rows
        rows &= allowed
        extra = extra_rules(self._state, pod) if rows.any() else None
        if extra is not None:
            extra.narrow(rows, pool.node_row, [])
        if not rows.any():
            return None
        in_use = np.count_nonzero(rated.fitting_devices & (pool.modes != 0), axis=0)
        broken = np.maximum(request.count - in_use, 0)
        rows &= broken == broken[rows].min()  # no score makes up for a whole device that is broken into
        keys: Ints = np.where(rows, self._current(rows), np.iinfo(np.int64).min)
        row = int(keys.argmax())
        own = [self._score(device) + (_WHOLE if device.holders else 0) for device in pool.devices[row]]
        slots, _ = rated.best_slots(row, own)
        return placement_on(pool, request, row, slots)

    def take(self, pod: PodFacts, allowed: Bools) -> Placement | None:
        """As ``find``, and the pod holds the place from here on, as the ledger sees it."""
        placement = self.find(pod, allowed)
        if placement is None:
            return None
        try:
            self._state.assume(pod, placement)
        except (NotHoldable, QuotaExceeded):  # a share in percent may count for more there than its namespace has
            return None
        return placement

    def _current(self, rows: Bools) -> Ints:
        """Scores of all rows, of which those of ``rows`` are right."""
        changed = self._pool.log.since(self._position)
        self._position = self._pool.log.mark()
        if changed is None or len(self._fullness) != self._pool.shape[1]:
            self._fullness = np.zeros(self._pool.shape[1], np.int64)
            self._known = np.zeros(self._pool.shape[1], np.bool_)
        else:
            self._known[list(changed)] = False
        for row in np.flatnonzero(rows & ~self._known).tolist():
            self._fullness[row] = self._mean(self._pool.devices[row])
        self._known |= rows
        return self._fullness

    def _mean(self, devices: list[Device]) -> int:
        return sum(map(self._score, devices)) // len(devices) if devices else 0

    def _score(self, device: Device) -> int:
        size = device.compute, device.vram
        scale = self._scales.get(size)
        if scale is None:
            scale = self._scales[size] = scale_of(_COMPACT, compute=size[0], vram=size[1])
        return scores(_COMPACT, scale, compute_held=device.compute_held, vram_held=device.vram_held)[1]
