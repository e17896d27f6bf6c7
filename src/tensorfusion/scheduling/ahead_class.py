"""Pods that ask for the same shares of a pool that places by what is likely to come (``FragmentationAware``).

A placement is worth what it hands out, less what the worth of its node falls by (``fragmentation``), in points of 10
milli-GPU. Two numbers a row instead of one: the best of the devices that are in use (a *hole* to fill), and the best of
the untouched ones, less the reluctance to open that node (``whole_nodes``). Over all rows the best hole and the best
untouched device are found apart, and then compared by what they are worth alone: the order in which nodes are opened
decides which one is, not whether one is.

Pods of several devices, and pods that fit into no hole, take the best untouched place. Whole nodes that are kept
for whole-node jobs are out of the question for all others (``kept``); that changes with every such job, so it is no
part of the codes that are kept.

Of several devices those with least left go first, where they need not be near each other; a single one is chosen by
worth, and among equals where the fewest others are near it.
"""

from typing import Final

import numpy as np

from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.arrivals import WHOLE
from tensorfusion.scheduling.asked import MIB, asked_of
from tensorfusion.scheduling.codes import FITS, LOWEST, Bools, Ints, Rows
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.foresight import Foresight, thousandths
from tensorfusion.scheduling.fragmentation import NEVER, points
from tensorfusion.scheduling.front import ASKED, best_of
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns, rows_of
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.rated import ShareClass
from tensorfusion.scheduling.score_parts import Parts, ScorePart
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.topology import least_damage, mask_of
from tensorfusion.scheduling.wiring import Plan

TIER_POINTS: Final = 10_000
"""More than the whole span of the points on a node of up to 48 devices."""
_NONE: Final = -1


