"""What defragmentation writes on nodes and pods, and reads again: the truth of a campaign after a restart.

Apart from the campaign because it is the wire: labels for people and selectors, annotations for since when and for
which pool. A mark without a pool or a time that can be read is nobody's and is left alone.

Source: TensorFusion's defrag-source, defrag-evict-skip and defrag-evicted keys.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from tensorfusion.clock import timestamp
from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.disruption import DisruptionBudget
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Meta, Raw
from tensorfusion.model.resources import GPU_POOLS, NODES, POD_DISRUPTION_BUDGETS, PODS
from tensorfusion.runtime.cache import Cache
from tensorfusion.runtime.manager import Manager
from tensorfusion.scheduler.room_search import BUDGETS_BY_NAMESPACE

MARKED_PODS, MARKED_NODES = "defrag-pods", "defrag-nodes"
"""Indexes of pods and nodes that are marked, by pool."""


@dataclass(frozen=True, slots=True)
class MarkKind:
    """The keys of one kind of mark."""

    label: str
    since: str
    pool: str
    reason: str = ""

    def of(self, meta: Meta) -> "Mark | None":
        """The mark of an object; None where it has none."""
        if self.label not in meta.labels:
            return None
        pool, since = meta.annotations.get(self.pool, ""), _moment(meta.annotations.get(self.since, ""))
        return Mark(pool, since) if pool and since is not None else None

    def put(self, pool: str, *, now: datetime, reason: str = "") -> Raw:
        """A merge patch that marks an object."""
        annotations = {self.pool: pool, self.since: timestamp(now)}
        if self.reason:
            annotations[self.reason] = reason
        return {"metadata": {"labels": {self.label: "true"}, "annotations": annotations}}

    def take(self) -> Raw:
        """A merge patch that takes the mark away."""
        annotations = dict.fromkeys([key for key in (self.pool, self.since, self.reason) if key])
        return {"metadata": {"labels": {self.label: None}, "annotations": annotations}}


@dataclass(frozen=True, slots=True)
class Mark:
    """For which pool, and since when."""

    pool: str
    since: datetime


SOURCE = MarkKind(keys.DEFRAG_SOURCE, keys.DEFRAG_SOURCE_SINCE, keys.DEFRAG_SOURCE_POOL)
"""A node that is being emptied."""
SKIP = MarkKind(keys.DEFRAG_SKIP, keys.DEFRAG_SKIP_SINCE, keys.DEFRAG_SKIP_POOL, keys.DEFRAG_SKIP_REASON)
"""A node from which a pod could not be evicted."""
EVICTED = MarkKind(keys.DEFRAG_EVICTED, keys.DEFRAG_EVICTED_SINCE, keys.DEFRAG_EVICTED_POOL)
"""A pod that is moved, or its successor that has no place yet."""


@dataclass(frozen=True, slots=True)
class Caches:
    """What the campaigns read; pods and nodes are indexed by their marks."""

    pods: Cache[Pod]
    nodes: Cache[Node]
    pools: Cache[GPUPool]
    budgets: Cache[DisruptionBudget]

    def marked_pools(self) -> set[str]:
        """The pools that marks name, whether they are there or not."""
        return {*self.nodes.values_of(MARKED_NODES), *self.pods.values_of(MARKED_PODS)}


def caches_of(manager: Manager) -> Caches:
    """The caches of a manager's informers, with the indexes that are asked."""
    pods, nodes = manager.informer(PODS, Pod), manager.informer(NODES, Node)
    budgets = manager.informer(POD_DISRUPTION_BUDGETS, DisruptionBudget)
    pods.add_index(MARKED_PODS, _pools_of_pod)
    nodes.add_index(MARKED_NODES, _pools_of_node)
    budgets.add_index(BUDGETS_BY_NAMESPACE, lambda budget: (budget.metadata.namespace,))
    return Caches(pods.cache, nodes.cache, manager.informer(GPU_POOLS, GPUPool).cache, budgets.cache)


def _pools_of_pod(pod: Pod) -> tuple[str, ...]:
    mark = EVICTED.of(pod.metadata)
    return () if mark is None else (mark.pool,)


def _pools_of_node(node: Node) -> tuple[str, ...]:
    return tuple({mark.pool for kind in (SOURCE, SKIP) if (mark := kind.of(node.metadata)) is not None})


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
