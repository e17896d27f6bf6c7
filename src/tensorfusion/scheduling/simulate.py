"""The same decision with every stage spelled out by name: for people who ask why, never for placing.

Apart from the cycle because it names thousands of devices where the cycle only counts. It walks the same filters from
the same definitions, so it cannot tell another story than the decision it explains.

Source: TensorFusion's simulate-schedule: stages of {FilterName, Before, After, Diff}, scores of matching and other
devices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.gang import Gang
from tensorfusion.model.keys import GANG_DOMAINS
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.circumstances import Circumstances, room_for_gang, room_for_pod
from tensorfusion.scheduling.codes import Bools, Rows
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.extra_rules import extra_rules
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.gang_remedies import alike, tried_gang
from tensorfusion.scheduling.gangs import GangPlacement, GangUnschedulable
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.preemption import Hopeless, Plan
from tensorfusion.scheduling.rated import PlainClass, Rated
from tensorfusion.scheduling.reasons import NODE_REASONS, DeviceReason, NodeReason
from tensorfusion.scheduling.remedy import aside
from tensorfusion.scheduling.score_parts import Parts, parts_of_rows
from tensorfusion.scheduling.search import live_stages, needs
from tensorfusion.scheduling.shapes import ALLOWED
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.topology import near_enough

FILTER_NAMES: dict[DeviceReason, str] = {
    DeviceReason.POOL: "PoolFilter",
    DeviceReason.PHASE: "PhaseFilter",
    DeviceReason.USED_BY: "UsedByFilter",
    DeviceReason.INDEX: "GPUIndexFilter",
    DeviceReason.ISOLATION: "GPUIsolationModeFilter",
    DeviceReason.VENDOR: "GPUVendorFilter",
    DeviceReason.MODEL: "GPUModelFilter",
    DeviceReason.OTHER_MODE: "GPUActiveModeFilter",
    DeviceReason.IN_USE: "SharedWholeGPUFilter",
    DeviceReason.TEMPLATE: "PartitionTemplateFilter",
    DeviceReason.PARTITION: "PartitionPlacementFilter",
    DeviceReason.COMPUTE: "GPUComputeFilter",
    DeviceReason.VRAM: "GPUVramFilter",
    DeviceReason.QUOTA: "QuotaRoomFilter",
    DeviceReason.COUNT: "SameNodeFilter",
}


SCORES_TOLD = 100
"""Nodes whose points are told part by part."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One filter: the devices before and after it, by name."""

    filter_name: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def diff(self) -> int:
        return len(self.before) - len(self.after)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a decision would be and how it would come about. Exactly one of ``decision`` and ``failure`` is set."""

    stages: tuple[Stage, ...] = ()
    decision: Decision | None = None
    failure: NotFit | QuotaExceeded | None = None
    evaluated_nodes: int = 0
    feasible_nodes: tuple[str, ...] = ()
    node_refusals: dict[str, NodeReason | DeviceReason] = field(default_factory=dict)
    """Every registered node that cannot take the pod: the node's own reason, or the last filter its devices met."""
    matching: dict[str, dict[str, int]] = field(default_factory=dict)
    """Own score of every device that passed, by node."""
    other: dict[str, dict[str, int]] = field(default_factory=dict)
    """Own score of the pool's other devices, by node."""
    node_scores: tuple[tuple[str, Parts], ...] = ()
    """The best nodes that could take the pod, best first, and what their points are made of."""
    preemption: Plan | GangPlan | Hopeless | None = None
    """Who would have to go for it, or for the gang; None where that was not asked, or nobody has to."""
    gang: GangPlacement | GangUnschedulable | None = None
    """What would become of a gang of such pods, where that was asked."""


def simulate(
    state: State,
    pod: PodFacts,
    *,
    gang: int = 0,
    around: Circumstances | None = None,
    domain_keys: Sequence[str] = GANG_DOMAINS,
) -> Simulation:
    """Decide for a pod and tell every stage; for a ``gang`` of such pods too. Changes nothing.

    ``around`` asks who would have to go for it, or for the gang.
    """
    with aside(state):
        simulation = _simulated(state, pod)
        simulation = replace(simulation, node_scores=_node_scores(state, pod, simulation))
        if around is not None and simulation.failure is not None and not gang:
            found = room_for_pod(state, pod, simulation.failure, around)
            simulation = replace(simulation, preemption=found)
    if gang:
        members = alike(_member(pod, gang), gang)
        simulation = replace(simulation, gang=tried_gang(state, members, needed=gang, domain_keys=domain_keys))
        if around is not None and isinstance(simulation.gang, GangUnschedulable):
            with aside(state):
                room = room_for_gang(state, members, gang, around, domain_keys=domain_keys)
            simulation = replace(simulation, preemption=room)
    return simulation


