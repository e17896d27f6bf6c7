"""What the cluster's objects say about which nodes may be emptied and which pods may be moved.

Apart from the campaign because a plan that nobody carries out (``tensorfusion defrag plan``) has to respect the same.

Source: TensorFusion's defragmentation: guards and marks.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

from tensorfusion.clock import Clock
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.meta import Key, Object
from tensorfusion.model.resources import GPU_NODES
from tensorfusion.scheduler.defrag_marks import SKIP, SOURCE, Caches
from tensorfusion.scheduler.room_search import Covering
from tensorfusion.scheduling.defrag_candidates import Terms, Why
from tensorfusion.scheduling.facts import PodFacts


class Restraints:
    """Read at the moment of each question."""

    def __init__(self, api: Api, caches: Caches, *, clock: Clock) -> None:
        self._api = api
        self._caches = caches
        self._clock = clock

    async def closed_nodes(self) -> dict[str, Why]:
        """Nodes whose GPUNode says that they are not to be disrupted; asked for, as few are and nobody follows them.

        Raises:
            ApiError: it cannot be asked.
        """
        listed = await self._api.list(GPU_NODES, Object, labels=f"{keys.DO_NOT_DISRUPT}=true")
        return {one.metadata.name: Why.DO_NOT_DISRUPT for one in listed.items}

    def terms(self, pool: str, *, threshold: int, min_age: timedelta, closed: Mapping[str, Why]) -> Terms:
        """What a plan for the pool has to respect at this moment; ``closed`` are nodes that nobody else knows of."""
        closed, barred = dict(closed), set()
        there = {one.metadata.name for one in self._caches.pools.all()}
        for node in self._caches.nodes.all():
            labels, name = node.metadata.labels, node.metadata.name
            source = SOURCE.of(node.metadata)
            if (source is not None and source.pool in there) or keys.SHOULD_DELETE in labels:
                barred.add(name)
                closed.setdefault(name, Why.LEAVING)
            if labels.get(keys.DO_NOT_DISRUPT) == "true":
                closed.setdefault(name, Why.DO_NOT_DISRUPT)
            mark = SKIP.of(node.metadata)
            if mark is not None and mark.pool == pool:
                closed.setdefault(name, Why.SKIPPED)
        covering = Covering(self._caches.budgets)
        return Terms(
            pool=pool,
            now=int(self._clock.now().timestamp()),
            threshold=threshold,
            min_age=int(min_age.total_seconds()),
            budgets=covering.allowed,
            veto=partial(self.veto, covering=covering),
            closed=closed,
            barred=frozenset(barred),
        )

    def veto(self, facts: PodFacts, covering: Covering | None = None) -> Why | None:
        """What the objects say about a pod that its facts do not."""
        pod = self._caches.pods.get(Key(facts.namespace, facts.name))
        if pod is None or pod.metadata.uid != facts.uid:
            return Why.BARE  # gone; the event is on its way
        meta = pod.metadata
        if "true" in (meta.annotations.get(keys.DO_NOT_DISRUPT), meta.labels.get(keys.DO_NOT_DISRUPT)):
            return Why.DO_NOT_DISRUPT
        owner = meta.controller
        if owner is None or owner.kind == "DaemonSet":
            return Why.BARE
        covering = Covering(self._caches.budgets) if covering is None else covering
        return None if covering.is_meant(facts) else Why.MISSING_PDB

    def owner(self, facts: PodFacts) -> str:
        """The uid of the controller of a pod; empty for none."""
        pod = self._caches.pods.get(Key(facts.namespace, facts.name))
        owner = None if pod is None else pod.metadata.controller
        return "" if owner is None else owner.uid
