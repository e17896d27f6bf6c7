"""Which changes of the fleet can help which pod: what wakes a pod that could not be placed.

Pure predicates that err on the side of waking: a pod woken in vain costs one decision, one never woken waits for
ever. A change carries what is free *after* it, so two releases of half a share each wake the pod that needs the whole.

Source: TensorFusion's queue hints; ours looks at what is free rather than at how much it grew.
"""

from dataclasses import dataclass
from enum import StrEnum

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.gpu import GpuPhase
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts
from tensorfusion.scheduling.quota import compute_on
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.shapes import refusal, rules_of

_NEIGHBOURS = frozenset(
    {
        NodeReason.UNLABELLED,
        NodeReason.SPREAD,
        NodeReason.POD_AFFINITY,
        NodeReason.POD_ANTI_AFFINITY,
        NodeReason.KEPT_OFF,
    }
)


class ChangeKind(StrEnum):
    """What changed. A device's or node's change is any that may let it take more: added, altered, or released."""

    DEVICE = "device"
    NODE = "node"
    POOL = "pool"
    QUOTA = "quota"
    USAGE = "usage"
    COHORT = "cohort"
    """Who shares with whom, or how much, is another: for every namespace in a cohort."""
    NEIGHBOUR = "neighbour"
    """A pod was placed, or is on its way out, where pods have rules about each other."""
    HOLD = "hold"
    """A pool may keep fewer whole nodes free for those who want them whole."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change, and what is free after it. ``name`` is the pool's or, for quota and usage, the namespace's.

    ``cohort`` is the tree of cohorts that the namespace is in, if any.
    """

    kind: ChangeKind
    name: str = ""
    cohort: str = ""
    device: DeviceFacts | None = None
    compute_free: int = 0
    vram_free: int = 0
    held: bool = False
    """Somebody holds a share of the device."""
    node: NodeFacts | None = None
    cpu_free: int = 0
    memory_free: int = 0


def helps(failure: NotFit | QuotaExceeded, change: Change) -> bool:
    """Whether a pod that failed so may fit after the change."""
    if isinstance(failure, QuotaExceeded):
        return _helps_over_quota(failure, change)
    if not isinstance(failure, Unschedulable):
        return True
    pod, diagnosis = failure.diagnosis.pod, failure.diagnosis
    if change.kind in (ChangeKind.NEIGHBOUR, ChangeKind.NODE) and any(
        reason in _NEIGHBOURS for reason, _ in diagnosis.nodes_removed
    ):
        return True  # what changed in one node's domain counts for every node of the domain
    if change.kind is ChangeKind.NODE:
        if change.node is None or (pod.request is not None and not diagnosis.nodes_removed):
            return False
        return _node_fits(pod, change, change.node)
    if pod.request is None:
        return False
    if change.kind is ChangeKind.DEVICE:
        if change.device is not None and not change.device.ours:  # the plugin has chosen: the others are free again
            return any(reason is NodeReason.NATIVE for reason, _ in diagnosis.nodes_removed)
        return change.device is not None and _device_fits(pod.request, change, change.device)
    if change.name != pod.request.pool:
        return False
    if change.kind is ChangeKind.HOLD:
        return any(reason is NodeReason.KEPT_WHOLE for reason, _ in diagnosis.nodes_removed)
    return change.kind is ChangeKind.POOL


def _helps_over_quota(failure: QuotaExceeded, change: Change) -> bool:
    if failure.cohort:  # what one member gives back another may use
        if change.kind is ChangeKind.COHORT:
            return True
        if change.kind is ChangeKind.USAGE and failure.cohort == change.cohort:
            return failure.resolvable
    if failure.namespace != change.name:
        return False
    return change.kind is ChangeKind.QUOTA or (change.kind is ChangeKind.USAGE and failure.resolvable)


def _node_fits(pod: PodFacts, change: Change, node: NodeFacts) -> bool:
    return pod.cpu <= change.cpu_free and pod.memory <= change.memory_free and refusal(rules_of(pod), node) is None


def _device_fits(request: GpuRequest, change: Change, device: DeviceFacts) -> bool:
    return (
        device.pool == request.pool
        and device.phase == GpuPhase.RUNNING
        and device.ours
        and request.vendor in ("", device.vendor)
        and (not request.indices or device.index in request.indices)
        and (not request.model or model_matches(request.model, device.model))
        and compute_on(request, device.compute) <= change.compute_free
        and request.vram <= change.vram_free
        and not (request.isolation is Isolation.SHARED and change.held)
    )
