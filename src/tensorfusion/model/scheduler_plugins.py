"""The plugins that a KubeSchedulerConfiguration may name: where each of them acts, and the arguments that it takes.

Apart from the configuration because this is a table of facts: names, extension points and defaults are Kubernetes' and
TensorFusion's own, whether or not this scheduler has a part of that name.

Source: Kubernetes 1.34 kubescheduler.config.k8s.io/v1; TensorFusion's scheduler-config.yaml.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from tensorfusion.model.meta import Raw

POINTS: Final = (
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
)
SHARES: Final = "GPUResourcesFit"
TOPOLOGY: Final = "GPUNetworkTopologyAware"
PREEMPTION: Final = "DefaultPreemption"

_FILTER = frozenset({"preFilter", "filter"})
_BOTH = frozenset({"preFilter", "filter", "preScore", "score"})

PLUGINS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        SHARES: frozenset(POINTS) - {"queueSort", "preScore", "bind"},
        TOPOLOGY: _BOTH,
        PREEMPTION: frozenset({"preEnqueue", "postFilter"}),
        "DefaultBinder": frozenset({"bind"}),
        "DynamicResources": _FILTER | {"preEnqueue", "postFilter", "score", "reserve", "preBind"},
        "ImageLocality": frozenset({"score"}),
        "InterPodAffinity": _BOTH,
        "NodeAffinity": _BOTH,
        "NodeName": frozenset({"filter"}),
        "NodePorts": _FILTER,
        "NodeResourcesBalancedAllocation": frozenset({"preScore", "score"}),
        "NodeResourcesFit": _BOTH,
        "NodeUnschedulable": frozenset({"filter"}),
        "NodeVolumeLimits": _FILTER,
        "PodTopologySpread": _BOTH,
        "PrioritySort": frozenset({"queueSort"}),
        "SchedulingGates": frozenset({"preEnqueue"}),
        "TaintToleration": frozenset({"filter", "preScore", "score"}),
        "VolumeBinding": _BOTH | {"reserve", "preBind"},
        "VolumeRestrictions": _FILTER,
        "VolumeZone": _FILTER,
    }
)
WEIGHTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        SHARES: 5,
        "InterPodAffinity": 2,
        "NodeAffinity": 2,
        "NodeResourcesFit": 1,
        "PodTopologySpread": 2,
        "TaintToleration": 3,
    }
)


class _Args(msgspec.Struct, frozen=True, kw_only=True):
    """What every plugin's arguments may say of themselves."""

    api_version: str = msgspec.field(default="", name="apiVersion")
    kind: str = ""


class SharesArgs(_Args, frozen=True):
    max_workers: int | None = msgspec.field(default=None, name="maxWorkerPerNode")
    vram_weight: float | None = msgspec.field(default=None, name="vramWeight")
    tflops_weight: float | None = msgspec.field(default=None, name="tflopsWeight")


class TopologyArgs(_Args, frozen=True):
    """How strictly devices of one pod must be close to each other. ``max_tier`` 0 is read as 1."""

    mode: str = "soft"
    source: str = msgspec.field(default="auto", name="topologySource")
    max_tier: int = msgspec.field(default=1, name="maxAllowedTier")
    unknown: str = msgspec.field(default="treat-as-worst", name="unknownTopologyPolicy")
    least_damage: bool = msgspec.field(default=True, name="preferLeastDamage")
    bandwidth: float | None = msgspec.field(default=None, name="totalIntranetBandWidthGBps")


class ResourceSpec(msgspec.Struct, frozen=True):
    name: str
    weight: int = 1


class ShapePoint(msgspec.Struct, frozen=True):
    """Percent of use, and points 0..10."""

    utilization: int
    score: int


class RatioParam(msgspec.Struct, frozen=True):
    shape: tuple[ShapePoint, ...] = ()


class ScoringStrategy(msgspec.Struct, frozen=True):
    type: str = "LeastAllocated"
    resources: tuple[ResourceSpec, ...] = ()
    ratio: RatioParam | None = msgspec.field(default=None, name="requestedToCapacityRatio")


class ResourcesArgs(_Args, frozen=True):
    ignored: tuple[str, ...] = msgspec.field(default=(), name="ignoredResources")
    ignored_groups: tuple[str, ...] = msgspec.field(default=(), name="ignoredResourceGroups")
    strategy: ScoringStrategy | None = msgspec.field(default=None, name="scoringStrategy")


class AffinityArgs(_Args, frozen=True):
    hard_weight: int = msgspec.field(default=1, name="hardPodAffinityWeight")
    ignore_placed: bool = msgspec.field(default=False, name="ignorePreferredTermsOfExistingPods")


class SpreadArgs(_Args, frozen=True):
    defaults: tuple[Raw, ...] = msgspec.field(default=(), name="defaultConstraints")
    defaulting: str = msgspec.field(default="System", name="defaultingType")


class PreemptionArgs(_Args, frozen=True):
    """How many nodes are looked at for victims at least: percent of the nodes, and a number."""

    percentage: int = msgspec.field(default=10, name="minCandidateNodesPercentage")
    absolute: int = msgspec.field(default=100, name="minCandidateNodesAbsolute")


class BalancedArgs(_Args, frozen=True):
    resources: tuple[ResourceSpec, ...] = ()


class VolumeBindingArgs(_Args, frozen=True):
    timeout: int | None = msgspec.field(default=None, name="bindTimeoutSeconds")
    shape: tuple[ShapePoint, ...] = ()


class DynamicResourcesArgs(_Args, frozen=True):
    timeout: str | None = msgspec.field(default=None, name="filterTimeout")


ARGS: Final[Mapping[str, type[_Args]]] = MappingProxyType(
    {
        SHARES: SharesArgs,
        TOPOLOGY: TopologyArgs,
        PREEMPTION: PreemptionArgs,
        "DynamicResources": DynamicResourcesArgs,
        "InterPodAffinity": AffinityArgs,
        "NodeResourcesBalancedAllocation": BalancedArgs,
        "NodeResourcesFit": ResourcesArgs,
        "PodTopologySpread": SpreadArgs,
        "VolumeBinding": VolumeBindingArgs,
    }
)
"""Plugins that take arguments here."""
NO_ARGS: Final[Mapping[str, str]] = MappingProxyType(
    {"NodeAffinity": "addedAffinity is not applied: state the node affinity on the pods, or make a pool of these nodes"}
)
