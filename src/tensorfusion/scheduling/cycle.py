"""One decision: where a pod goes, or why it cannot go anywhere. No side effect; the caller assumes the answer.

Order: quota, device filters, enough devices on one node, node filters, then the best node by the pool's mode, then the
best devices of that node. Pods without shares do the least damage: a node without devices before any node with devices,
then the fullest one that still has room. Ties go to the node that became known first, then to the lower device index.

Deviation from the contract, on purpose: in mode NodeCompactGPULowLoad the node score is the mean of *used* percent (as
the mode's name and its table say); upstream's scheduler plugin takes the mean of the devices' own (free) scores.

Source: TensorFusion's allocator and GPUResourcesFit plugin.
"""

from dataclasses import dataclass

import numpy as np

from tensorfusion.errors import NotFit
from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.diagnosis import Diagnosis, Unschedulable
from tensorfusion.scheduling.extra_rules import extra_rules
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.nodes import GPU_FREE
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason
from tensorfusion.scheduling.search import Bools, Ints, fitting_devices, plain_rows, pool_rows
from tensorfusion.scheduling.shapes import PREFERENCE, Shape
from tensorfusion.scheduling.state import State

PLAIN_MODE = "LeastDamage"
ALTERNATIVES = 3
_LOWEST = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one pod goes and how that came about.

    Scores are 0..100 plus the weights of the preferred affinity terms that match. ``nodes`` counts the nodes looked at
    (those of the pool, or all), ``feasible`` those that could take the pod.
    """

    placement: Placement
    mode: str
    score: int
    device_scores: tuple[int, ...]
    alternatives: tuple[tuple[str, int], ...]
    nodes: int
    feasible: int
    devices: int
    devices_removed: tuple[tuple[DeviceReason, int], ...]
    nodes_removed: tuple[tuple[NodeReason, int], ...]

    @property
    def counts(self) -> dict[str, int]:
        """What each filter removed, devices and nodes."""
        return {**dict(self.devices_removed), **dict(self.nodes_removed)}


def decide(state: State, pod: PodFacts) -> Decision:
    """Choose a node and devices for one pod.

    Raises:
        QuotaExceeded: the namespace has no room, whatever the fleet has.
        Unschedulable: no node can hold the pod now.
    """
    if pod.request is None:
        return _decide_plain(state, pod)
    request = pod.request
    state.quotas.check(pod.namespace, request)
    pool = state.fleet.pools.get(request.pool) if request.pool else None
    if pool is None or not pool.count:
        raise Unschedulable(Diagnosis(pod, state.fleet.nodes.registered, state.fleet.present))
    by_percent = request.percent or request.percent_limit
    room = state.quotas.room(pod.namespace, request) if by_percent else None
    try:
        return _decide_shares(state, pod, request, pool=pool, room=room)
    except NotFit as error:
        if DeviceReason.QUOTA not in error.reasons:
            raise
        return _decide_despite_room(state, pod, request, pool=pool, cause=error)


def _decide_shares(
    state: State, pod: PodFacts, request: GpuRequest, *, pool: PoolColumns, room: Room | None
) -> Decision:
    nodes = state.fleet.nodes
    elsewhere = state.fleet.present - pool.count
    devices_removed: list[tuple[DeviceReason, int]] = [(DeviceReason.POOL, elsewhere)] if elsewhere else []
    nodes_removed: list[tuple[NodeReason, int]] = []
    fit, rows = fitting_devices(pool, request, room=room, removed=devices_removed)
    shape = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
    feasible = pool_rows(pool, nodes, pod, shape=shape, rows=rows, removed=nodes_removed)
    extra = extra_rules(state, pod)
    if extra is not None and feasible:
        feasible = extra.narrow(rows, pool.node_row, nodes_removed)
    if not feasible:
        raise Unschedulable(
            Diagnosis(
                pod,
                nodes.registered,
                state.fleet.present,
                tuple(devices_removed),
                tuple(nodes_removed),
                pool_devices=pool.count,
                advice=() if extra is None else extra.advice(nodes_removed),
            )
        )
    keys = _keys(pool, shape)
    if extra is not None and (points := extra.points(rows, pool.node_row)) is not None:
        keys += points
    best = _best(keys, rows, min(feasible, ALTERNATIVES + 1), scratch=pool.scratch.key)
    row, score = best[0]
    slots = best_slots(pool, fit, row, count=request.count)
    names = pool.node_names
    own = pool.score[:, row].tolist()
    return Decision(
        placement=_placement(pool, request, row, slots),
        mode=pool.policy.mode,
        score=score,
        device_scores=tuple([own[slot] for slot in slots]),
        alternatives=tuple([(names[other], points) for other, points in best[1:]]),
        nodes=pool.nodes,
        feasible=feasible,
        devices=pool.count,
        devices_removed=tuple(devices_removed),
        nodes_removed=tuple(nodes_removed),
    )


def _placement(pool: PoolColumns, request: GpuRequest, row: int, slots: list[int]) -> Placement:
    """The chosen devices of a node, and the partition on each of them where the pod is partitioned."""
    here = pool.devices[row]
    partitions: tuple[Partition, ...] = ()
    if request.isolation is Isolation.PARTITIONED:
        cuts = pool.cuts.table(request).cuts
        found = [cuts[here[slot].layout].partition for slot in slots]
        partitions = tuple([one for one in found if one is not None])
    return Placement(pool.node_names[row], tuple([here[slot].name for slot in slots]), partitions)


def _decide_despite_room(
    state: State, pod: PodFacts, request: GpuRequest, *, pool: PoolColumns, cause: NotFit
) -> Decision:
    """No share in percent is small enough for the quota's room: say so, if it is the quota that stands in the way.

    Unequal devices of one node may still fit together where the room per device is too strict.
    """
    try:
        decision = _decide_shares(state, pod, request, pool=pool, room=None)
    except NotFit:
        raise cause from None
    devices = state.fleet.devices
    capacities = [devices[name].compute for name in decision.placement.devices]
    state.quotas.check(pod.namespace, request, capacities)
    return decision


def _keys(pool: PoolColumns, shape: Shape) -> Ints:
    """What the pool's nodes are ranked by, in units of preference."""
    keys = pool.node_score * PREFERENCE
    if shape.preference is not None:
        keys += shape.preference.take(pool.node_row, mode="clip")
    return keys


