"""Pods that ask for the same shares of a pool that places by what is likely to come (``FragmentationAware``).

A placement is worth what it hands out, less what the worth of its node falls by (``fragmentation``), in points of 10
milli-GPU. Two numbers a row instead of one: the best of the devices that are in use (a *hole* to fill), and the best of
the untouched ones, less the reluctance to open that node (``whole_nodes``). Over all rows the best hole and the best
untouched device are found apart, and then compared by what they are worth alone: the order in which nodes are opened
decides which one is, not whether one is.

A row is only looked ahead for when it could be among the best: until then its key is a bound, by what would be filled
if all that the pod leaves of it were, or all that the streams ask for.

Pods of several devices, and pods that fit into no hole, take the best untouched place. Whole nodes that are kept
for whole-node jobs are out of the question for all others (``kept``); that changes with every such job, so it is no
part of the codes that are kept.

Of several devices those with least left go first, where they need not be near each other; a single one is chosen by
worth, and among equals where the fewest others are near it.
"""

from typing import Final, Self

import numpy as np

from tensorfusion.model.request import Isolation
from tensorfusion.scheduling.arrivals import WHOLE
from tensorfusion.scheduling.asked import MIB, asked_of
from tensorfusion.scheduling.codes import FITS, LOWEST, Bools, Ints, Rows
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.foresight import Foresight, Mark, thousandths
from tensorfusion.scheduling.fragmentation import NEVER, points
from tensorfusion.scheduling.front import ASKED
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns, rows_of
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.rated import Rated, ShareClass
from tensorfusion.scheduling.row_kernel import Kernel
from tensorfusion.scheduling.score_parts import Parts, ScorePart
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.topology import least_damage, mask_of
from tensorfusion.scheduling.wiring import Plan