class AheadClass(ShareClass):
    """As its parent; ``keys`` hold what counts beside the points, and where the pod fits at all."""

    def __init__(
        self, pool: PoolColumns, nodes: NodeColumns, pod: PodFacts, foresight: Foresight, room: Room | None = None
    ) -> None:
        self._foresight = foresight
        self._seen = _NONE
        """The version of the foresight that the points are of."""
        super().__init__(pool, nodes, pod, room)
        self._asked = asked_of(pod, self._request)
        rows = len(self.keys)
        self._holes: Ints = np.full(rows, LOWEST, np.int64)
        self._opens: Ints = np.full(rows, LOWEST, np.int64)
        self._worths: Ints = np.zeros(rows, np.int64)
        """Of each row's best untouched place, its key without the reluctance to open the node."""
        self._whole: tuple[bool, ...] = ()
        """By kind, whether the pod is a whole-node job there."""
        self._fills = False
        """The row that was found best last is so by a hole."""
        self._value_all()

    looks_ahead = True

    def _key_of_a_tier(self) -> int:
        return TIER_POINTS * PREFERENCE

    def catch_up(self) -> bool:
        if not super().catch_up():
            return False
        if self._seen != self._foresight.version:
            self._value_all()
        return True

    def _correct(self, at: Rows) -> None:
        super()._correct(at)
        self._value(at)

    def _correct_each(self, rows: list[int]) -> None:
        super()._correct_each(rows)
        self._value(np.array(rows, np.intp))

    def _value_all(self) -> None:
        foresight, asked = self._foresight, self._asked
        self._seen = foresight.version
        self._whole = foresight.is_whole_job(asked)
        self._value(np.arange(len(self.keys)))

    def _value(self, at: Rows) -> None:
        """Points of these rows."""
        if self._seen != self._foresight.version:
            return  # all rows are due
        self._holes[at] = self._opens[at] = LOWEST
        at = at[self.keys[at] != LOWEST]
        if not len(at):
            return
        beside = self.keys[at] = self._rank(at)
        gains = self._several(at) if self._request.count > 1 else self._each(at)
        used = self._in_use(at, gains.shape[1])
        holes, opens = (np.where(one, gains, NEVER).max(axis=1) for one in (used, ~used))
        rank = np.where(self._foresight.of_kinds(self._whole, at), 0, self._foresight.rank[at])
        self._holes[at] = self._key(holes, holes, beside)
        self._opens[at] = self._key(opens, opens - self._foresight.parameters.streams * rank, beside)
        self._worths[at] = self._key(opens, opens, beside)

    def _key(self, gains: Ints, counted: Ints, beside: Ints) -> Ints:
        """Ranking keys of rows by what counts of their gains; the lowest number where there is no gain."""
        known = self._foresight.parameters
        worth = points(counted, streams=known.streams, grain=known.grain) * PREFERENCE
        return np.where(gains > NEVER, worth + beside, LOWEST)

    def _in_use(self, at: Rows, choices: int) -> Bools:
        """Which choices fill a hole; for several devices none does. Shape (len(at), choices)."""
        if self._request.count > 1:
            return np.zeros((len(at), choices), np.bool_)
        return self._foresight.devices[at] < WHOLE

    def _each(self, at: Rows, *, alike: bool = False) -> Ints:
        """What each device of these rows would win over all streams; ``NEVER`` where it does not fit.

        Of devices that are ``alike`` only the first one is asked, unless all are. Shape (len(at), slots).
        """
        part, left = self._shares(at)
        fits = (self._devices.codes[:, at] == FITS).T
        row, slot = np.nonzero(fits if alike else fits & ~_again(fits, self._foresight.devices[at], left, part))
        states = self._states_without(at)[row]
        states[np.arange(len(row)), 2 + slot] = left[row, slot]
        gains = np.full(fits.shape, NEVER, np.int64)
        gains[row, slot] = self._gain(at[row], states, part[row, slot])
        return gains

    def _several(self, at: Rows) -> Ints:
        """As ``_each``, of the one choice of several devices: those with least left. Shape (len(at), 1)."""
        part, left = self._shares(at)
        fits = (self._devices.codes[:, at] == FITS).T
        order = np.where(fits, self._foresight.devices[at], WHOLE + 1).argsort(axis=1, kind="stable")
        chosen = order[:, : self._request.count]
        states = self._states_without(at)
        np.put_along_axis(states[:, 2:], chosen, np.take_along_axis(left, chosen, axis=1), axis=1)
        return self._gain(at, states, np.take_along_axis(part, chosen, axis=1).sum(axis=1))[:, None]

    def _gain(self, rows: Rows, states: Ints, milli: Ints) -> Ints:
        """What leaving rows in these states wins over all streams where so many milli-GPU are handed out."""
        foresight = self._foresight
        return foresight.values(rows, states) - foresight.worth[rows] + foresight.parameters.streams * milli

    def _states_without(self, at: Rows) -> Ints:
        """The states of these rows once the pod has its CPU and memory."""
        states = self._foresight.states[at]
        states[:, 0] -= self._asked.cpu
        here = self._nodes.memory_free.take(self.pool.node_row[at])
        states[:, 1] = np.maximum(here - self._pod.memory, 0) // MIB
        return states

    def _shares(self, at: Rows) -> tuple[Ints, Ints]:
        """Milli of each device that a share takes (rounded up), and what it leaves. Shape (len(at), slots), both."""
        pool, request = self.pool, self._request
        of_compute, of_vram = rows_of(pool.compute, at), rows_of(pool.vram, at)
        compute: Ints | int
        vram: Ints | int
        if request.isolation is Isolation.SHARED:
            compute, vram = of_compute, of_vram
        elif request.isolation is Isolation.PARTITIONED:
            table, layout = pool.cuts.table(request), rows_of(pool.layout, at)
            compute, vram = table.compute[layout], table.vram[layout]
        else:
            compute, vram = request.compute or pool.cost(request.percent, at), request.vram
        part = np.zeros(of_compute.shape, np.int64)
        for amount, capacity in ((compute, of_compute), (vram, of_vram)):
            np.maximum(part, -(-WHOLE * amount // np.maximum(capacity, 1)), out=part)
        left = thousandths(
            rows_of(pool.compute_free, at) - compute, rows_of(pool.vram_free, at) - vram, of_compute, of_vram
        )
        return part.T, left.T

    @property
    def bytes(self) -> int:
        return super().bytes + self._holes.nbytes + self._opens.nbytes + self._worths.nbytes

    # --- what is best ---

    def _rank(self, at: Rows | None) -> Ints:
        return self._with_rules(np.zeros(len(self.pool.node_row) if at is None else len(at), np.int64), at)

    def kept(self) -> Bools | None:
        return self._foresight.kept(self._whole)

    def best(self) -> list[tuple[int, int]]:
        return self._best(self._holes, self._opens, None, ASKED)

    def best_among(self, rows: Bools, extra: Ints | None, count: int = ASKED) -> list[tuple[int, int]]:
        holes, opens = (
            np.where(rows & (keys != LOWEST), keys if extra is None else keys + extra, LOWEST)
            for keys in (self._holes, self._opens)
        )
        return self._best(holes, opens, extra, count)

    def _best(self, holes: Ints, opens: Ints, extra: Ints | None, count: int) -> list[tuple[int, int]]:
        hole, place = int(holes.argmax()), int(opens.argmax())
        filled, opened = holes.item(hole), opens.item(place)
        self._fills = filled != LOWEST
        if self._fills and opened != LOWEST:
            self._fills = filled >= self._worths.item(place) + (0 if extra is None else int(extra[place]))
        first, second = (holes, opens) if self._fills else (opens, holes)
        found = best_of(first, count)
        if len(found) < count:
            known = {row for row, _ in found}
            found += [(row, key) for row, key in best_of(second, count) if row not in known]
        return found[:count]

    def chosen(self, row: int, own: list[int]) -> tuple[list[int], Plan | None]:
        if self._request.count > 1:
            return self.best_slots(row, (WHOLE - self._foresight.devices[row]).tolist())
        gains = self._each(np.array([row], np.intp), alike=True)[0]
        free = self._foresight.devices[row]
        of_sort = (free < WHOLE) == self._fills
        most = gains[of_sort].max()
        best = of_sort & (gains == most)
        slots: list[int] = np.flatnonzero(best & (free == free[best].min())).tolist()
        wired, rule = self.pool.wired(row), self._rule
        if wired is not None and rule.enabled and rule.least_damage:
            return [least_damage(wired, slots, mask_of(self._devices.slots(row)), rule.source)], None
        return slots[:1], None

    def base(self, row: int) -> int:
        key = self._holes.item(row) if self._by_hole(row) else self._worths.item(row)
        return (key - self.keys.item(row)) // PREFERENCE

    def parts(self, row: int) -> Parts:
        reluctance = 0 if self._by_hole(row) else self._opens.item(row) - self._worths.item(row)
        return (*super().parts(row), *(((ScorePart.WHOLE_NODES, reluctance),) if reluctance else ()))

    def _by_hole(self, row: int) -> bool:
        """Whether a row stands in the order that ``best`` found for one of its holes."""
        has_hole, has_place = self._holes.item(row) != LOWEST, self._opens.item(row) != LOWEST
        return has_hole and (self._fills or not has_place)

    def hold_advice(self) -> tuple[str, ...]:
        holds = [
            hold for mine, hold in zip(self._whole, self._foresight.holds, strict=True) if hold.closed and not mine
        ]
        return tuple([hold.advice for hold in holds])


def _again(fits: Bools, *columns: Ints) -> Bools:
    """Devices that are like an earlier one of their row, which fits, too: the same choice. Shape (R, S)."""
    same: Bools = fits[:, :, None] & fits[:, None, :]
    for column in columns:
        same &= np.equal(column[:, :, None], column[:, None, :])
    found: Bools = np.asarray((same & np.tri(fits.shape[1], k=-1, dtype=np.bool_)).any(axis=2))
    return found
