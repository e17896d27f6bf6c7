"""A KubeSchedulerConfiguration as this scheduler follows it: profiles to decide with, defaults of pools, and notes.

Apart from the reading because this is where names of plugins meet what there is here: each of them is a part that can
be switched off or weighed, something that is always on (switching it off is refused, with the reason), or something
that this scheduler has not (a note says so).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tensorfusion.errors import ConfigError
from tensorfusion.model.gpu_topology import TopologyRule, TopologySource
from tensorfusion.model.scheduler_configuration import PluginProfile, SchedulerConfiguration
from tensorfusion.model.scheduler_plugins import (
    PREEMPTION,
    SHARES,
    TOPOLOGY,
    WEIGHTS,
    AffinityArgs,
    PreemptionArgs,
    ResourcesArgs,
    ScoringStrategy,
    SharesArgs,
    SpreadArgs,
    TopologyArgs,
)
from tensorfusion.scheduler.feeds import PlacementDefaults
from tensorfusion.scheduling.facts import Off
from tensorfusion.scheduling.profile import Profile, Profiles, ResourceScoring, Strategy
from tensorfusion.suggestions import did_you_mean

_FILTERS: dict[str, Off] = {
    "NodeUnschedulable": Off.CORDON,
    "TaintToleration": Off.TAINTS,
    "NodeAffinity": Off.OWN_NODES,
    "NodePorts": Off.PORTS,
    "PodTopologySpread": Off.SPREAD,
    "InterPodAffinity": Off.NEIGHBOURS,
}
_SCORES: dict[str, Off] = {"TaintToleration": Off.SOFT_TAINTS, "NodeAffinity": Off.PREFERRED_NODES}
_WEIGHED = ("PodTopologySpread", "InterPodAffinity", "NodeResourcesFit")
_ALWAYS_ON: dict[tuple[str, str], str] = {
    ("filter", "NodeResourcesFit"): "nodes would be overfilled; ignoredResources leaves out single resources",
    ("filter", SHARES): "devices would be overfilled",
    ("score", SHARES): "the pool's placement mode decides; a SchedulingConfigTemplate chooses it",
    ("reserve", SHARES): "a share that is not held would be given out twice",
    ("preBind", SHARES): "the devices of a pod would be written down nowhere",
    ("preEnqueue", "SchedulingGates"): "pods would be placed before those who gated them say so",
    ("queueSort", "PrioritySort"): "the order of the queue is priority and arrival",
    ("bind", "DefaultBinder"): "nothing else binds pods here",
}
_NOT_HERE = (
    "DynamicResources",
    "ImageLocality",
    "NodeResourcesBalancedAllocation",
    "NodeVolumeLimits",
    "VolumeBinding",
    "VolumeRestrictions",
    "VolumeZone",
)
_SHARE_RANGE = 1.0
_MOST_POINTS = 10


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is in force."""

    profiles: Profiles = field(default_factory=Profiles)
    defaults: PlacementDefaults = field(default_factory=PlacementDefaults)
    names: tuple[str, ...] = ()
    """The scheduler names of the profiles: pods of each of them are placed."""
    notes: tuple[str, ...] = ()
    """What the file says that has no effect here."""
    problem: str = ""
    """Why a newer file is not followed."""


def configuration_of(read: SchedulerConfiguration) -> Configuration:
    """The configuration as it is followed.

    Raises:
        ConfigError: it asks for something that this scheduler cannot do.
    """
    notes = list(read.notes)
    profiles: dict[str, Profile] = {}
    for profile in read.profiles:
        at = f"profile {profile.name}"
        profiles[profile.name] = replace(_profile(profile, at), topology=_topology(profile, at, notes))
        _require_preemption(profile, at, notes)
        notes += _notes(profile, at)
    return Configuration(
        profiles=Profiles(profiles),
        defaults=_defaults(read.profiles),
        names=tuple(profiles),
        notes=tuple(notes),
    )


