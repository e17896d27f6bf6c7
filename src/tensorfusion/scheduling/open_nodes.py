"""Which nodes are open to the pods that may come: only there whole-node jobs are expected, and nodes kept for them.

Apart from the rules of a pod (``shapes``) because nobody in particular is asked for: what will come is known by its
size, not by what it tolerates.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from tensorfusion.scheduling.asked import MIB
from tensorfusion.scheduling.codes import Bools
from tensorfusion.scheduling.facts import NodeFacts
from tensorfusion.scheduling.shapes import hard_taints


@dataclass(frozen=True, slots=True)
class OpenNode:
    """What a node is to those who might come: milli-CPU and MiB when nothing runs, and whom it takes."""

    cpu: int = 0
    memory: int = 0
    taints: frozenset[tuple[str, str, str]] | None = None
    """What a pod has to tolerate there; None where it takes nobody: absent, not ready or cordoned."""


NO_NODE = OpenNode()


def open_node(facts: NodeFacts) -> OpenNode:
    """What the node is as its facts say."""
    takes = facts.ready and not facts.unschedulable
    return OpenNode(facts.cpu, facts.memory // MIB, hard_taints(facts) if takes else None)


def are_open(nodes: Sequence[OpenNode]) -> Bools:
    """Which nodes, all with the same devices, take pods that tolerate the taints of most of them. Shape (len(nodes),).

    Machines with devices often have a taint that all who want devices tolerate: it sets nobody apart. One that few of
    them have does, be it the taint of a fault or of an owner.
    """
    taints = [node.taints for node in nodes if node.taints is not None]
    counts = Counter(chain.from_iterable(taints))
    usual = {taint for taint, count in counts.items() if 2 * count > len(taints)}
    return np.array([node.taints is not None and node.taints <= usual for node in nodes], np.bool_)
