"""A simulation in the words of the wire: the body of ``/api/simulate-schedule``.

Apart from the simulation because names meet here: our filters and parts of scores, and the plugins and codes that
readers of the Kubernetes scheduler framework know. Fields beyond those of the source are ours and come last.

Source: TensorFusion operator API, simulate-schedule; codes and field names of the Kubernetes scheduler framework.
"""

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.meta import Key, Raw
from tensorfusion.scheduler.allocation import gpu_object
from tensorfusion.scheduler.preemption_stories import name_for, why_hopeless
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.gangs import GangPlacement, GangUnschedulable
from tensorfusion.scheduling.preemption import Hopeless, Plan
from tensorfusion.scheduling.reasons import WORDS, DeviceReason, NodeReason
from tensorfusion.scheduling.score_parts import Parts, ScorePart
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.simulate import Simulation
from tensorfusion.scheduling.state import State

_UNSCHEDULABLE = 2
_UNRESOLVABLE = 3
_DEVICES_PLUGIN = "GPUResourcesFit"
_PLUGINS: dict[NodeReason, str] = {
    NodeReason.ABSENT: "NodeName",
    NodeReason.NOT_READY: "TaintToleration",
    NodeReason.CORDONED: "NodeUnschedulable",
    NodeReason.TAINT: "TaintToleration",
    NodeReason.SELECTOR: "NodeAffinity",
    NodeReason.AFFINITY: "NodeAffinity",
    NodeReason.CPU: "NodeResourcesFit",
    NodeReason.MEMORY: "NodeResourcesFit",
    NodeReason.PODS: "NodeResourcesFit",
    NodeReason.EXTENDED: "NodeResourcesFit",
    NodeReason.WORKERS: _DEVICES_PLUGIN,
    NodeReason.SHARED: _DEVICES_PLUGIN,
    NodeReason.FAR_APART: "GPUNetworkTopologyAware",
    NodeReason.NATIVE: _DEVICES_PLUGIN,
    NodeReason.PORTS: "NodePorts",
    NodeReason.UNLABELLED: "PodTopologySpread",
    NodeReason.SPREAD: "PodTopologySpread",
    NodeReason.POD_AFFINITY: "InterPodAffinity",
    NodeReason.POD_ANTI_AFFINITY: "InterPodAffinity",
    NodeReason.KEPT_OFF: "InterPodAffinity",
    NodeReason.KEPT_WHOLE: _DEVICES_PLUGIN,
}
_PACKING = "NodeResourcesFit"
_SCORE_PLUGINS = {
    ScorePart.PLACEMENT: _DEVICES_PLUGIN,
    ScorePart.PREFERENCES: "NodeAffinity",
    ScorePart.SPREAD: "PodTopologySpread",
    ScorePart.NEIGHBOURS: "InterPodAffinity",
    ScorePart.RESOURCES: "NodeResourcesFit",
    ScorePart.TOPOLOGY: "GPUNetworkTopologyAware",
    ScorePart.WHOLE_NODES: _DEVICES_PLUGIN,
}
_RESOLVABLE = (
    NodeReason.CPU,
    NodeReason.MEMORY,
    NodeReason.PODS,
    NodeReason.EXTENDED,
    NodeReason.WORKERS,
    NodeReason.SHARED,
    NodeReason.NATIVE,
    NodeReason.FAR_APART,
    NodeReason.PORTS,
    NodeReason.SPREAD,
    NodeReason.POD_ANTI_AFFINITY,
    NodeReason.KEPT_OFF,
    NodeReason.KEPT_WHOLE,
)
"""What the going of other pods may change."""


def simulation_words(service: SchedulerService, state: State, facts: PodFacts, simulation: Simulation) -> Raw:
    """The body; ``state`` is the world that was asked about."""
    decision = simulation.decision
    plain = facts.request is None
    return {
        "scheduleResult": {
            "SuggestedHost": "" if decision is None else decision.placement.node,
            "EvaluatedNodes": simulation.evaluated_nodes,
            "FeasibleNodes": len(simulation.feasible_nodes),
        },
        "filterDetail": {
            "FilterStageDetails": [
                {
                    "FilterName": stage.filter_name,
                    "Before": stage.before,
                    "After": stage.after,
                    "Diff": stage.diff,
                }
                for stage in simulation.stages
            ]
        },
        "error": _error(simulation),
        "cycleState": {} if decision is None else {"mode": decision.mode, "score": decision.score},
        "gpuSchedulerState": {
            "NodeGPUs": _devices(service, state, simulation),
            "ValidNodeGPUScore": simulation.matching,
            "ValidNodeNotMatchingGPUScore": simulation.other,
            "FinalGPUs": [] if decision is None else decision.placement.devices,
            "IsPreemption": isinstance(simulation.preemption, Plan | GangPlan),
        },
        "progressiveNodeNames": _progressive(state, facts),
        "feasibleNodes": list(simulation.feasible_nodes),
        "nodeScores": [_scored(node, parts, plain=plain) for node, parts in simulation.node_scores],
        "preemption": _preemption(simulation.preemption, facts),
        "gang": _gang(simulation.gang),
    }


