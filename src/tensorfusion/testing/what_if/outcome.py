"""What came of one run: who got a place and after how long, and what devices did meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """The pods of one size class. ``waits`` are milliseconds of those that got a place."""

    arrived: int = 0
    waits: list[int] = field(default_factory=list)
    gave_up: int = 0
    """They went away, or were taken away, without ever having had a place."""

    @property
    def placed(self) -> int:
        return len(self.waits)

    @property
    def never(self) -> int:
        return self.arrived - self.placed

    def quantile(self, share: float) -> int | None:
        """Nearest-rank quantile over all that arrived; None where it falls on one that never got a place."""
        return quantile(sorted(self.waits), share, self.arrived)


def quantile(ordered: Sequence[int], share: float, count: int) -> int | None:
    """Of ``count`` values of which these are the smallest, and the others larger than any."""
    if not count:
        return None
    rank = min(count - 1, max(0, -(-int(share * 1000) * count // 1000) - 1))
    return ordered[rank] if rank < len(ordered) else None


@dataclass(slots=True)
class Outcome:
    """One run. Device times are milliseconds summed over devices; ``taken_time`` is in thousandths of that."""

    sizes: dict[str, Waits] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)
    """Milliseconds that each pod waited for its first place, by uid."""
    evicted: int = 0
    """Evictions for more important pods."""
    displaced: int = 0
    """Pods that were running where there is no such node."""
    dropped: int = 0
    """Pods that are bound to a node that is not there, and went with it."""
    not_resized: int = 0
    """Changes of running pods for which there was no room."""
    seconds: float = 0.0
    device_time: int = 0
    idle_time: int = 0
    taken_time: int = 0
    micro_usd: int = 0
    unpriced: list[str] = field(default_factory=list)

    def of(self, size: str) -> Waits:
        return self.sizes.setdefault(size, Waits())

    @property
    def everybody(self) -> Waits:
        """All size classes together."""
        found = Waits()
        for one in self.sizes.values():
            found.arrived += one.arrived
            found.waits += one.waits
            found.gave_up += one.gave_up
        return found

    @property
    def devices(self) -> float:
        """Mean number of devices."""
        return self.device_time / 1000 / self.seconds if self.seconds else 0.0

    @property
    def idle(self) -> float:
        """Mean number of devices that nobody holds anything of."""
        return self.idle_time / 1000 / self.seconds if self.seconds else 0.0

    @property
    def idle_percent(self) -> float:
        return 100 * self.idle_time / self.device_time if self.device_time else 0.0

    @property
    def taken(self) -> float:
        """Mean number of devices that are taken, a share as its part: of compute or VRAM, whichever is more."""
        return self.taken_time / 1_000_000 / self.seconds if self.seconds else 0.0
