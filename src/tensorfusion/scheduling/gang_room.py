"""How many pods of one kind could still go onto each node, at most: what orders the domains that a gang is tried in.

An upper bound in a few column operations, never too low: a domain that it rules out cannot hold the gang, one that it
lets pass is tried for real. Rejected: deciding the gang in every rack, which costs a gang's worth of decisions each.
"""

import numpy as np

from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.codes import FITS, Ints
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.search import needs
from tensorfusion.scheduling.shapes import ALLOWED
from tensorfusion.scheduling.state import State

_PARTITIONS = 16
"""More hardware partitions than any device is cut into."""
_MOST = 1 << 20


def room_by_node(state: State, pod: PodFacts) -> Ints:
    """The most pods like this one that each node row may take. Shape (node rows,)."""
    nodes = state.fleet.nodes
    shape = nodes.shapes.of(pod, nodes.with_facts, nodes.size)
    most = np.where(shape.codes == ALLOWED, _MOST, 0).astype(np.int64)
    for _, free, need in needs(nodes, pod):
        np.minimum(most, np.maximum(free, 0) // need, out=most)
    if pod.request is not None:
        pool = state.fleet.pools.get(pod.request.pool)
        if pool is None or not pool.count:
            return np.zeros(nodes.size, np.int64)
        np.minimum(most, _shares(pool, nodes, pod.request), out=most)
    return most


def _shares(pool: PoolColumns, nodes: NodeColumns, request: GpuRequest) -> Ints:
    """What the devices of each node row hold of such requests, and the pool's limit of workers."""
    each = np.where(pool.static(request) == FITS, _MOST, 0).astype(np.int64)
    if request.isolation is Isolation.PARTITIONED:
        np.minimum(each, _PARTITIONS, out=each)
    else:
        if request.isolation is Isolation.SHARED:
            np.minimum(each, pool.modes == 0, out=each)
        elif request.compute or request.percent:
            need = np.maximum(request.compute or pool.cost(request.percent), 1)
            np.minimum(each, np.maximum(pool.compute_free, 0) // need, out=each)
        if request.vram and request.isolation is not Isolation.SHARED:
            np.minimum(each, np.maximum(pool.vram_free, 0) // request.vram, out=each)
    by_row = each.sum(axis=0) // request.count
    by_row[np.count_nonzero(each, axis=0) < request.count] = 0
    found = np.bincount(pool.node_row, weights=by_row, minlength=nodes.size)[: nodes.size].astype(np.int64)
    most = pool.facts.max_workers_per_node
    return np.minimum(found, np.maximum(most - nodes.workers, 0)) if most > 0 else found
