"""What people are told of campaigns: events about pools, nodes and pods.

Apart from the campaign because it decides nothing. Why a node stays as it is is said once in a campaign.

Source: TensorFusion's defrag events.
"""

from collections.abc import Mapping

from tensorfusion.model.core import Node
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPU_POOLS, NODES, PODS
from tensorfusion.runtime.events import EventType, reference_to
from tensorfusion.scheduler.defrag_marks import Caches
from tensorfusion.scheduler.reports import Recorder
from tensorfusion.scheduling.defrag_candidates import Kept, Why
from tensorfusion.scheduling.facts import PodFacts

_SKIPPED = {
    Why.MISSING_PDB: "DefragSkipMissingPDB",
    Why.PDB_BLOCKED: "DefragSkipPDBBlocked",
    Why.UNSCHEDULABLE: "DefragSkipUnschedulable",
}
_BLOCKED: Mapping[Why, str] = {
    why: "DefragBlockedBy" + "".join(part.capitalize() for part in why.name.split("_")) for why in Why
}
_QUIET = (Why.SKIPPED, Why.LEAVING, Why.ARRIVING, Why.DO_NOT_DISRUPT)
"""What needs no event: somebody said so, or it is over in a moment."""


class Words:
    """Events through the recorder, which aggregates them."""

    def __init__(self, recorder: Recorder, caches: Caches) -> None:
        self._recorder = recorder
        self._caches = caches

    def pool(self, pool: GPUPool, type_: EventType, reason: str, words: str) -> None:
        self._recorder.record(reference_to(GPU_POOLS, pool), type_=type_, reason=reason, message=words)

    def node(self, node: Node, reason: str, words: str) -> None:
        self._recorder.record(reference_to(NODES, node), type_=EventType.WARNING, reason=reason, message=words)

    def pod(self, facts: PodFacts, type_: EventType, reason: str, words: str) -> None:
        """About this very pod, while it is known."""
        pod = self._caches.pods.get(Key(facts.namespace, facts.name))
        if pod is not None and pod.metadata.uid == facts.uid:
            self._recorder.record(reference_to(PODS, pod), type_=type_, reason=reason, message=words)

    def kept(self, told: set[tuple[str, Why]], name: str, kept: Kept) -> None:
        """Why a node stays as it is, unless that was ``told``."""
        node = self._caches.nodes.get(Key("", name))
        if node is None or kept.why in _QUIET or (name, kept.why) in told:
            return
        told.add((name, kept.why))
        self.node(node, _SKIPPED.get(kept.why, _BLOCKED[kept.why]), f"not emptied: {kept}")
