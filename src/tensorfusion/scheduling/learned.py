"""What one pool has learned of its arrivals, and how it forgets.

Every pod with shares counts once, when it is first seen, whether it gets a place or not. What is old counts for less:
all counts are halved every ``HALF_LIFE`` of time, so that nothing is kept ready for jobs that no longer come, and those
of one tenant when its own arrivals have come to ``MOST``, so that its last ones show. No tenant's arrivals make another
one forgotten. Time is told by whoever knows it: by the pods (when they were created) and, where none come, by a clock.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tensorfusion.scheduling.arrivals import ARRIVAL, Arrivals, Part
from tensorfusion.scheduling.asked import Asked
from tensorfusion.scheduling.fragmentation import LookAhead

MOST: Final = 1 << 16
"""Arrivals of one tenant from which all of them count for half."""
HALF_LIFE: Final = 24 * 3600
"""Seconds after which what has arrived counts for half.

As short as that since nodes are kept by it, for a batch that may never come again. A tenant is known for eight of them
after its last pod, so that one that comes weekly is.
"""
_HALVINGS: Final = 64
"""Nothing that is known outlives so many."""


class Learned:
    """The arrivals of one pool, and the mix that decisions go by.

    The mix is taken anew when the arrivals have grown by a quarter, so that who asks in between changes nothing.
    """

    def __init__(self, parameters: LookAhead | None = None) -> None:
        known = parameters or LookAhead()
        self._growth = known.growth_percent - 100
        self._arrivals: Arrivals[Asked] = Arrivals(classes=known.classes, most_percent=known.most_percent)
        self.arrived = 0
        """Arrivals that were ever counted here; it never falls."""
        self._due = 1
        """As many of them as make another mix."""
        self.mix: Sequence[Part[Asked]] = ()
        """By tenant what was asked for, ascending, and how much each weighs."""
        self.version = 0
        """Of the mix."""
        self.halved_at = 0
        """Unix seconds of the last halving by time, or of the first arrival; 0 before that."""
        self.until = 0
        """When the youngest pod that was counted was created, in Unix seconds."""

    def add(self, asked: Asked, tenant: str, *, created: int) -> None:
        """A pod that was created then (Unix seconds; 0 where nobody knows) is seen for the first time."""
        if created:
            self.age(created)
            self.until = max(self.until, created)
        self._arrivals.add(asked, tenant)
        self.arrived += 1
        if self._arrivals.total(tenant) >= MOST * ARRIVAL:
            self._arrivals.halve_tenant(tenant)
            self._take()
        elif self.arrived >= self._due:
            self._take()

    def age(self, now: int) -> None:
        """It is that late, in Unix seconds."""
        if not self.halved_at:
            self.halved_at = now
        due = (now - self.halved_at) // HALF_LIFE
        if due > 0:
            self.halved_at += due * HALF_LIFE
            for _ in range(min(due, _HALVINGS)):
                self._halve()

    @property
    def count(self) -> int:
        """Arrivals, the older ones counted by what is left of them."""
        return self._arrivals.count

    def counts(self) -> dict[str, dict[Asked, int]]:
        """All that is known, by tenant; with the four numbers that ``restore`` takes beside it, enough for that."""
        return self._arrivals.counts()

    @property
    def idle(self) -> dict[str, int]:
        """By tenant how often all was halved since it sent anything; 0 is left out."""
        return self._arrivals.idle

    def restore(
        self,
        counts: Mapping[str, Mapping[Asked, int]],
        *,
        count: int,
        until: int,
        halved_at: int,
        idle: Mapping[str, int],
    ) -> None:
        """Know what was known elsewhere, in the place of what was known here."""
        self._arrivals.restore(counts, count=count, idle=idle)
        self.until, self.halved_at = until, halved_at
        self._take()

    def decide_by(self, mix: Sequence[Part[Asked]]) -> None:
        """Decisions go by the mix of another one, which is not changed, until enough has been added here."""
        self.mix = mix
        self.version += 1

    def _halve(self) -> None:
        self._arrivals.halve()
        self._take()

    def _take(self) -> None:
        self.mix = self._arrivals.weights()
        self._due = self.arrived + max(1, min(self.count, MOST) * self._growth // 100)
        self.version += 1
