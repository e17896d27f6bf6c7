"""What the scheduler would do with a pod, told stage by stage: the body of ``/api/simulate-schedule``.

Apart from the service because it changes nothing: the pod goes through the same facts, filters and scores as a real
one, and is forgotten. The pure part, which names devices where the real decision only counts, is
``scheduling.simulate``.

Source: TensorFusion operator API, simulate-schedule; codes and field names of the Kubernetes scheduler framework.
"""

import msgspec

from tensorfusion.errors import BadRequest, QuotaExceeded, ServerError
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.scheduler.allocation import gpu_object
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.reasons import WORDS, DeviceReason, NodeReason
from tensorfusion.scheduling.simulate import Simulation
from tensorfusion.scheduling.simulate import simulate as simulate_decision

_UNSCHEDULABLE = 2
_UNRESOLVABLE = 3
_DEVICES_PLUGIN = "GPUResourcesFit"
_PLUGINS = {
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
}
_RESOLVABLE = (NodeReason.CPU, NodeReason.MEMORY, NodeReason.PODS, NodeReason.EXTENDED, NodeReason.WORKERS)


def simulate(service: SchedulerService, body: Raw) -> Raw:
    """Decide for an admitted pod without placing it.

    Raises:
        BadRequest: the body is no pod.
        InvalidRequest: an annotation or a resource request cannot be understood.
        ServerError: no scheduler here serves the pod's schedulerName.
    """
    try:
        pod = msgspec.convert(body, Pod, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadRequest(f"body: wanted a Pod: {error}") from error
    if not pod.spec.containers:
        raise BadRequest("body: wanted a Pod with at least one container in spec.containers, found none")
    if pod.spec.scheduler_name not in service.scheduler_names:
        raise ServerError("scheduler framework not found", code=500)
    with service.state.everywhere():
        return _answer(service, simulate_decision(service.state, service.book.facts(pod)))


def _answer(service: SchedulerService, simulation: Simulation) -> Raw:
    decision = simulation.decision
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
        "error": None if simulation.failure is None else _error(simulation),
        "cycleState": {} if decision is None else {"mode": decision.mode, "score": decision.score},
        "gpuSchedulerState": {
            "NodeGPUs": _devices(service, simulation),
            "ValidNodeGPUScore": simulation.matching,
            "ValidNodeNotMatchingGPUScore": simulation.other,
            "FinalGPUs": [] if decision is None else decision.placement.devices,
            "IsPreemption": False,
        },
        "progressiveNodeNames": None,
    }


def _error(simulation: Simulation) -> Raw:
    failure = simulation.failure
    quota = isinstance(failure, QuotaExceeded)
    return {
        "type": "QuotaExceeded" if quota else "FitError",
        "message": str(failure),
        "numAllNodes": simulation.evaluated_nodes,
        "diagnosis": {
            "preFilterMsg": str(failure) if quota else "",
            "postFilterMsg": "",
            "unschedulablePlugins": sorted({_plugin(reason) for reason in simulation.node_refusals.values()}),
            "pendingPlugins": [],
            "nodeToStatus": {
                "nodes": {node: _status(reason) for node, reason in simulation.node_refusals.items()},
                "absentNodesStatus": None,
            },
        },
    }


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
    return _PLUGINS[reason] if isinstance(reason, NodeReason) else _DEVICES_PLUGIN


def _devices(service: SchedulerService, simulation: Simulation) -> Raw:
    """The matching devices' objects by node."""
    devices = service.state.fleet.devices
    found: Raw = {}
    for node, scores in simulation.matching.items():
        gpus = [(service.gpus.get(Key("", name)), devices.get(name)) for name in scores]
        found[node] = [gpu_object(gpu, device) for gpu, device in gpus if gpu is not None]
    return found
