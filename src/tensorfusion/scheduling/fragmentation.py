"""What the free part of a node is worth to the pods that are likely to come: a look further ahead than one pod.

The value V of what is free on a node is how many milli-GPU of it pods drawn from the mix of arrivals would come to
fill: a stream of them is offered to that node alone, each is placed if it fits (on the devices that it leaves least of)
and skipped if not; V is the mean over some streams. A placement is worth what it hands out, less what V falls by: a
shared pod that spoils a device for all others costs much, one that fills up a device costs nothing.

Rejected: measures of the next pod alone (FGD) do not see that two pods of the leftovers would not fit together;
CPU-only pods in the streams, and streams as short as the node has devices, hand out less.

States have shape (S, 2 + G), int64: free milli-CPU, free MiB, and the free milli of G devices in any order.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.arrivals import Mix, Size
from tensorfusion.scheduling.rollout import COMPILED, worth

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

NEVER = int(np.iinfo(np.int64).min) // 4
"""The gain of a placement that is not possible: far below any other."""

_WORD = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class LookAhead:
    """The parameters of fragmentation-aware placement, together since they were tuned together (on openb)."""

    streams: int = 16
    length: int = 50
    """Pods in each stream."""
    grain: int = 10
    """Milli-GPU that make one point; what is closer than that is a tie."""
    rank: int = 2000
    """Milli-GPU that a small pod would rather waste than open the last whole node instead of the first."""
    growth_percent: int = 125
    """The streams are drawn again when the arrivals have grown to so much of what they were."""
    classes: int = 4096
    most_percent: int = 25
    """Bounds of the learned mix: see ``arrivals``."""
    states: int = 200_000
    """Values that are kept, of about 250 bytes each."""


class Outlook:
    """V for one mix.

    Without the compiled kernel values are kept by state, at most ``limit`` of them; when they would be more, all are
    dropped. With it a value is computed faster than it is found.
    """

    def __init__(self, streams: list[list[Size]], *, limit: int) -> None:
        """``streams`` are all of one length; every pod of them wants a device."""
        self.streams = len(streams)
        columns = np.array([[(s.cpu, s.memory, s.gpus, s.milli) for s in stream] for stream in streams], np.int64)
        self._pods: Ints = columns.reshape(len(streams), -1, 4)
        self._limit = limit
        self._known: dict[bytes, int] = {}

    def total(self, states: Ints) -> Ints:
        """The sum of V over the streams - ``streams`` times the mean, a whole number. Shape (S,)."""
        return worth(self._pods, states) if COMPILED else self._remembered(states)

    def _remembered(self, states: Ints) -> Ints:
        rows = np.concatenate([states[:, :2], np.sort(states[:, 2:], axis=1)], axis=1)
        text, width = rows.tobytes(), rows.shape[1] * rows.itemsize
        keys = [text[start : start + width] for start in range(0, len(text), width)]
        missing = {key: row for row, key in enumerate(keys) if key not in self._known}
        if len(self._known) + len(missing) > self._limit:
            self._known.clear()
            missing = {key: row for row, key in enumerate(keys)}
        found = dict(zip(missing, worth(self._pods, rows[list(missing.values())]).tolist(), strict=True))
        if len(found) <= self._limit:
            self._known |= found
            found = self._known
        return np.array([found[key] for key in keys], np.int64)


def draw(mix: Mix, *, streams: int, length: int) -> list[list[Size]]:
    """Streams of pods with devices, drawn from the mix; always the same ones from the same mix.

    They are empty as long as nothing with devices has arrived.
    """
    sizes = [(size, weight) for size, weight in zip(mix.sizes, mix.weights, strict=True) if size.demand]
    if not sizes:
        return [[] for _ in range(streams)]
    ends = list(accumulate(weight for _, weight in sizes))
    found: list[list[Size]] = []
    state = 0
    for _ in range(streams):
        stream: list[Size] = []
        for _ in range(length):
            state = (state + 0x9E3779B97F4A7C15) & _WORD
            stream.append(sizes[bisect_right(ends, _mixed(state) * ends[-1] >> 64)][0])
        found.append(stream)
    return found


def pick(gains: Ints, ranks: Ints, allowed: Bools, *, streams: int, grain: int) -> tuple[int, bool]:
    """The best of the allowed nodes - there is one -, and whether the pod goes on a device of it that is in use.

    ``gains`` has shape (N, 2): what the best placement on devices in use wins in all streams, and what that on
    untouched devices wins (``NEVER`` where there is none). Pods that are no part of one device have only the second.
    ``ranks`` says how unwillingly a node is opened, in milli-GPU; shapes (N,).

    The best hole is compared with the best node to open as if there were no ranks: they say which node to open, and
    would else press pods into holes where they waste more than the order is worth. Ties go to holes, then to the first
    node.
    """
    holes = points(np.where(allowed, gains[:, 0], NEVER), streams=streams, grain=grain)
    opens = points(np.where(allowed, gains[:, 1] - streams * ranks, NEVER), streams=streams, grain=grain)
    hole, new = int(holes.argmax()), int(opens.argmax())
    plain = points(gains[[new], 1], streams=streams, grain=grain)[0] if allowed[new] else NEVER
    return (hole, True) if allowed[hole] and gains[hole, 0] > NEVER and holes[hole] >= plain else (new, False)


def points(gain: Ints, *, streams: int, grain: int) -> Ints:
    """A sum over streams as whole points of ``grain`` milli-GPU, half a point rounded up."""
    unit = streams * grain
    return (2 * gain + unit) // (2 * unit)


def _mixed(state: int) -> int:
    """Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA '14 (SplitMix64)."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _WORD
    return state ^ (state >> 31)