TIER_POINTS: Final = 10_000
"""More than the whole span of the points on a node of up to 48 devices."""
FEW: Final = 16
"""Rows up to which it costs more to find devices that are alike than to ask them all."""
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
        self._reluctance: Ints = np.zeros(rows, np.int64)
        """What a gain over all streams is reduced by for opening each row."""
        self._hole_slots: Ints = np.zeros(rows, np.int64)
        self._open_slots: Ints = np.zeros(rows, np.int64)
        """Of each row, for a pod of one device, the slot that has them."""
        self._fills = False
        """The row that was found best last is so by a hole."""
        self._valued = np.ones(rows, np.bool_)
        """The rows whose keys are right. Those of the others are no less than theirs will be."""
        self._found: tuple[list[tuple[int, int]], bool] | None = None
        """What is best of all rows, and whether by a hole, where it is known."""
        self.rested_at: Mark | None = None
        """What its pool was like when ``rest`` left it up to date."""
        self._bound_all()

    def _key_of_a_tier(self) -> int:
        return TIER_POINTS * PREFERENCE

    def catch_up(self) -> bool:
        if not super().catch_up():
            return False
        if self._seen != self._foresight.version:
            self._bound_all()
        return True

    def rest(self) -> bool:
        """Find now what the next decision would have to; False where it is better to start anew.

        No use of it: what is forgotten next stays the same.
        """
        shape, used = self._shape, self._shape.used
        current = self.catch_up()
        shape.used = used
        if current:
            kept = self.kept()
            if kept is None:
                self.best()
            else:
                self.best_among(self.rows & ~kept, None)
        return current

    def anew(self) -> Self | None:
        """The same by the columns as they are now; None where they have grown, or its rules for nodes are forgotten."""
        if not self._shape.kept or len(self.keys) != self.pool.shape[1]:
            return None
        return type(self)(self.pool, self._nodes, self._pod, self._foresight)

    _look_again = Rated._look_again  # with the kernel too: of many rows bounds are enough

    @property
    def answerer(self) -> Kernel | None:
        return None

    def _correct(self, at: Rows) -> None:
        super()._correct(at)
        self._bound(at)

    def _correct_each(self, rows: list[int]) -> None:
        super()._correct_each(rows)
        at = self._begin(np.array(rows, np.intp))
        if len(at):
            self._value(at)  # a bound of few rows costs as much

    def _bound_all(self) -> None:
        foresight, asked = self._foresight, self._asked
        self._seen = foresight.version
        self._whole = foresight.is_whole_job(asked)
        every = np.arange(len(self.keys))
        rank = np.where(foresight.of_kinds(self._whole, every), 0, foresight.rank)
        self._reluctance = foresight.parameters.streams * rank
        self._bound(every)

    def _begin(self, at: Rows) -> Rows:
        """Forget what is known of these rows; answers those of them that can take the pod."""
        self._found = None
        if self._seen != self._foresight.version:
            return at[:0]  # all rows are due
        self._holes[at] = self._opens[at] = LOWEST
        self._valued[at] = True
        at = at[self.keys[at] != LOWEST]
        self.keys[at] = self._rank(at)
        return at

    def _bound(self, at: Rows) -> None:
        """The most that these rows could have."""
        at = self._begin(at)
        if not len(at):
            return
        self._valued[at] = False
        foresight, streams = self._foresight, self._foresight.parameters.streams
        part, left = self._shares(at)
        free, fits = foresight.devices[at], (self._devices.codes[:, at] == FITS).T
        in_all, worth, less = free.sum(axis=1), foresight.worth[at], free - left

        def most(taken: Ints, given: Ints) -> Ints:
            return foresight.most(at, in_all - taken) - worth + streams * given

        if self._request.count > 1:
            chosen = self._tightest(fits, free)
            self._put_keys(at, most(*(np.take_along_axis(each, chosen, axis=1).sum(axis=1) for each in (less, part))))
            return
        gains = []
        for sort in (fits & (free == WHOLE), fits & (free < WHOLE)):
            gain = most(np.where(sort, less, WHOLE).min(axis=1), np.where(sort, part, 0).max(axis=1))
            gains.append(np.where(sort.any(axis=1), gain, NEVER))
        self._put_keys(at, *gains)

    def _value(self, at: Rows) -> None:
        """What these rows, which can take the pod, are worth."""
        self._valued[at] = True
        if self._request.count > 1:
            self._put_keys(at, self._several(at))
            return
        gains, free = self._each(at), self._foresight.devices[at]
        used = free < WHOLE
        self._hole_slots[at], holes = _first_best(np.where(used, gains, NEVER), free)
        self._open_slots[at], opens = _first_best(np.where(used, NEVER, gains), free)
        self._put_keys(at, opens, holes)

    def _put_keys(self, at: Rows, opens: Ints, holes: Ints | None = None) -> None:
        """The keys of these rows by what a placement gains over all streams; ``NEVER`` where there is none."""
        known = self._foresight.parameters
        of_opens = opens - self._reluctance[at], opens
        gains = np.stack(of_opens if holes is None else (*of_opens, holes))
        worth = points(gains, streams=known.streams, grain=known.grain) * PREFERENCE + self.keys[at]
        worth[gains < NEVER // 2] = LOWEST
        self._opens[at], self._worths[at] = worth[:2]
        if holes is not None:
            self._holes[at] = worth[2]

    def _each(self, at: Rows) -> Ints:
        """What each device of these rows would win over all streams; ``NEVER`` where it does not fit.

        Of many rows only the first of devices that are alike is asked. Shape (len(at), slots).
        """
        part, left = self._shares(at)
        fits = asked = (self._devices.codes[:, at] == FITS).T
        if len(at) > FEW:
            asked = fits & ~_again(fits, self._foresight.devices[at], left, part)
        row, slot = np.nonzero(asked)
        states = self._states_without(at)[row]
        states[np.arange(len(row)), 2 + slot] = left[row, slot]
        gains = np.full(fits.shape, NEVER, np.int64)
        gains[row, slot] = self._gain(at[row], states, part[row, slot])
        return gains

    def _several(self, at: Rows) -> Ints:
        """The same of the one choice of several devices: those with least left. Shape (len(at),)."""
        part, left = self._shares(at)
        chosen = self._tightest((self._devices.codes[:, at] == FITS).T, self._foresight.devices[at])
        states = self._states_without(at)
        np.put_along_axis(states[:, 2:], chosen, np.take_along_axis(left, chosen, axis=1), axis=1)
        return self._gain(at, states, np.take_along_axis(part, chosen, axis=1).sum(axis=1))

    def _tightest(self, fits: Bools, free: Ints) -> Rows:
        """As many slots as the pod asks for, those with least free. Shape (R, count)."""
        return np.where(fits, free, WHOLE + 1).argsort(axis=1, kind="stable")[:, : self._request.count]

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
        """Milli of each device that a share takes (rounded up), and what it leaves. Shape (len(at), slots), both.

        Right where the share fits.
        """
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
        left = thousandths(
            rows_of(pool.compute_free, at) - compute, rows_of(pool.vram_free, at) - vram, of_compute, of_vram
        )
        of_compute, of_vram = np.maximum(of_compute, 1), np.maximum(of_vram, 1)
        part: Ints = np.maximum(-(-WHOLE * compute // of_compute), -(-WHOLE * vram // of_vram))
        return part.T, left.T

    @property
    def bytes(self) -> int:
        return super().bytes + 6 * self._holes.nbytes + self._valued.nbytes

    # --- what is best ---

    def _rank(self, at: Rows | None) -> Ints:
        return self._with_rules(np.zeros(len(self.pool.node_row) if at is None else len(at), np.int64), at)

    def kept(self) -> Bools | None:
        return self._foresight.kept(self._whole)

    def best(self) -> list[tuple[int, int]]:
        if self._found is None:
            self._found = self._best(None, None, ASKED), self._fills
        found, self._fills = self._found
        return found

    def best_among(self, rows: Bools, extra: Ints | None, count: int = ASKED) -> list[tuple[int, int]]:
        return self._best(rows, extra, count)

    def _best(self, rows: Bools | None, extra: Ints | None, count: int) -> list[tuple[int, int]]:
        holes, opens = (self._ranked(keys, rows, extra, count) for keys in (self._holes, self._opens))
        self._fills = bool(holes)
        if holes and opens:
            place = opens[0][0]
            self._fills = holes[0][1] >= self._worths.item(place) + (0 if extra is None else int(extra[place]))
        first, second = (holes, opens) if self._fills else (opens, holes)
        known = {row for row, _ in first}
        return (first + [entry for entry in second if entry[0] not in known])[:count]

    def _ranked(self, own: Ints, rows: Bools | None, extra: Ints | None, count: int) -> list[tuple[int, int]]:
        """The best of these rows by one of the columns: rows that could be it are valued, the others are not."""
        keys, found, chunk = own, list[tuple[int, int]](), FEW
        if rows is not None:
            keys = np.where(rows & (own != LOWEST), own if extra is None else own + extra, LOWEST)
        while len(found) < count:
            row = int(keys.argmax())
            key = keys.item(row)
            if key == LOWEST:
                break
            if self._valued[row]:
                found.append((row, key))
                keys[row] = LOWEST
                continue
            at = self._likeliest(keys, chunk)
            self._value(at)
            chunk *= 2
            if rows is not None:
                keys[at] = np.where(own[at] != LOWEST, own[at] if extra is None else own[at] + extra[at], LOWEST)
        if rows is None:
            for row, key in found:
                keys[row] = key
        return found

    def _likeliest(self, keys: Ints, count: int) -> Rows:
        """The rows that are not valued yet with the highest keys; of equal ones the lower rows."""
        at = np.flatnonzero(~self._valued & (keys != LOWEST))
        if len(at) <= count:
            return at
        here = keys[at]
        least = np.partition(here, -count)[-count]
        above = at[here > least]
        return np.concatenate([above, at[here == least][: count - len(above)]])

    def chosen(self, row: int, own: list[int]) -> tuple[list[int], Plan | None]:
        if self._request.count > 1:
            return self.best_slots(row, (WHOLE - self._foresight.devices[row]).tolist())
        wired, rule = self.pool.wired(row), self._rule
        if wired is None or not rule.enabled or not rule.least_damage:
            return [(self._hole_slots if self._fills else self._open_slots).item(row)], None
        gains, free = self._each(np.array([row], np.intp))[0], self._foresight.devices[row]
        of_sort = (free < WHOLE) == self._fills
        best = of_sort & (gains == gains[of_sort].max())
        slots: list[int] = np.flatnonzero(best & (free == free[best].min())).tolist()
        return [least_damage(wired, slots, mask_of(self._devices.codes[:, row].tolist()), rule.source)], None

    def is_told_apart(self, row: int) -> bool:
        return not self._by_hole(row) and self._opens.item(row) != self._worths.item(row)

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


def _first_best(gains: Ints, free: Ints) -> tuple[Ints, Ints]:
    """Of each row the slot with the highest gain, of these the one with least free, and the gain. Shape (R,), both."""
    most = gains.max(axis=1)
    return np.where(gains == most[:, None], free, WHOLE + 1).argmin(axis=1), most


def _again(fits: Bools, *columns: Ints) -> Bools:
    """Devices that are like an earlier one of their row, which fits, too: the same choice. Shape (R, S)."""
    same: Bools = fits[:, :, None] & fits[:, None, :]
    for column in columns:
        same &= np.equal(column[:, :, None], column[:, None, :])
    found: Bools = np.asarray((same & np.tri(fits.shape[1], k=-1, dtype=np.bool_)).any(axis=2))
    return found