def _profile(profile: PluginProfile, at: str) -> Profile:
    for (point, plugin), why in _ALWAYS_ON.items():
        if plugin in profile.off.get(point, ()):
            raise ConfigError(f"{at}: plugins.{point}.disabled: {plugin} cannot be switched off: {why}")
    filters, scores = profile.off.get("filter", frozenset()), profile.off.get("score", frozenset())
    weights = {plugin: 0 if plugin in scores else profile.weights[plugin] for plugin in _WEIGHED}
    resources = profile.args_of("NodeResourcesFit", ResourcesArgs) or ResourcesArgs()
    affinity = profile.args_of("InterPodAffinity", AffinityArgs) or AffinityArgs()
    _require_range(f"{at}: InterPodAffinity.hardPodAffinityWeight", affinity.hard_weight, 0, 100)
    spread = profile.args_of("PodTopologySpread", SpreadArgs) or SpreadArgs()
    if spread.defaults:
        why = "state the constraints on the pods"
        raise ConfigError(f"{at}: PodTopologySpread.defaultConstraints: wanted none, found some: {why}")
    _require_word(f"{at}: PodTopologySpread.defaultingType", spread.defaulting, ("System", "List"))
    return Profile(
        shares=profile.weights[SHARES],
        spread=weights["PodTopologySpread"],
        affinity=weights["InterPodAffinity"],
        resources=weights["NodeResourcesFit"],
        scoring=_scoring(resources.strategy, f"{at}: NodeResourcesFit.scoringStrategy"),
        preempts=PREEMPTION not in profile.off.get("postFilter", ()),
        hard_affinity_weight=affinity.hard_weight,
        placed_preferences=not affinity.ignore_placed,
        off=frozenset(
            [off for plugin, off in _FILTERS.items() if plugin in filters]
            + [off for plugin, off in _SCORES.items() if plugin in scores]
        ),
        ignored=frozenset(resources.ignored),
        ignored_groups=frozenset(resources.ignored_groups),
    )


def _scoring(strategy: ScoringStrategy | None, at: str) -> ResourceScoring | None:
    if strategy is None:
        return None
    _require_word(f"{at}.type", strategy.type, tuple(Strategy))
    for place, resource in enumerate(strategy.resources):
        _require_range(f"{at}.resources[{place}].weight", resource.weight, 1, 100)
    type_ = Strategy(strategy.type)
    ratio = strategy.ratio
    shape = [(point.utilization, point.score) for point in ratio.shape] if ratio is not None else []
    where = f"{at}.requestedToCapacityRatio.shape"
    if type_ is Strategy.REQUESTED_TO_CAPACITY_RATIO and not shape:
        raise ConfigError(f"{where}: wanted at least one point of utilization and score, found none")
    for place, (utilization, score) in enumerate(shape):
        least = shape[place - 1][0] + 1 if place else 0
        _require_range(f"{where}[{place}].utilization", utilization, least, 100)
        _require_range(f"{where}[{place}].score", score, 0, _MOST_POINTS)
    return ResourceScoring(
        strategy=type_,
        resources=tuple((one.name, one.weight) for one in strategy.resources) or (("cpu", 1), ("memory", 1)),
        shape=tuple((utilization, score * 10) for utilization, score in shape),
    )


