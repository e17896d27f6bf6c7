"""One decision: where a pod goes, or why it cannot go anywhere. No side effect; the caller assumes the answer.

Order: quota, device filters, enough devices on one node, node filters, nodes that are kept for whole-node jobs, then
the best node by the pool's mode, then the best devices of that node. Pods without shares do the least damage: a node
without devices before any node with devices, then the fullest one that still has room. Ties go to the node that became
known first, then to the lower device index.

Deviation from the contract, on purpose: in mode NodeCompactGPULowLoad the node score is the mean of *used* percent (as
the mode's name and its table say); upstream's scheduler plugin takes the mean of the devices' own (free) scores.

Source: TensorFusion's allocator and GPUResourcesFit plugin.
"""

import msgspec
import numpy as np

from tensorfusion.errors import NotFit
from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.codes import Bools, Rows
from tensorfusion.scheduling.diagnosis import Diagnosis, Unschedulable
from tensorfusion.scheduling.extra_rules import ExtraRules, extra_rules
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import PARTITIONED, shares_of
from tensorfusion.scheduling.nodes import GPU_FREE
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.rated import Rated
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason
from tensorfusion.scheduling.row_kernel import Answer
from tensorfusion.scheduling.score_parts import Parts, parts_of_rows
from tensorfusion.scheduling.shapes import PREFERENCE
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.wiring import Plan

PLAIN_MODE = "LeastDamage"


