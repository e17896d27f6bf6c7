"""How near the devices of one pod have to be to each other: tiers, their words, and the rule that a pod is placed by.

Apart from the placement because three speak of it: the scheduler's configuration, the annotations of a pod, and the
placement. Admission refuses values that cannot be understood (``model.annotations``); here they are left out, because a
pod that is there already must not stop the scheduler.

Source: TensorFusion's GPUNetworkTopologyAware plugin.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Final

from tensorfusion.model import keys


class Tier(IntEnum):
    """How near two devices are, and the farthest two of several ones. Wire values of ``topology.peers[].tier``."""

    INTERCONNECT = 0
    NUMA = 1
    ACROSS = 2
    UNKNOWN = 3


TIER_WORDS: Final[Mapping[int, str]] = {
    Tier.INTERCONNECT: "same interconnect",
    Tier.NUMA: "same NUMA node",
    Tier.ACROSS: "across NUMA nodes",
    Tier.UNKNOWN: "unknown",
}


class TopologySource(StrEnum):
    """What distances are told by: links where a device reports any, else NUMA nodes; or one of them alone."""

    AUTO = "auto"
    NUMA = "numa"
    VENDOR = "vendor"


@dataclass(frozen=True, slots=True)
class TopologyRule:
    """What a pod asks of the distances between its devices. ``hard`` leaves nodes out, else they only rank lower."""

    hard: bool = False
    source: TopologySource = TopologySource.AUTO
    max_tier: int = Tier.NUMA
    reject_unknown: bool = False
    """A hard rule never takes devices of unknown distance, whatever ``max_tier`` says."""
    least_damage: bool = True
    """A single device is taken where the fewest others are near it."""
    enabled: bool = True
    ranks_nodes: bool = True

    def allows(self, tier: int) -> bool:
        """Whether devices of this tier are near enough."""
        return tier <= self.max_tier and not (self.reject_unknown and tier == Tier.UNKNOWN)


PLAIN_RULE: Final = TopologyRule()


def tier_named(tier: int) -> str:
    """``tier 1 (same NUMA node)``."""
    return f"tier {int(tier)} ({TIER_WORDS[tier]})"


def rule_of(annotations: Mapping[str, str], base: TopologyRule = PLAIN_RULE) -> TopologyRule:
    """The rule of one pod: its own annotations over the profile's; what cannot be understood is left out."""
    required = annotations.get(keys.REQUIRE_GPU_TOPOLOGY)
    tier = annotations.get(keys.GPU_TOPOLOGY_MAX_TIER)
    source = annotations.get(keys.GPU_TOPOLOGY_SOURCE)
    if required is None and tier is None and source is None:
        return base
    if required in ("true", "false"):
        base = replace(base, hard=required == "true")
    if tier in ("0", "1", "2", "3"):
        base = replace(base, max_tier=int(tier))
    if source is not None and source in TopologySource.__members__.values():
        base = replace(base, source=TopologySource(source))
    return base
