"""Why a pod could not be placed: counts per reason, and the one line that users read.

Apart from the search because the search only counts; wording happens when somebody asks.
"""

from dataclasses import dataclass

from tensorfusion.errors import NotFit
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.reasons import WORDS, DeviceReason, NodeReason
from tensorfusion.units import format_milli, humanize_bytes, humanize_gflops


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Facts of one failed decision; a device or node is counted under the first filter that removed it.

    ``nodes`` and ``devices`` are those of the whole fleet.
    """

    pod: PodFacts
    nodes: int
    devices: int
    devices_removed: tuple[tuple[DeviceReason, int], ...] = ()
    nodes_removed: tuple[tuple[NodeReason, int], ...] = ()
    pool_devices: int = 0
    advice: tuple[str, ...] = ()
    """What would help, a sentence each; for rules whose reason alone does not say it."""

    @property
    def message(self) -> str:
        """One line for the pod's condition and event."""
        why = ", ".join(self._causes())
        helps = "".join(f" {advice}." for advice in self.advice)
        return f"0/{self.nodes} nodes are available: {why}.{helps} Requested: {requested(self.pod)}"

    def _causes(self) -> list[str]:
        request = self.pod.request
        if self.nodes == 0:
            return ["no node is registered"]
        if request is not None and not request.pool:
            return ["the pod names no pool"]
        if request is not None and not self.pool_devices:
            return [f"pool {request.pool} has no devices"]
        causes = [_count(count, "device", reason) for reason, count in self.devices_removed]
        causes += [_count(count, "node", reason) for reason, count in self.nodes_removed]
        return causes


def main_reason(diagnosis: Diagnosis) -> DeviceReason | NodeReason:
    """The one reason to count the pod under: that of the last filter, which those met that came closest."""
    if diagnosis.nodes == 0:
        return NodeReason.ABSENT
    if diagnosis.pod.request is not None and not diagnosis.pool_devices:
        return DeviceReason.POOL
    removed = diagnosis.nodes_removed or diagnosis.devices_removed
    return removed[-1][0] if removed else NodeReason.ABSENT


class Unschedulable(NotFit):
    """No node can hold the pod now. The message is put together when it is read."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        super().__init__(requested(diagnosis.pod), {**dict(diagnosis.devices_removed), **dict(diagnosis.nodes_removed)})

    @property
    def message(self) -> str:
        return self.diagnosis.message

    def __str__(self) -> str:
        return self.diagnosis.message


def requested(pod: PodFacts) -> str:
    """What the pod asks for, in words: ``2 x (10 TFLOPS, 8Gi vram) of pool a, 1 cpu``."""
    words = [] if pod.request is None else [_share(pod.request)]
    if pod.cpu:
        words.append(f"{format_milli(pod.cpu)} cpu")
    if pod.memory:
        words.append(f"{humanize_bytes(pod.memory)} memory")
    words += [f"{amount} {name}" for name, amount in sorted(pod.extended.items())]
    return ", ".join(words) or "nothing but a place"


def _share(request: GpuRequest) -> str:
    amounts = []
    if request.compute:
        amounts.append(f"{humanize_gflops(request.compute)} TFLOPS")
    elif request.percent:
        amounts.append(f"{humanize_gflops(request.percent)}% compute")
    if request.vram:
        amounts.append(f"{humanize_bytes(request.vram)} vram")
    if request.partition:
        amounts.append(f"partition {request.partition}")
    share = f"{request.count} x ({', '.join(amounts) or 'any share'})"
    if request.isolation is Isolation.SHARED:
        share = f"{request.count} x whole device"
    wishes = [request.vendor, request.model, *(f"index {index}" for index in request.indices)]
    named = " ".join(wish for wish in wishes if wish)
    return f"{share}{' on ' + named if named else ''} of pool {request.pool or '(none)'}"


def _count(count: int, what: str, reason: DeviceReason | NodeReason) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}: {WORDS[reason]}"