def _member(pod: PodFacts, count: int) -> PodFacts:
    """The pod as a member of a gang of so many."""
    gang = pod.gang or Gang(f"{pod.namespace}/{pod.name}", count, count)
    return replace(pod, gang=replace(gang, required=count, desired=count))


def _node_scores(state: State, pod: PodFacts, simulation: Simulation) -> tuple[tuple[str, Parts], ...]:
    """The best of the feasible nodes with their points by part."""
    if simulation.decision is None:
        return ()
    nodes, request = state.fleet.nodes, pod.request
    extra = extra_rules(state, pod)
    rated: Rated
    at: Rows | None
    base: Callable[[int], int]
    own: Callable[[int], Parts] | None = None
    if request is None:
        rated = PlainClass(nodes, pod)
        names, at, base = nodes.names, None, nodes.packing
    else:
        pool = state.fleet.pools[request.pool]
        by_percent = request.percent or request.percent_limit
        room = state.quotas.room(pod.namespace, request) if by_percent else None
        rated = by_share = state.classes.fresh(pool, nodes, pod, room)
        names, at, base, own = pool.node_names, pool.node_row, by_share.base, by_share.parts
    rows, points = rated.rows, None
    kept = rated.kept()
    if extra is not None and rows.any():
        extra.narrow(rows, at, [])
        points = extra.points(rows, at)
    if kept is not None:
        rows &= ~kept
    best = [row for row, _ in rated.best_among(rows, points, SCORES_TOLD)]
    parts = parts_of_rows(best, base, at, rated.preference, extra, own=own)
    return tuple((names[row], made_of) for row, made_of in zip(best, parts, strict=True))


def _simulated(state: State, pod: PodFacts) -> Simulation:
    decision: Decision | None = None
    failure: NotFit | QuotaExceeded | None = None
    try:
        decision = decide(state, pod)
    except (NotFit, QuotaExceeded) as error:
        failure = error
    refusals = _node_refusals(state, pod)
    stages: list[Stage] = []
    matching: dict[str, dict[str, int]] = {}
    other: dict[str, dict[str, int]] = {}
    if pod.request is not None:
        short: dict[str, DeviceReason] = {}
        stages = _stages(state, pod, pod.request, short=short)
        matching, other = _scores(state, pod.request, passed=frozenset(stages[-1].after))
        refusals = {**refusals, **{node: reason for node, reason in short.items() if node not in matching}}
        refusals |= _crowded(state, pod.request, refusals, matching=matching)
        refusals |= _far_apart(state, pod, pod.request, refusals, matching=matching)
        refusals |= _kept(state, pod, pod.request, refusals, matching=matching)
    if decision is not None:  # unequal shares in percent may fit together where the room per device is too strict
        refusals.pop(decision.placement.node, None)
    nodes = [record.name for record in state.nodes()]
    return Simulation(
        stages=tuple(stages),
        decision=decision,
        failure=failure,
        evaluated_nodes=len(nodes),
        feasible_nodes=tuple(node for node in nodes if node not in refusals) if decision is not None else (),
        node_refusals={node: refusals[node] for node in nodes if node in refusals},
        matching=matching,
        other=other,
    )


def _node_refusals(state: State, pod: PodFacts) -> dict[str, NodeReason | DeviceReason]:
    nodes = state.fleet.nodes
    codes = nodes.shapes.of(pod, nodes.with_facts, nodes.size).codes
    wanted = list(needs(nodes, pod))
    refusals: dict[str, NodeReason | DeviceReason] = {}
    for record in state.nodes():
        code = int(codes[record.row])
        if code != ALLOWED:
            refusals[record.name] = NODE_REASONS[code]
            continue
        lacking = next((reason for reason, free, need in wanted if free[record.row] < need), None)
        if lacking is not None:
            refusals[record.name] = lacking
        elif pod.native and record.workers:
            refusals[record.name] = NodeReason.SHARED
        elif pod.request is not None and record.native > record.foreign:
            refusals[record.name] = NodeReason.NATIVE
    extra = extra_rules(state, pod)
    if extra is not None:
        for record in state.nodes():
            if record.name not in refusals and (refused := extra.refusal(record.row)) is not None:
                refusals[record.name] = refused
    return refusals


