"""What namespaces of cohorts have borrowed, as metrics: those that give everything back go down to zero, once."""

from tensorfusion.scheduler import meters
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS
from tensorfusion.scheduling.state import State

_GAUGES = meters.BORROWED_COMPUTE, meters.BORROWED_VRAM, meters.BORROWED_DEVICES


class BorrowedGauges:
    """Follows the quotas of one state."""

    def __init__(self, state: State) -> None:
        self._cohorts = state.quotas.cohorts
        self._told: set[str] = set()

    def measure(self) -> None:
        """Take over what is borrowed now."""
        borrowers = self._cohorts.borrowers()
        for namespace in self._told | borrowers:
            node = self._cohorts.member(namespace)
            for part, gauge in zip(DIMENSIONS, _GAUGES, strict=True):
                gauge.labels(namespace).set(node.above(part) if node is not None else 0)
        self._told = borrowers
