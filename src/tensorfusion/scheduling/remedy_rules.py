"""Rules without which the pod would fit: taints, selectors, affinities, models, pools; one at a time.

Apart from the amounts because here nothing is computed: the rule is left out, the decision says where the pod would go,
and that place says what has to be put right.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tensorfusion.model.core import Toleration
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.facts import NodeFacts, PodFacts
from tensorfusion.scheduling.pod_rules import PodRules
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason
from tensorfusion.scheduling.remedy import Remedy, tried
from tensorfusion.scheduling.shapes import hard_taints_tolerated
from tensorfusion.scheduling.state import State

_CORDON = Toleration(key="node.kubernetes.io/unschedulable", operator="Exists")
_POOLS_TRIED = 8
_POOLS_TOLD = 3
_MODES = (Isolation.SOFT, Isolation.HARD, Isolation.SHARED)


def looser_rules(state: State, pod: PodFacts, reasons: frozenset[str]) -> Iterator[Remedy]:
    """Rules of the pod, or of nodes, that some of these reasons come from."""
    if NodeReason.CORDONED in reasons:
        yield from _uncordoned(state, pod)
    if NodeReason.TAINT in reasons:
        yield from _tolerated(state, pod)
    if NodeReason.SELECTOR in reasons and pod.node_selector:
        yield from _unselected(state, pod)
    if NodeReason.AFFINITY in reasons and pod.affinity is not None:
        yield from _without(state, replace(pod, affinity=None), "its required node affinity", "nodeAffinity")
    if NodeReason.FAR_APART in reasons and pod.topology is not None:
        yield from _without(state, replace(pod, topology=None), "its rule for the distance of devices", "gpuTopology")
    if pod.rules is not None:
        yield from _neighbourly(state, pod, pod.rules, reasons)
    if pod.request is not None:
        yield from _other_devices(state, pod, pod.request, reasons)


def other_pools(state: State, pod: PodFacts, usable: Callable[[str], bool]) -> Iterator[Remedy]:
    """Pools that would take the pod as it is. ``usable`` says whether its namespace may use a pool."""
    request = pod.request
    if request is None:
        return
    told = 0
    names = [name for name in sorted(state.fleet.pools) if name != request.pool and usable(name)]
    for name in names[:_POOLS_TRIED]:
        there = replace(pod, request=replace(request, pool=name))
        decision = tried(state, there)
        if decision is None:
            continue
        idle = sum(not device.holders for row in state.fleet.pools[name].devices for device in row)
        nodes = f"{decision.feasible} node{'' if decision.feasible == 1 else 's'} could take it"
        yield Remedy(f"fits in pool {name}: {nodes}, {idle} of its devices idle", {"pool": name}, pod=there)
        told += 1
        if told == _POOLS_TOLD:
            return


def _uncordoned(state: State, pod: PodFacts) -> Iterator[Remedy]:
    decision = tried(state, replace(pod, tolerations=(*pod.tolerations, _CORDON)))
    facts = _node(state, decision.placement.node) if decision is not None else None
    if facts is not None and facts.unschedulable and hard_taints_tolerated(_open(facts), pod.tolerations):
        words = f"fits on node {facts.name} if it is uncordoned (kubectl uncordon {facts.name})"
        yield Remedy(words, {"uncordon": facts.name}, node=_open(facts))


def _open(facts: NodeFacts) -> NodeFacts:
    taints = tuple(taint for taint in facts.taints if taint.key != _CORDON.key)
    return replace(facts, unschedulable=False, taints=taints)


def _tolerated(state: State, pod: PodFacts) -> Iterator[Remedy]:
    """The taints of the node where it would go if it tolerated all."""
    decision = tried(state, replace(pod, tolerations=(*pod.tolerations, Toleration(operator="Exists"))))
    facts = _node(state, decision.placement.node) if decision is not None else None
    if facts is None or facts.unschedulable:
        return
    missing = [
        taint for taint in facts.taints if not hard_taints_tolerated(replace(facts, taints=(taint,)), pod.tolerations)
    ]
    wishes = tuple(
        Toleration(key=taint.key, operator="Equal", value=taint.value, effect=taint.effect) for taint in missing
    )
    tolerant = replace(pod, tolerations=(*pod.tolerations, *wishes))
    if missing and tried(state, tolerant) is not None:
        names = [f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}" for taint in missing]
        words = f"fits on node {facts.name} if it tolerates {', '.join(names)}"
        yield Remedy(words, {"tolerate": names}, pod=tolerant)


def _unselected(state: State, pod: PodFacts) -> Iterator[Remedy]:
    """Without one label of its selector, else without all."""
    labels = sorted(pod.node_selector.items())
    for key, value in labels:
        rest = {name: wanted for name, wanted in labels if name != key}
        found = [*_without(state, replace(pod, node_selector=rest), f"node selector {key}={value}", key)]
        if found:
            yield from found
            return
    if len(labels) > 1:
        yield from _without(state, replace(pod, node_selector={}), "its node selector", "nodeSelector")


def _neighbourly(state: State, pod: PodFacts, rules: PodRules, reasons: frozenset[str]) -> Iterator[Remedy]:
    for needed, without, words, key in (
        ({NodeReason.PORTS}, replace(rules, ports=()), "its host ports", "hostPorts"),
        (
            {NodeReason.SPREAD, NodeReason.UNLABELLED},
            replace(rules, spread=tuple(rule for rule in rules.spread if not rule.required)),
            "its required topology spread constraints",
            "topologySpread",
        ),
        ({NodeReason.POD_AFFINITY}, replace(rules, affinity=()), "its required pod affinity", "podAffinity"),
        (
            {NodeReason.POD_ANTI_AFFINITY},
            replace(rules, anti_affinity=()),
            "its required pod anti-affinity",
            "podAntiAffinity",
        ),
    ):
        if needed & reasons and without != rules:
            yield from _without(state, replace(pod, rules=without), words, key)


def _other_devices(state: State, pod: PodFacts, request: GpuRequest, reasons: frozenset[str]) -> Iterator[Remedy]:
    """Another model, vendor, index or isolation mode."""
    if request.indices and (DeviceReason.INDEX in reasons or DeviceReason.COUNT in reasons):
        asked = ", ".join(str(index) for index in request.indices)
        yield from _without(state, _asking(pod, request, indices=()), f"device indices {asked}", "gpuIndices")
    if request.model and DeviceReason.MODEL in reasons:
        yield from _other_model(state, pod, request)
    if request.vendor and DeviceReason.VENDOR in reasons:
        vendor = _asking(pod, request, vendor="", model="")
        yield from _without(state, vendor, f"vendor {request.vendor} and its model", "vendor")
    held = {DeviceReason.ISOLATION, DeviceReason.OTHER_MODE, DeviceReason.IN_USE}
    if held & reasons and request.isolation is not Isolation.PARTITIONED:
        for mode in _MODES:
            other = _asking(pod, request, isolation=mode)
            if mode is not request.isolation and tried(state, other) is not None:
                yield Remedy(f"fits with isolation {mode}", {"isolation": str(mode)}, pod=other)
                return


def _other_model(state: State, pod: PodFacts, request: GpuRequest) -> Iterator[Remedy]:
    decision = tried(state, _asking(pod, request, model=""))
    if decision is None:
        return
    facts = state.fleet.devices[decision.placement.devices[0]].facts
    model = facts.model if facts is not None else ""
    other = _asking(pod, request, model=model)
    if model and tried(state, other) is not None:
        yield Remedy(f"fits on model {model}", {"model": model}, pod=other)


def _asking(pod: PodFacts, request: GpuRequest, **wishes: object) -> PodFacts:
    return replace(pod, request=replace(request, **wishes))  # type: ignore[arg-type]  # names of fields


def _without(state: State, pod: PodFacts, what: str, key: str) -> Iterator[Remedy]:
    decision = tried(state, pod)
    if decision is not None:
        yield Remedy(f"fits without {what}, on node {decision.placement.node}", {"without": key}, pod=pod)


def _node(state: State, name: str) -> NodeFacts | None:
    record = state.fleet.nodes.records.get(name)
    return record.facts if record is not None else None
