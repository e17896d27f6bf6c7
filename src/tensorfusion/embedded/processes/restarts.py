"""When a container is started again, and after how long. Pure.

Source: restartPolicy and "Container restarts" of the pod lifecycle: ten seconds, doubled each time up to five minutes,
and forgotten after ten minutes without trouble.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. Tests use shorter ones."""

    first: float = 10.0
    longest: float = 300.0
    forgotten_after: float = 600.0
    retry: float = 2.0
    """After a mistake in the configuration, a volume or an image was first reported."""


class BackOff:
    """How long the next start has to wait."""

    def __init__(self, timing: Timing, *, failures: int = 0) -> None:
        self._timing = timing
        self._failures = failures

    def next(self, *, ran_for: float = 0.0) -> float:
        """The pause before another start of something that ended after so many seconds. The first start is at once."""
        if ran_for >= self._timing.forgotten_after:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        return float(min(self._timing.first * 2 ** (self._failures - 2), self._timing.longest))


def starts_again(policy: str, *, exit_code: int) -> bool:
    """Whether a container that ended is started again."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)
