"""How many pods of one kind could still go onto each node, at most: what orders the domains that a gang is tried in.

An upper bound in a few column operations, never too low: a domain that it rules out cannot hold the gang, one that it
lets pass is tried for real. Rejected: deciding the gang in every rack, which costs a gang's worth of decisions each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.codes import FITS, Ints
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.residents import Bools
from tensorfusion.scheduling.search import needs
from tensorfusion.scheduling.shapes import ALLOWED
from tensorfusion.scheduling.state import State

_PARTITIONS = 16
"""More hardware partitions than any device is cut into."""
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class _Freed:
    """What pods would leave, by node row and (slots, rows) of one pool."""

    nodes: Mapping[NodeReason, Ints]
    workers: Ints
    compute: Ints
    vram: Ints


def room_by_node(state: State, pod: PodFacts, *, without: Bools | None = None) -> Ints:
    """The most pods like this one that each node row may take. Shape (node rows,).

    ``without``: as if the pods of these rows of ``Residents`` had left.
    """
    nodes = state.fleet.nodes
    pool = state.fleet.pools.get(pod.request.pool) if pod.request is not None else None
    if pod.request is not None and (pool is None or not pool.count):
        return np.zeros(nodes.size, np.int64)
    freed = _freed(state, pool, without) if without is not None else None
    shape = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
    most = np.where(shape.codes == ALLOWED, _MOST, 0).astype(np.int64)
    for reason, free, need in needs(nodes, pod):
        has = free if freed is None else free + freed.nodes[reason]
        np.minimum(most, np.maximum(has, 0) // need, out=most)
    if pod.request is not None and pool is not None:
        np.minimum(most, _shares(pool, nodes, pod.request, freed), out=most)
    return most


def _freed(state: State, pool: PoolColumns | None, without: Bools) -> _Freed:
    residents, size = state.residents, state.fleet.nodes.size
    rows = np.flatnonzero(without)
    at = residents.node[rows]
    pods = np.bincount(at, minlength=size)
    on_nodes = {
        NodeReason.CPU: _sums(at, residents.cpu[rows], size),
        NodeReason.MEMORY: _sums(at, residents.memory[rows], size),
        NodeReason.PODS: pods,
        NodeReason.EXTENDED: np.where(pods > 0, _MOST, 0),  # nobody wrote down how much of these
    }
    workers = _sums(at, residents.worker[rows], size)
    if pool is None:
        nothing = np.zeros(0, np.int64)
        return _Freed(on_nodes, workers, nothing, nothing)
    used = slice(residents.share_count)
    shares = np.flatnonzero(without[residents.share_pod[used]])
    places = residents.places(pool)[residents.share_device[shares]]
    shares, places = shares[places >= 0], places[places >= 0]
    count = pool.compute_free.size
    compute, vram = (
        _sums(places, column[shares], count).reshape(pool.shape)
        for column in (residents.share_compute, residents.share_vram)
    )
    return _Freed(on_nodes, workers, compute, vram)


def _sums(at: Ints, amounts: Ints, size: int) -> Ints:
    """Amounts added up by place. Exact: each sum stays below 2^53."""
    return np.bincount(at, weights=amounts, minlength=size).astype(np.int64)


def _shares(pool: PoolColumns, nodes: NodeColumns, request: GpuRequest, freed: _Freed | None) -> Ints:
    """What the devices of each node row hold of such requests, and the pool's limit of workers."""
    each = np.where(pool.static(request).codes == FITS, _MOST, 0).astype(np.int64)
    if request.isolation is Isolation.PARTITIONED:
        np.minimum(each, _PARTITIONS, out=each)
    elif request.isolation is Isolation.SHARED:
        np.minimum(each, (pool.modes == 0) | (freed is not None), out=each)
    else:
        compute, vram = pool.compute_free, pool.vram_free
        if freed is not None:
            compute, vram = compute + freed.compute, vram + freed.vram
        if request.compute or request.percent:
            need = np.maximum(request.compute or pool.cost(request.percent), 1)
            np.minimum(each, np.maximum(compute, 0) // need, out=each)
        if request.vram:
            np.minimum(each, np.maximum(vram, 0) // request.vram, out=each)
    by_row = each.sum(axis=0) // request.count
    by_row[np.count_nonzero(each, axis=0) < request.count] = 0
    found = np.bincount(pool.node_row, weights=by_row, minlength=nodes.size)[: nodes.size].astype(np.int64)
    workers = nodes.workers if freed is None else nodes.workers - freed.workers
    most = pool.facts.max_workers_per_node
    return np.minimum(found, np.maximum(most - workers, 0)) if most > 0 else found