class Decision(msgspec.Struct, frozen=True):  # a third of what a frozen dataclass costs to make
    """Where one pod goes and how that came about.

    Scores are 0..100 plus the weights of the preferred affinity terms that match, and for several devices plus
    ``TIER_POINTS`` for each tier that they are nearer to each other than unknown. ``nodes`` counts the nodes looked at
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
    parts: tuple[Parts, ...] = ()
    """What the scores of the node and of the alternatives are made of; empty where all is the placement mode's."""
    plan: Plan | None = None
    """How near the devices are to each other; None for fewer than two, and where nobody asks or knows."""

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
    # what the namespace has left is of the moment: a class with it is not worth keeping
    rated = state.classes.shares(pool, nodes, pod) if room is None else state.classes.fresh(pool, nodes, pod, room)
    elsewhere = state.fleet.present - pool.count
    extra = extra_rules(state, pod)
    kernel = rated.answerer
    if kernel is not None and extra is None and pod.affinity is None:
        answer = kernel.rows.answer()
        if answer is not None:
            return _told(pool, request, answer, elsewhere=elsewhere)
    devices_removed = rated.devices_removed
    if elsewhere:
        devices_removed = ((DeviceReason.POOL, elsewhere), *devices_removed)
    kept = rated.kept() if state.holding else None
    found, feasible, nodes_removed = _ranked(rated, extra, pool.node_row, kept)
    if not feasible:
        raise Unschedulable(
            Diagnosis(
                pod,
                nodes.registered,
                state.fleet.present,
                devices_removed,
                nodes_removed,
                pool_devices=pool.count,
                advice=(
                    *rated.advice,
                    *_templates(pool, devices_removed),
                    *(rated.hold_advice() if kept is not None else ()),
                    *(() if extra is None else extra.advice(nodes_removed)),
                ),
            )
        )
    names = pool.node_names
    row, key = found[0]
    own = pool.scores_of(row)
    slots, plan = rated.chosen(row, own)
    placement = placement_on(pool, request, row, slots)
    if placement.partitions:  # what they count for is known only now: the size of the template, not of the request
        shares = shares_of(request, placement, len(slots))
        state.quotas.check_each(pod.namespace, shares, state.capacities(placement.devices))
    return Decision(
        placement=placement,
        mode=pool.policy.mode,
        score=-(-key // PREFERENCE),
        device_scores=tuple([own[slot] for slot in slots]),
        alternatives=tuple([(names[other], -(-points // PREFERENCE)) for other, points in found[1:]]),
        nodes=pool.nodes,
        feasible=feasible,
        devices=pool.count,
        devices_removed=devices_removed,
        nodes_removed=nodes_removed,
        parts=()
        if extra is None and pod.affinity is None and plan is None and not rated.is_told_apart(row)
        else parts_of_rows(
            [row for row, _ in found],
            rated.base,
            pool.node_row,
            rated.preference,
            extra,
            own=rated.parts,
        ),
        plan=plan,
    )


def _told(pool: PoolColumns, request: GpuRequest, answer: Answer, *, elsewhere: int) -> Decision:
    """The decision that the kernel came to, for a pod that is not partitioned; ``elsewhere`` are devices of others."""
    row, slots, score, device_scores, alternatives, feasible, devices_removed, nodes_removed = answer
    here = pool.devices[row]
    return Decision(
        placement=Placement(pool.node_names[row], tuple([here[slot].name for slot in slots])),
        mode=pool.policy.mode,
        score=score,
        device_scores=device_scores,
        alternatives=alternatives,
        nodes=pool.nodes,
        feasible=feasible,
        devices=pool.count,
        devices_removed=((DeviceReason.POOL, elsewhere), *devices_removed) if elsewhere else devices_removed,
        nodes_removed=nodes_removed,
    )


def _templates(pool: PoolColumns, removed: tuple[tuple[DeviceReason, int], ...]) -> tuple[str, ...]:
    """What a pod could ask for whose partition template no device has."""
    if DeviceReason.TEMPLATE not in dict(removed) or not (forms := pool.cuts.forms()):
        return ()
    return (f"Name one of {', '.join(forms)} in annotation partition-id, or ask for amounts that one of them covers",)


def _ranked(
    rated: Rated, extra: ExtraRules | None, at: Rows | None, kept: Bools | None = None
) -> tuple[list[tuple[int, int]], int, tuple[tuple[NodeReason, int], ...]]:
    """The best rows with their keys, how many are feasible, what removed the others: by class and extra rules.

    ``kept`` are rows that are kept for others.
    """
    feasible = rated.feasible
    if (extra is None and kept is None) or not feasible:
        return rated.best(), feasible, rated.nodes_removed
    rows, removed = rated.rows, list(rated.nodes_removed)
    if extra is not None:
        feasible = extra.narrow(rows, at, removed)
    if kept is not None and feasible:
        rows &= ~kept
        left = int(np.count_nonzero(rows))
        if left != feasible:
            removed.append((NodeReason.KEPT_WHOLE, feasible - left))
            feasible = left
    points = extra.points(rows, at) if extra is not None and feasible else None
    return rated.best_among(rows, points) if feasible else [], feasible, tuple(removed)


def placement_on(pool: PoolColumns, request: GpuRequest, row: int, slots: list[int]) -> Placement:
    """The chosen devices of a node, and the partition on each of them where the pod is partitioned."""
    here = pool.devices[row]
    partitions: tuple[Partition, ...] = ()
    if request.isolation is PARTITIONED:
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


def _decide_plain(state: State, pod: PodFacts) -> Decision:
    nodes = state.fleet.nodes
    rated = state.classes.plain(nodes, pod)
    extra = extra_rules(state, pod)
    found, feasible, nodes_removed = _ranked(rated, extra, None)
    if not feasible:
        raise Unschedulable(
            Diagnosis(
                pod,
                nodes.registered,
                state.fleet.present,
                nodes_removed=nodes_removed,
                advice=() if extra is None else extra.advice(nodes_removed),
            )
        )
    ranked = [(nodes.names[row], -(-key // PREFERENCE) % GPU_FREE) for row, key in found]
    return Decision(
        placement=Placement(ranked[0][0]),
        mode=PLAIN_MODE,
        score=ranked[0][1],
        device_scores=(),
        alternatives=tuple(ranked[1:]),
        nodes=nodes.registered,
        feasible=feasible,
        devices=0,
        devices_removed=(),
        nodes_removed=nodes_removed,
        parts=()
        if extra is None and pod.affinity is None
        else parts_of_rows([row for row, _ in found], nodes.packing, None, rated.preference, extra),
    )
