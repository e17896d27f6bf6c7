"""Adds up over time what devices do: how many there are, are idle, what is taken of them, and what they cost.

All sums are whole numbers, so that they are the same in whatever order things happen.
"""

from collections.abc import Iterable, Mapping

from tensorfusion.model.common import UsedBy
from tensorfusion.scheduling.state import State

WHOLE = 1000
_HOUR = 3_600_000


class Meter:
    """Sums over milliseconds. ``prices`` are millionths of a dollar an hour by model."""

    def __init__(self, state: State, prices: Mapping[str, int], *, start: int) -> None:
        self._devices = state.fleet.devices
        self._prices = prices
        self._seen: dict[str, tuple[bool, int, int]] = {}
        """Of each device that is there: whether somebody holds of it, thousandths taken, price."""
        self._now = start
        self._idle = self._taken = self._rate = 0
        self.device_time = self.idle_time = self.taken_time = self.cost_time = 0
        self.unpriced: set[str] = set()
        """Models that were there and have no price."""

    def advance(self, now: int) -> None:
        """Time goes on, and everything stayed as it is until ``now``."""
        past = now - self._now
        self._now = now
        self.device_time += past * len(self._seen)
        self.idle_time += past * self._idle
        self.taken_time += past * self._taken
        self.cost_time += past * self._rate

    def note(self, names: Iterable[str]) -> None:
        """These devices may have changed."""
        for name in names:
            old = self._seen.pop(name, None)
            if old is not None:
                self._count(old, -1)
            device = self._devices.get(name)
            if device is None or device.facts is None or device.facts.used_by not in ("", UsedBy.TENSOR_FUSION):
                continue
            price = self._prices.get(device.facts.model, 0)
            if not price:
                self.unpriced.add(device.facts.model)
            taken = max(_part(device.compute_held, device.compute), _part(device.vram_held, device.vram))
            new = self._seen[name] = (not device.holders, min(WHOLE, taken), price)
            self._count(new, 1)

    def _count(self, one: tuple[bool, int, int], sign: int) -> None:
        self._idle += sign * one[0]
        self._taken += sign * one[1]
        self._rate += sign * one[2]

    @property
    def micro_usd(self) -> int:
        """What the devices cost so far, whether they did anything or not."""
        return self.cost_time // _HOUR

    @property
    def device_hours(self) -> float:
        return self.device_time / _HOUR


def _part(held: int, capacity: int) -> int:
    return WHOLE * held // capacity if capacity else 0
