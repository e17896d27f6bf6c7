"""What came of one run, and of several: the figures that protocols share."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tensorfusion.testing.packing.stranded import Cause
from tensorfusion.testing.packing.world import WHOLE, Request

WHOLE_NODE = "8 GPUs"


def size_of(request: Request) -> str:
    """The size class of a request, for people."""
    if not request.gpus:
        return "no GPU"
    if request.demand < WHOLE:
        return "part of a GPU"
    return "1 GPU" if request.gpus == 1 else f"{request.gpus} GPUs"


@dataclass(slots=True)
class Outcome:
    """One run. ``curve`` is allocation over arrived load (inflation) or over time in turnovers (churn), in percent."""

    allocation: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)
    stranded: dict[Cause, float] = field(default_factory=dict)
    arrived: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Arrivals by size class, and how many of them were turned away."""
    arrived_milli: int = 0
    lost_milli: int = 0

    def count(self, request: Request, *, placed: bool) -> None:
        """Note one arrival."""
        size = size_of(request)
        self.arrived[size] += 1
        self.arrived_milli += request.demand
        if not placed:
            self.lost[size] += 1
            self.lost_milli += request.demand

    @property
    def lost_percent(self) -> float:
        """How much of the demand for devices was turned away."""
        return 100 * self.lost_milli / self.arrived_milli if self.arrived_milli else 0.0

    def lost_of(self, size: str) -> float:
        """How many arrivals of a size class were turned away, in percent; 0 where none arrived."""
        return 100 * self.lost[size] / self.arrived[size] if self.arrived[size] else 0.0


def mean(values: Iterable[float]) -> float:
    """The plain mean; 0 of nothing."""
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def row(policy: str, protocol: str, outcomes: Sequence[Outcome]) -> dict[str, str | float | int]:
    """The means over runs, as one line of the report."""
    return {
        "policy": policy,
        "protocol": protocol,
        "allocation_percent": round(mean(one.allocation for one in outcomes), 2),
        "lost_percent": round(mean(one.lost_percent for one in outcomes), 2),
        "lost_8gpu_percent": round(mean(one.lost_of(WHOLE_NODE) for one in outcomes), 2),
        "shuffles": len(outcomes),
    }
