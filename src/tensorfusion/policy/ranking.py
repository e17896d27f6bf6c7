"""Which pods a controller gives up first: the least useful ones.

Source: kube-controller-manager's ActivePodsWithRanks: unassigned, then pending, then unready, then the cheaper by
annotation, then those that share their node with more of their kind, then those ready for less long, then the newer.
"""

from collections import Counter
from collections.abc import Sequence

from tensorfusion.model.core import Pod

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(pods: Sequence[Pod]) -> list[Pod]:
    """The pods, the first to go first. The same pods always come in the same order."""
    on_node = Counter(pod.spec.node_name for pod in pods)
    newest_last = sorted(pods, key=lambda pod: pod.metadata.name)
    newest_last.sort(key=lambda pod: pod.metadata.creation_timestamp or "", reverse=True)
    newest_last.sort(key=lambda pod: pod_ready_since(pod) or "", reverse=True)
    return sorted(newest_last, key=lambda pod: _usefulness(pod, on_node[pod.spec.node_name]))


def pod_ready_since(pod: Pod) -> str | None:
    """When the pod became ready, ``""`` if nobody said when; None while it is not."""
    return next(
        (c.last_transition_time or "" for c in pod.status.conditions if c.type == "Ready" and c.status == "True"), None
    )


def _usefulness(pod: Pod, neighbours: int) -> tuple[bool, int, bool, int, int]:
    phase = _PHASES.get(pod.status.phase, 0)
    return bool(pod.spec.node_name), phase, pod_ready_since(pod) is not None, _cost(pod), -neighbours


def _cost(pod: Pod) -> int:
    text = pod.metadata.annotations.get(DELETION_COST, "0")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else 0
