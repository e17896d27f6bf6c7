"""A circuit breaker: a target that keeps failing is left alone for a while, then asked once to see.

Closed until ``CONSECUTIVE`` failures in a row, or more than half of at least ``ENOUGH`` attempts within ``WINDOW``
failed. Then open: nobody is sent there until the cooldown is over, which doubles each time the target is found still
unwell. Then half-open: one attempt, the probe, may go. Its failure opens the circuit again; a success, of the probe or
of any attempt that began earlier, closes it and forgets everything.

A probe may never report: its client left, or its stream goes on for minutes. It holds its place for as long as one
cooldown and no longer, so it cannot keep a target shut. What an attempt that began before the circuit opened fails with
says nothing new, so it is not counted.

Nor is a failure one of those in a row that began before an attempt that succeeded: where one request in a hundred
stalls for seconds, those of a while end one after the other once the others have ended, and the target has been well
since.

Attempts are counted by whole seconds of the clock, so the window is between 29 and 30 s long.

Source: the platform's contract, timers, retries, failover.
"""

import math
from collections import deque

from tensorfusion.model.llm_route import Circuit

CONSECUTIVE = 5
ENOUGH = 20
WINDOW = 30
FIRST_COOLDOWN = 5.0
LONGEST_COOLDOWN = 60.0


class Breaker:
    """The circuit of one target. Times are seconds of one clock that never goes back."""

    __slots__ = (
        "_consecutive",
        "_cooldown",
        "_failed",
        "_probe_until",
        "_seconds",
        "_total",
        "_until",
        "_well_at",
        "closed",
    )

    def __init__(self) -> None:
        self.closed = True
        self._consecutive = 0
        self._cooldown = FIRST_COOLDOWN
        self._until = 0.0
        self._probe_until = 0.0
        self._well_at = -math.inf
        """When the latest attempt began of those that succeeded."""
        # The window: [second, attempts, failures] of each second with any, and their sums.
        self._seconds: deque[list[int]] = deque()
        self._total = 0
        self._failed = 0

    def circuit(self, now: float) -> Circuit:
        if self.closed:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if now >= self._until else Circuit.OPEN

    def allows(self, now: float) -> bool:
        """Whether an attempt may begin."""
        return self.closed or (now >= self._until and now >= self._probe_until)

    def allowed_at(self, now: float) -> float:
        """When an attempt may begin, if nothing happens until then."""
        return now if self.closed else max(now, self._until, self._probe_until)

    @property
    def spotless(self) -> bool:
        """Closed, and the latest attempt did not fail."""
        return self.closed and not self._consecutive

    def began(self, now: float) -> bool:
        """An attempt begins. True if it is the probe: hand that back with how it ended."""
        if self.closed or now < self._until:
            return False
        self._probe_until = now + self._cooldown
        return True

    def succeeded(self, now: float, *, began: float = -math.inf) -> None:
        """An attempt that ``began`` then brought a whole answer."""
        self._consecutive = 0
        if began > self._well_at:
            self._well_at = began
        if self.closed:
            self._count(now, failed=0)
            return
        self.closed = True
        self._cooldown = FIRST_COOLDOWN
        self._until = self._probe_until = 0.0
        self._seconds.clear()
        self._total = self._failed = 0

    def failed(self, now: float, *, began: float = math.inf, probe: bool = False) -> None:
        """An attempt that ``began`` then failed, and the target is to blame."""
        if not self.closed:
            if probe and now >= self._until:
                self._cooldown = min(2 * self._cooldown, LONGEST_COOLDOWN)
                self._open(now)
            return
        self._consecutive += began >= self._well_at
        self._count(now, failed=1)
        if self._consecutive >= CONSECUTIVE or (self._total >= ENOUGH and 2 * self._failed > self._total):
            self._open(now)

    def undecided(self, *, probe: bool = False) -> None:
        """An attempt ended and says nothing about the target: another probe may go at once."""
        if probe and not self.closed:
            self._probe_until = 0.0

    def due(self, now: float) -> None:
        """Somebody found the target well: no need to wait until the cooldown is over, nor for a probe that it may never
        have seen."""
        self._until = min(self._until, now)
        self._probe_until = min(self._probe_until, now)

    def rates(self, now: float) -> tuple[int, int]:
        """Attempts within the window, and how many of them failed."""
        self._forget(now)
        return self._total, self._failed

    def _open(self, now: float) -> None:
        self.closed = False
        self._until = now + self._cooldown
        self._probe_until = 0.0

    def _count(self, now: float, *, failed: int) -> None:
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._forget(now)  # what is too old goes when a second begins
            self._seconds.append([second, 0, 0])
        latest = self._seconds[-1]
        latest[1] += 1
        latest[2] += failed
        self._total += 1
        self._failed += failed

    def _forget(self, now: float) -> None:
        oldest = int(now) - WINDOW
        while self._seconds and self._seconds[0][0] <= oldest:
            _, total, failed = self._seconds.popleft()
            self._total -= total
            self._failed -= failed