def _crowded(
    state: State,
    request: GpuRequest,
    refusals: dict[str, NodeReason | DeviceReason],
    *,
    matching: dict[str, dict[str, int]],
) -> dict[str, NodeReason | DeviceReason]:
    """Nodes that nothing else keeps the pod from, but that have as many workers as the pool allows."""
    pool = state.fleet.pools.get(request.pool)
    most = pool.facts.max_workers_per_node if pool is not None else 0
    records = state.fleet.nodes.records
    full = [name for name in matching if name not in refusals and 0 < most <= records[name].workers]
    return dict.fromkeys(full, NodeReason.WORKERS)


def _far_apart(
    state: State,
    pod: PodFacts,
    request: GpuRequest,
    refusals: dict[str, NodeReason | DeviceReason],
    *,
    matching: dict[str, dict[str, int]],
) -> dict[str, NodeReason | DeviceReason]:
    """Nodes that nothing else keeps the pod from, but whose devices are too far apart for it."""
    pool, devices = state.fleet.pools.get(request.pool), state.fleet.devices
    if pool is None:
        return {}
    pool.follow_wirings()
    wired = {name: pool.wired(row) for name in matching if (row := pool.row_of(name)) is not None}
    far = [
        name
        for name, one in wired.items()
        if name not in refusals and not near_enough(pod, one, [devices[each].slot for each in matching[name]])
    ]
    return dict.fromkeys(far, NodeReason.FAR_APART)


def _kept(
    state: State,
    pod: PodFacts,
    request: GpuRequest,
    refusals: dict[str, NodeReason | DeviceReason],
    *,
    matching: dict[str, dict[str, int]],
) -> dict[str, NodeReason | DeviceReason]:
    """Nodes that nothing else keeps the pod from, but that are kept for jobs that want whole nodes."""
    pool = state.fleet.pools.get(request.pool)
    kept = state.classes.fresh(pool, state.fleet.nodes, pod).kept() if pool is not None and pool.count else None
    if pool is None or kept is None:
        return {}
    rows = {name: pool.row_of(name) for name in matching if name not in refusals}
    return {name: NodeReason.KEPT_WHOLE for name, row in rows.items() if row is not None and kept[row]}


def _stages(state: State, pod: PodFacts, request: GpuRequest, *, short: dict[str, DeviceReason]) -> list[Stage]:
    """The device filters by name; ``short`` receives the filter that took the last device of each node."""
    everything = tuple(sorted(device.name for device in state.devices()))
    pool = state.fleet.pools.get(request.pool) if request.pool else None
    if pool is None or not pool.count:
        short.update({record.name: DeviceReason.POOL for record in state.nodes()})
        return [Stage(FILTER_NAMES[DeviceReason.POOL], everything, ())]
    short.update({record.name: DeviceReason.POOL for record in state.nodes() if pool.row_of(record.name) is None})
    passed = pool.present.copy()
    before = _named(pool, passed)
    stages = [Stage(FILTER_NAMES[DeviceReason.POOL], everything, before)]
    by_percent = request.percent or request.percent_limit
    room = state.quotas.room(pod.namespace, request) if by_percent else None

    def step(reason: DeviceReason, passes: Bools) -> None:
        nonlocal before
        alive = passed.any(axis=0)
        np.logical_and(passed, passes, out=passed)
        for row in np.flatnonzero(alive & ~passed.any(axis=0)).tolist():
            short[pool.node_names[row]] = reason
        after = _named(pool, passed)
        stages.append(Stage(FILTER_NAMES[reason], before, after))
        before = after

    for reason, passes in pool.static_stages(request):
        step(reason, passes)
    for reason, passes in live_stages(pool, request, room):
        step(reason, passes)
    if request.count > 1:
        step(DeviceReason.COUNT, np.broadcast_to(passed.sum(axis=0) >= request.count, passed.shape))
    return stages


def _scores(
    state: State, request: GpuRequest, *, passed: frozenset[str]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Own scores by node and device: of those that passed, and of the pool's others."""
    matching: dict[str, dict[str, int]] = {}
    other: dict[str, dict[str, int]] = {}
    pool = state.fleet.pools.get(request.pool)
    if pool is not None:
        for node, devices in zip(pool.node_names, pool.devices, strict=True):
            for device in devices:
                scores = matching if device.name in passed else other
                scores.setdefault(node, {})[device.name] = int(pool.score[device.slot, device.row])
    return matching, other


def _named(pool: PoolColumns, passed: Bools) -> tuple[str, ...]:
    """Names of the marked devices, sorted."""
    slots, rows = np.nonzero(passed)
    return tuple(sorted(pool.devices[row][slot].name for slot, row in zip(slots.tolist(), rows.tolist(), strict=True)))