def _scored(node: str, parts: Parts, *, plain: bool) -> Raw:
    """One node's points in all and by plugin."""
    plugins: dict[str, int] = {}
    for part, amount in parts:
        plugin = _PACKING if plain and part is ScorePart.PLACEMENT else _SCORE_PLUGINS[part]
        plugins[plugin] = plugins.get(plugin, 0) + amount
    total = sum(plugins.values())
    return {
        "node": node,
        "score": -(-total // PREFERENCE),
        "plugins": {plugin: round(amount / PREFERENCE, 2) for plugin, amount in plugins.items()},
    }


def _preemption(found: Plan | GangPlan | Hopeless | None, facts: PodFacts) -> Raw | None:
    """Who would be evicted, as far as a reader of the pod's namespace is told."""
    if found is None:
        return None
    looked = {"considered": found.looked.considered, "nodesTried": found.looked.nodes}
    if isinstance(found, Hopeless):
        return {"possible": False, "outcome": why_hopeless(found), **looked}
    victims = [{"pod": name_for(one.pod, facts.namespace), "priority": one.pod.priority} for one in found.victims]
    where: Raw
    if isinstance(found, GangPlan):
        where = {"domain": found.domain, "members": [_place(placement) for _, placement in found.placements]}
    else:
        where = _place(found.placement)
    return {
        "possible": True,
        **where,
        "victims": victims,
        "evicted": len(victims),
        "ending": len(found.ending),
        "displaced": len(found.displaced),
        "opensKeptNodes": bool(found.instead),
        **looked,
    }


def without_names(words: Raw) -> Raw:
    """The body for somebody who may not list the pods of its namespace: of those that would go, how many."""
    return {**words, "preemption": {**words["preemption"], "victims": []}}


def _place(placement: Placement) -> Raw:
    return {"node": placement.node, "devices": list(placement.devices)}


def _gang(found: GangPlacement | GangUnschedulable | None) -> Raw | None:
    if found is None:
        return None
    if isinstance(found, GangUnschedulable):
        return {"fits": False, "needed": found.needed, "placed": found.fits, "reason": str(found), "members": []}
    members = [_place(decision.placement) for _, decision in found.members]
    return {"fits": True, "needed": len(members), "placed": len(members), "domain": found.domain, "members": members}


def _progressive(state: State, facts: PodFacts) -> Raw | None:
    """Where a pod for the device plugin may go: the nodes whose devices nobody has a share of."""
    if not facts.native:
        return None
    names = sorted(record.name for record in state.nodes() if record.devices and not record.workers)
    return {"count": len(names), "nodes": names}


def _error(simulation: Simulation) -> Raw | None:
    failure, gang = simulation.failure, simulation.gang
    if isinstance(gang, GangUnschedulable):
        failure = gang
    if failure is None:
        return None
    quota = isinstance(failure, QuotaExceeded)
    return {
        "type": "QuotaExceeded" if quota else "GangUnschedulable" if failure is gang else "FitError",
        "message": str(failure),
        "numAllNodes": simulation.evaluated_nodes,
        "diagnosis": {
            "preFilterMsg": str(failure) if quota else "",
            "postFilterMsg": _post_filter(simulation),
            "unschedulablePlugins": sorted({_plugin(reason) for reason in simulation.node_refusals.values()}),
            "pendingPlugins": [],
            "nodeToStatus": {
                "nodes": {node: _status(reason) for node, reason in simulation.node_refusals.items()},
                "absentNodesStatus": None,
            },
        },
    }


def _post_filter(simulation: Simulation) -> str:
    """What came of looking for pods to evict."""
    found = simulation.preemption
    if found is None:
        return ""
    if isinstance(found, Hopeless):
        return f"preemption: {why_hopeless(found)}"
    places = [each for _, each in found.placements] if isinstance(found, GangPlan) else [found.placement]
    nodes = ", ".join(dict.fromkeys(each.node for each in places))
    if found.instead:
        return f"preemption: {nodes} would be opened, though kept for whole-node jobs, and nobody evicted"
    return f"preemption: {len(found.victims)} pods would be evicted from {nodes}"


def _status(reason: NodeReason | DeviceReason) -> Raw:
    words = WORDS[reason]
    final = isinstance(reason, NodeReason) and reason not in _RESOLVABLE
    return {
        "code": _UNRESOLVABLE if final else _UNSCHEDULABLE,
        "plugin": _plugin(reason),
        "reasons": [words],
        "message": words,
    }


def _plugin(reason: NodeReason | DeviceReason) -> str:
    return _PLUGINS.get(reason, _DEVICES_PLUGIN) if isinstance(reason, NodeReason) else _DEVICES_PLUGIN


def _devices(service: SchedulerService, state: State, simulation: Simulation) -> Raw:
    """The matching devices' objects by node; devices that do not exist have none."""
    devices = state.fleet.devices
    found: Raw = {}
    for node, scores in simulation.matching.items():
        gpus = [(service.gpus.get(Key("", name)), devices.get(name)) for name in scores]
        found[node] = [gpu_object(gpu, device) for gpu, device in gpus if gpu is not None]
    return found
