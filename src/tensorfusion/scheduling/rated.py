"""What the columns say to one kind of pod: a code for every device and node, and a ranking key for every row.

Computed once, then corrected row by row: whoever keeps it (``classes``) has it catch up before it is used. What voids
it altogether: other columns (a pool or the nodes outgrew theirs), another policy of the pool, a shape that was
forgotten.
"""

from abc import ABC, abstractmethod
from typing import Final

import numpy as np

from tensorfusion.model.gpu_topology import Tier
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.changes import ChangeLog
from tensorfusion.scheduling.codes import FITS, LOWEST, NOT_ASKED, Bools, Codes, Ints, Rows, elements, lower
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.front import ASKED, Front, best_of
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.reasons import (
    DEVICE_ORDER,
    DEVICE_REASONS,
    NODE_ORDER,
    NODE_REASONS,
    DeviceReason,
    NodeReason,
)
from tensorfusion.scheduling.row_kernel import Kernel, is_for_kernel
from tensorfusion.scheduling.score_parts import Parts, ScorePart
from tensorfusion.scheduling.search import device_codes, live_codes, node_code, plain_codes, pool_codes
from tensorfusion.scheduling.shapes import PREFERENCE, Shape
from tensorfusion.scheduling.tally import Tally
from tensorfusion.scheduling.topology import (
    TIER_KEY,
    UNKNOWN_PLAN,
    advice,
    asks_distances,
    least_damage,
    mask_of,
    tiers_of,
)
from tensorfusion.scheduling.wiring import Plan

FRONT_FROM: Final = 512
"""Rows from which it pays to know the best of them rather than to look at all."""
ONE_BY_ONE: Final = 40
"""Rows up to which plain comparisons are cheaper than column operations."""

_ABSENT, _COUNT = NODE_ORDER[NodeReason.ABSENT], DEVICE_ORDER[DeviceReason.COUNT]
_FAR_APART = NODE_ORDER[NodeReason.FAR_APART]
_UNKNOWN = int(Tier.UNKNOWN)
_FIRST = DEVICE_ORDER[DeviceReason.POOL] + 1
"""The code before it means a slot without a device here."""


class Rated(ABC):
    """What both kinds of classes are: a code and a ranking key for every row of some columns of nodes."""

    def __init__(self, nodes: NodeColumns, log: ChangeLog, pod: PodFacts) -> None:
        self._nodes = nodes
        self._log = log
        self._pod = pod
        self._position = log.mark()
        self._shape: Shape = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
        codes = self._rate(None)
        self._tally = Tally(codes, NODE_REASONS)
        self.keys = self._rank(None)
        """Ranking key of each row, in units of preference; the lowest number where the pod does not fit."""
        self.keys[codes != FITS] = LOWEST
        self._single_keys = elements(self.keys)
        self._front: Front | None = None
        self.used_at = 0
        """When it was used last, counted in uses of all classes."""

    def catch_up(self) -> bool:
        """Look again at what changed since the last time; False where it is better to start anew."""
        changed = self._log.since(self._position)
        if changed is None or not self._shape.kept or 4 * len(changed) > len(self.keys):
            return False
        self._shape.used = True
        if changed:
            self._position = self._log.mark()
            self._look_again(changed)
        return True

    def _look_again(self, rows: list[int]) -> None:
        """Correct what is known of these rows."""
        if len(rows) > ONE_BY_ONE:
            self._correct(np.array(rows, np.intp))
        else:
            self._correct_each(rows)

    def _put(self, row: int, code: int, key: int) -> None:
        """The new code and key of a row."""
        self._tally.put_one(row, code)
        self._single_keys[row] = key
        if self._front is not None:
            self._front.put(row, key)

    def _correct(self, at: Rows) -> None:
        codes = self._rate(at)
        self._tally.put(at, codes)
        keys = self._rank(at)
        keys[codes != FITS] = LOWEST
        self.keys[at] = keys
        self._front = None

    @abstractmethod
    def _rate(self, at: Rows | None) -> Codes:
        """What the filters say of these rows or all; a new array."""

    @abstractmethod
    def _rank(self, at: Rows | None) -> Ints:
        """Ranking keys of these rows or all, whether the pod fits or not; a new array."""

    @abstractmethod
    def _correct_each(self, rows: list[int]) -> None:
        """Look at these few rows again, one by one."""

    @property
    def bytes(self) -> int:
        """Memory that keeping it takes."""
        return self._tally.codes.nbytes + self.keys.nbytes

    def best(self) -> list[tuple[int, int]]:
        """The best rows and their keys, best first: as many as a decision names; empty where the pod fits nowhere."""
        if len(self.keys) < FRONT_FROM:
            return best_of(self.keys, ASKED)
        found = self._front.best() if self._front is not None else None
        if found is None:
            self._front = Front(self.keys)
            found = self._front.best() or []
        return found

    def best_among(self, rows: Bools, extra: Ints | None, count: int = ASKED) -> list[tuple[int, int]]:
        """As ``best``, of these rows, which can take the pod, where ``extra`` is added to the keys."""
        keys = self.keys if extra is None else self.keys + extra
        return best_of(np.where(rows, keys, LOWEST), count)

    def kept(self) -> Bools | None:
        """The rows that are kept from the pod for others, whether it fits or not; None where there are none."""
        return None

    @property
    def preference(self) -> Ints | None:
        """What the pod's own rules add, by node row."""
        return self._shape.preference

    @property
    def feasible(self) -> int:
        """How many rows can take the pod."""
        return self._tally.fitting

    @property
    def rows(self) -> Bools:
        """The rows that can take the pod; a new array."""
        fits: Bools = self._tally.codes == FITS
        return fits

    @property
    def nodes_removed(self) -> tuple[tuple[NodeReason, int], ...]:
        """What each node filter removed, in their order."""
        return self._tally.removed