def _best(keys: Ints, rows: Bools, count: int, *, scratch: Ints) -> list[tuple[int, int]]:
    """The ``count`` best of the marked rows with their scores; ties go to the lower row."""
    scratch.fill(_LOWEST)
    np.copyto(scratch, keys, where=rows)
    best = []
    for _ in range(count):
        row = int(scratch.argmax())
        best.append((row, -(-int(scratch[row]) // PREFERENCE)))
        scratch[row] = _LOWEST
    return best


def best_slots(pool: PoolColumns, fit: Bools, row: int, *, count: int) -> list[int]:
    """The fitting devices of a node with the highest own scores; ties go to the lower index."""
    own = pool.score[:, row].tolist()
    slots = [slot for slot, fits in enumerate(fit[:, row].tolist()) if fits]
    slots.sort(key=own.__getitem__, reverse=True)
    return slots[:count]


def _decide_plain(state: State, pod: PodFacts) -> Decision:
    nodes = state.fleet.nodes
    nodes_removed: list[tuple[NodeReason, int]] = []
    shape = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
    rows, feasible = plain_rows(nodes, pod, shape=shape, removed=nodes_removed)
    extra = extra_rules(state, pod)
    if extra is not None and feasible:
        feasible = extra.narrow(rows, None, nodes_removed)
    if not feasible:
        raise Unschedulable(
            Diagnosis(
                pod,
                nodes.registered,
                state.fleet.present,
                nodes_removed=tuple(nodes_removed),
                advice=() if extra is None else extra.advice(nodes_removed),
            )
        )
    keys = nodes.plain_score if shape.preference is None else nodes.plain_score + shape.preference
    if extra is not None and (points := extra.points(rows, None)) is not None:
        keys = keys + points
    best = _best(keys, rows, min(feasible, ALTERNATIVES + 1), scratch=np.empty(nodes.size, np.int64))
    named = [(nodes.names[row], points % GPU_FREE) for row, points in best]
    return Decision(
        placement=Placement(named[0][0]),
        mode=PLAIN_MODE,
        score=named[0][1],
        device_scores=(),
        alternatives=tuple(named[1:]),
        nodes=nodes.registered,
        feasible=feasible,
        devices=0,
        devices_removed=(),
        nodes_removed=tuple(nodes_removed),
    )
