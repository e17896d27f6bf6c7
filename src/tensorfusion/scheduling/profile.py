"""How one scheduler name's pods are placed: which rules hold for them, and what their parts of the score weigh.

The values of a configuration, ready to decide with; ``model.scheduler_configuration`` reads them. A pod whose scheduler
name has no profile gets ``DEFAULT``, which is how pods are placed without any configuration.

Weights are relative to each other: a part's points are 0..100 times its weight over the weight of the base score
(``shares`` for pods with shares, 1 for plain pods), so that without a configuration the placement mode leads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from tensorfusion.model.gpu_topology import PLAIN_RULE, TopologyRule
from tensorfusion.scheduling.facts import Off


class Strategy(StrEnum):
    """How full a node should be. Wire values of Kubernetes' scoringStrategy."""

    LEAST_ALLOCATED = "LeastAllocated"
    MOST_ALLOCATED = "MostAllocated"
    REQUESTED_TO_CAPACITY_RATIO = "RequestedToCapacityRatio"


@dataclass(frozen=True, slots=True)
class ResourceScoring:
    """Points for how full the pod leaves a node. ``shape``: percent used and points 0..100, rising in percent."""

    strategy: Strategy
    resources: tuple[tuple[str, int], ...] = (("cpu", 1), ("memory", 1))
    """Names and weights."""
    shape: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """One scheduler name's way of placing. A weight of 0 leaves the part out."""

    shares: int = 5
    spread: int = 2
    affinity: int = 2
    resources: int = 1
    scoring: ResourceScoring | None = None
    """None: plain pods are packed by CPU and memory, pods with shares by their pool's placement mode alone."""
    hard_affinity_weight: int = 1
    """What a placed pod's required affinity counts for among the preferred terms."""
    placed_preferences: bool = True
    """Preferred terms of placed pods count too."""
    topology: TopologyRule = PLAIN_RULE
    """How near the devices of a pod have to be to each other, unless it says so itself."""
    preempts: bool = True
    """Its pods may have less important ones evicted."""
    off: frozenset[Off] = frozenset()
    ignored: frozenset[str] = frozenset()
    """Extended resources that do not have to fit, by name."""
    ignored_groups: frozenset[str] = frozenset()
    """The same by the part before the slash."""

    def fitted(self, extended: Mapping[str, int]) -> Mapping[str, int]:
        """The extended resources that have to fit."""
        if not (extended and (self.ignored or self.ignored_groups)):
            return extended
        return {
            name: amount
            for name, amount in extended.items()
            if name not in self.ignored and ("/" not in name or name.partition("/")[0] not in self.ignored_groups)
        }


DEFAULT: Final = Profile()


@dataclass(frozen=True, slots=True)
class Profiles:
    """Profiles by scheduler name."""

    by_name: Mapping[str, Profile] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, scheduler: str) -> Profile:
        return self.by_name.get(scheduler, DEFAULT)