class PlainClass(Rated):
    """Pods without shares, over the node rows. Nodes that are not registered do not count."""

    def __init__(self, nodes: NodeColumns, pod: PodFacts) -> None:
        super().__init__(nodes, nodes.log, pod)

    def _rate(self, at: Rows | None) -> Codes:
        codes = plain_codes(self._nodes, self._pod, shape=self._shape, at=at)
        codes[codes == _ABSENT] = NOT_ASKED
        return codes

    def _rank(self, at: Rows | None) -> Ints:
        score, preference = self._nodes.plain_score, self._shape.preference
        keys = score.copy() if at is None else score[at]
        if preference is not None:
            keys += preference if at is None else preference[at]
        return keys

    def _correct_each(self, rows: list[int]) -> None:
        nodes, preference = self._nodes, self._shape.preference
        for row in rows:
            code, key = node_code(self._pod, nodes.rows[row], shape=self._shape), LOWEST
            if code == FITS:
                key = nodes.plain_score.item(row) + (0 if preference is None else preference.item(row))
            self._put(row, NOT_ASKED if code == _ABSENT else code, key)


class ShareClass(Rated):
    """Pods that ask for the same shares of one pool's devices, over the pool's rows.

    With ``room`` it is the answer of one moment: it must not be caught up.
    """

    def __init__(self, pool: PoolColumns, nodes: NodeColumns, pod: PodFacts, room: Room | None = None) -> None:
        if pod.request is None:
            raise ValueError(f"pod {pod.namespace}/{pod.name} asks for no share")
        self.pool = pool
        self._request: GpuRequest = pod.request
        pool.follow_wirings()
        self._rule = pod.topology_rule
        self._tiers = np.zeros(pool.shape[1], np.int64) if asks_distances(pool, pod.request, self._rule) else None
        """Of each row the tier of the best plan; None where nobody asks. 0 in rows with too few devices."""
        self._tier_key = self._key_of_a_tier() if self._rule.ranks_nodes else 0
        self._static = pool.static(pod.request)
        self._kernel: Kernel | None = None
        """Looks at rows again in the place of ``_correct_each`` and knows the best ones; None before it is needed."""
        self._for_kernel = self._tiers is None and is_for_kernel(pod, pod.request)
        self._devices = Tally(device_codes(pool, pod.request, room=room), DEVICE_REASONS, first=_FIRST)
        super().__init__(nodes, pool.log, pod)

    def _rate(self, at: Rows | None) -> Codes:
        devices = self._devices.codes
        if at is not None:
            devices = device_codes(self.pool, self._request, room=None, at=at)
            self._devices.put(at, devices)
        codes = pool_codes(self.pool, self._nodes, self._pod, shape=self._shape, devices=devices, at=at)
        if self._tiers is not None:
            tiers = tiers_of(self.pool, self._request, self._rule, devices, at)
            self._tiers[slice(None) if at is None else at] = tiers
            if self._rule.hard:
                lower(codes, self._rule_allows.take(tiers), _FAR_APART)
        return codes

    @property
    def _rule_allows(self) -> Bools:
        return np.array([self._rule.allows(tier) for tier in Tier], np.bool_)

    def _rank(self, at: Rows | None) -> Ints:
        pool = self.pool
        return self._with_rules((pool.node_score if at is None else pool.node_score[at]) * PREFERENCE, at)

    def _with_rules(self, keys: Ints, at: Rows | None) -> Ints:
        """Add what counts beside the placement mode to the keys of these rows; in place."""
        pool, preference = self.pool, self._shape.preference
        if preference is not None:
            keys += preference.take(pool.node_row if at is None else pool.node_row[at])
        if self._tiers is not None and self._tier_key:
            keys += (Tier.UNKNOWN - (self._tiers if at is None else self._tiers[at])) * self._tier_key
        return keys

    def _key_of_a_tier(self) -> int:
        """More than the whole span of the placement mode's points."""
        return TIER_KEY

    def _look_again(self, rows: list[int]) -> None:
        if self._kernel is not None:
            self._correct_each(rows)  # however many: the kernel is cheaper than columns
        else:
            super()._look_again(rows)

    def _correct_each(self, rows: list[int]) -> None:
        pool = self.pool
        if self._static.position != pool.facts_log.count:
            self._static = pool.static(self._request)
        kernel = self._kernel
        if (
            kernel is None
            or kernel.static is not self._static
            or kernel.preference is not self._shape.preference
            or pool.dynamic_devices
        ):
            kernel = self._take_kernel()
        if kernel is not None:
            kernel.rows.correct(rows)
            self._devices.told = self._tally.told = None
        else:
            self._correct_one_by_one(rows)

    def _take_kernel(self) -> Kernel | None:
        """The kernel, of the columns of now; None where it does not know all that counts."""
        self._kernel = self._front = None  # where there is a kernel it knows the best rows from here on
        if self._for_kernel and not self.pool.dynamic_devices:
            self._kernel = Kernel(
                self.pool,
                self._nodes,
                self._pod,
                shape=self._shape,
                static=self._static,
                devices=self._devices,
                tally=self._tally,
                keys=self.keys,
            )
        return self._kernel

    @property
    def answerer(self) -> Kernel | None:
        """Who knows all of a decision for which nothing else counts; None where that is asked part by part."""
        return None if self.pool.located else self._kernel

    def best(self) -> list[tuple[int, int]]:
        return super().best() if self._kernel is None else self._kernel.rows.best(ASKED)

    def _correct_one_by_one(self, rows: list[int]) -> None:
        pool, request, pod, shape = self.pool, self._request, self._pod, self._shape
        static, count, most = self._static, request.count, pool.facts.max_workers_per_node
        scores, preference = pool.node_scores, shape.preference
        tiers, rule = self._tiers, self._rule
        for row in rows:
            codes = static.of(row)
            live_codes(pool, request, pool.devices[row], codes)
            fitting = codes.count(FITS)
            if 0 < fitting < count:
                codes = [_COUNT if code == FITS else code for code in codes]
            changed = self._devices.put_slots(row, codes)
            if fitting < count:
                if changed:
                    self._put(row, NOT_ASKED, LOWEST)
                continue
            code, tier = node_code(pod, pool.records[row], shape=shape, most=most), _UNKNOWN
            if tiers is not None:
                tier = self._tier(row, codes)
                tiers[row] = tier
                if rule.hard and code > _FAR_APART and not rule.allows(tier):
                    code = _FAR_APART
            key = LOWEST
            if code == FITS:
                key = scores[row] * PREFERENCE
                if tiers is not None:
                    key += (_UNKNOWN - tier) * self._tier_key
                if preference is not None:
                    key += preference.item(pool.records[row].row)
            self._put(row, code, key)

    @property
    def bytes(self) -> int:
        """Memory that keeping it takes."""
        return super().bytes + self._devices.codes.nbytes + (0 if self._tiers is None else self._tiers.nbytes)

    @property
    def devices_removed(self) -> tuple[tuple[DeviceReason, int], ...]:
        """What each device filter removed of the pool's devices, in their order."""
        return self._devices.removed

    @property
    def fitting_devices(self) -> Bools:
        """The devices that can give the pod its share; a new array of shape (slots, rows)."""
        fits: Bools = self._devices.codes == FITS
        return fits

    def _tier(self, row: int, codes: list[int]) -> int:
        wired = self.pool.wired(row)
        return Tier.UNKNOWN if wired is None else wired.tier(mask_of(codes), self._request.count, self._rule.source)

    def base(self, row: int) -> int:
        """The placement mode's points of a row."""
        return self.pool.node_score.item(row)

    def parts(self, row: int) -> Parts:
        """What else is in a row's key for its devices' sake."""
        near = 0 if self._tiers is None else (Tier.UNKNOWN - self._tiers.item(row)) * self._tier_key
        return ((ScorePart.TOPOLOGY, near),) if near else ()

    def is_told_apart(self, row: int) -> bool:
        """Whether the placement mode's points of a row have parts of their own."""
        return False

    def hold_advice(self) -> tuple[str, ...]:
        """What would help where nodes are kept for others."""
        return ()

    @property
    def advice(self) -> tuple[str, ...]:
        """What would help where devices are too far apart for a hard rule."""
        far = self._tally.codes == _FAR_APART
        if self._tiers is None or not far.any():
            return ()
        return (advice(self._rule, self._request.count, int(self._tiers[far].min())),)

    def best_slots(self, row: int, own: list[int]) -> tuple[list[int], Plan | None]:
        """As many fitting devices of the row as are asked for, and how near they are to each other, if that is asked.

        The nearest ones; a single one where the fewest others are near it; then highest ``own`` score first, ties to
        the lower index.
        """
        codes = self._devices.slots(row)
        slots = [slot for slot, code in enumerate(codes) if code == FITS]
        count, rule, wired = self._request.count, self._rule, self.pool.wired(row)
        if self._tiers is not None and wired is not None:
            plan = wired.plan(mask_of(codes), count, rule.source)
            return plan.slots(own), plan
        if len(slots) > 1:
            slots.sort(key=own.__getitem__, reverse=True)
            if wired is not None and count == 1 and rule.enabled and rule.least_damage:
                slots[0] = least_damage(wired, slots, mask_of(codes), rule.source)
        return slots[:count], None if self._tiers is None else UNKNOWN_PLAN

    chosen = best_slots
    """The slots that the pool's placement mode takes of the best row, which ``best`` or ``best_among`` just found."""
