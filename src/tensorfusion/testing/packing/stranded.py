"""Why what is free cannot be used: free devices by the cause that keeps the workload from them.

Each request of the workload is asked of each machine as it stands. What is free there counts as *usable* on devices
with room for it, as *devices* where the rest of a device is too small or such devices are too few, as *CPU* where CPU
or memory has run out, and as *both*. The mean over the workload's requests for devices is the answer.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from tensorfusion.testing.packing.world import Request, World


class Cause(StrEnum):
    """Why free devices are of no use; ``USABLE`` is what is left."""

    USABLE = "usable"
    DEVICES = "devices too full"
    CPU = "CPU or memory used up"
    BOTH = "both"


def stranded(world: World, workload: Sequence[Request]) -> dict[Cause, float]:
    """Percent of all devices that are free, by cause; they add up to what is free."""
    kinds = sorted(Counter(one for one in workload if one.gpus).items(), key=lambda item: repr(item[0]))
    sums, asked = dict.fromkeys(Cause, 0), 0
    free = world.devices.sum(axis=1)
    for request, count in kinds:
        asked += count
        fits = world.devices >= request.milli
        enough = np.count_nonzero(fits, axis=1) >= request.gpus
        beside = (world.cpu >= request.cpu) & (world.memory >= request.memory)
        usable = int((world.devices * fits).sum(axis=1)[enough & beside].sum())
        sums[Cause.USABLE] += count * usable
        sums[Cause.DEVICES] += count * (int(free[beside].sum()) - usable)
        sums[Cause.CPU] += count * int(free[enough & ~beside].sum())
        sums[Cause.BOTH] += count * int(free[~enough & ~beside].sum())
    return {cause: 100 * amount / (asked * world.total) for cause, amount in sums.items()}