def _topology(profile: PluginProfile, at: str, notes: list[str]) -> TopologyRule:
    args = profile.args_of(TOPOLOGY, TopologyArgs) or TopologyArgs()
    _require_word(f"{at}: {TOPOLOGY}.mode", args.mode, ("soft", "hard"))
    _require_word(f"{at}: {TOPOLOGY}.topologySource", args.source, tuple(TopologySource))
    _require_word(f"{at}: {TOPOLOGY}.unknownTopologyPolicy", args.unknown, ("treat-as-worst", "reject"))
    _require_range(f"{at}: {TOPOLOGY}.maxAllowedTier", args.max_tier, 0, 3)
    if args.bandwidth is not None:
        notes.append(f"{at}: {TOPOLOGY}.totalIntranetBandWidthGBps has no effect: network traffic is not measured")
    if profile.weights.get(TOPOLOGY):
        notes.append(f"{at}: the weight of {TOPOLOGY} has no effect: a nearer tier goes before the placement mode")
    return TopologyRule(
        hard=args.mode == "hard",
        source=TopologySource(args.source),
        max_tier=args.max_tier or 1,  # 0 is read as unset, as ever; a pod's own annotation may say 0
        reject_unknown=args.unknown == "reject",
        least_damage=args.least_damage,
        enabled=TOPOLOGY not in profile.off.get("filter", ()),
        ranks_nodes=TOPOLOGY not in profile.off.get("score", ()),
    )


def _require_preemption(profile: PluginProfile, at: str, notes: list[str]) -> None:
    args = profile.args_of(PREEMPTION, PreemptionArgs)
    if args is None:
        return
    _require_range(f"{at}: {PREEMPTION}.minCandidateNodesPercentage", args.percentage, 0, 100)
    _require_range(f"{at}: {PREEMPTION}.minCandidateNodesAbsolute", args.absolute, 0, 1 << 31)
    notes.append(f"{at}: the arguments of {PREEMPTION} have no effect: victims are looked for on every node")


def _notes(profile: PluginProfile, at: str) -> Iterator[str]:
    for plugin in _NOT_HERE:
        if plugin in profile.args or profile.weights.get(plugin):
            yield f"{at}: {plugin} has no effect: this scheduler has no such part"
    for plugin in _SCORES:
        if profile.weights[plugin] != WEIGHTS[plugin]:
            yield f"{at}: the weight of {plugin} has no effect: the pod's own weights count as they are"
    for point in ("preEnqueue", "preFilter", "preScore", "permit", "postBind"):
        for plugin in sorted(profile.off.get(point, ())):
            if (point, plugin) not in _ALWAYS_ON and plugin not in profile.off.get("filter", ()):
                yield f"{at}: plugins.{point}.disabled {plugin} has no effect: switch it off at filter or score"


def _defaults(profiles: tuple[PluginProfile, ...]) -> PlacementDefaults:
    """What pools get that say nothing: the one GPUResourcesFit that any profile states.

    Raises:
        ConfigError: an amount is out of its range, or two profiles differ.
    """
    known = PlacementDefaults()
    stated: dict[str, PlacementDefaults] = {}
    for profile in profiles:
        args = profile.args_of(SHARES, SharesArgs)
        if args is None:
            continue
        at = f"profile {profile.name}: {SHARES}"
        most = known.max_workers_per_node if args.max_workers is None else args.max_workers
        _require_range(f"{at}.maxWorkerPerNode", most, 0, 1 << 31)
        vram = known.vram_weight if args.vram_weight is None else args.vram_weight
        tflops = known.tflops_weight if args.tflops_weight is None else args.tflops_weight
        for name, weight in (("vramWeight", vram), ("tflopsWeight", tflops)):
            if not 0 <= weight <= _SHARE_RANGE:
                raise ConfigError(f"{at}.{name}: wanted 0 to 1, found {weight}")
        stated[profile.name] = PlacementDefaults(vram, tflops, most)
    if len(set(stated.values())) > 1:
        names = " and ".join(stated)
        raise ConfigError(
            f"profiles {names}: {SHARES}: wanted the same arguments in every profile that states them: a pool's "
            "devices are scored once, for the pods of all profiles"
        )
    return next(iter(stated.values()), known)


def _require_word(at: str, found: str, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        near = did_you_mean(found, wanted, listed=False)
        raise ConfigError(f"{at}: wanted one of {', '.join(wanted)}, found {found!r}{near}")


def _require_range(at: str, found: int, least: int, most: int) -> None:
    if not least <= found <= most:
        raise ConfigError(f"{at}: wanted {least} to {most}, found {found}")
