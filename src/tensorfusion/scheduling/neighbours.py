"""What pods mean to one another on a node: the counts that rules between pods are decided by.

Written by the ledger alone, as pods are charged and released, so that a decision reads counts and never walks pods.
Clusters in which no pod has such a rule pay nothing for it.
"""

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.ports import HeldPorts


class Neighbours:
    """Counts by node row."""

    def __init__(self) -> None:
        self.ports = HeldPorts()

    def charge(self, row: int, pod: PodFacts, sign: int = 1) -> None:
        """A pod with rules came to the node, or with ``sign`` -1 left it."""
        if pod.rules is not None and pod.rules.ports:
            self.ports.charge(row, pod.rules.ports, sign)
