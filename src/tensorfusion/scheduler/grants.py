"""What a Binding writes into the pod's annotations: its devices, who of its containers gets which, and the epoch.

Apart from the binder because it is pure.

Source: container-gpu-count and container-gpus of TensorFusion's annotation reference: containers in name order take
consecutive parts of the list of devices.
"""

from collections.abc import Mapping, Sequence

import msgspec

from tensorfusion.model import keys
from tensorfusion.model.container_counts import container_counts
from tensorfusion.model.partitions import partitions_text
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.binder import Term
from tensorfusion.scheduling.facts import Placement
from tensorfusion.scheduling.quota import hard_percent

_encode = msgspec.json.Encoder().encode


def binding_annotations(
    annotations: Mapping[str, str],
    containers: Sequence[str],
    devices: tuple[str, ...],
    *,
    epoch: int,
    term: Term | None = None,
) -> dict[str, str]:
    """The annotations that travel in a Binding.

    Without counts every injected container gets all devices; a pod that names no containers to inject has one, or all
    of its containers share.
    """
    written = {keys.SCHEDULER_EPOCH: str(epoch)}
    if term is not None:
        written[keys.SCHEDULER_SHARD] = str(term)
    if not devices:
        return written
    written[keys.GPU_IDS] = ",".join(devices)
    counts = container_counts(annotations, len(devices))
    shares: dict[str, Sequence[str]] = {}
    if counts is None:
        injected = annotations.get(keys.INJECT_CONTAINER)
        names = [name.strip() for name in injected.split(",")] if injected else containers
        shares = dict.fromkeys(sorted(names), devices)
    else:
        start = 0
        for name, count in counts:
            shares[name] = devices[start : start + count]
            start += count
    written[keys.CONTAINER_GPUS] = _encode(shares).decode()
    return written


def hard_annotations(request: GpuRequest, capacities: Sequence[int]) -> dict[str, str]:
    """What hard isolation adds: the percent of the devices' processors, which only their capacity (GFLOPS) tells."""
    return {keys.EFFECTIVE_HARD_SM_PERCENT: str(hard_percent(request, capacities))}


def percent_annotations(request: GpuRequest, capacities: Sequence[int]) -> dict[str, str]:
    """What a share in percent adds: the capacity (GFLOPS) of each device that it is a part of; nothing of any other.

    The capacities and not the amounts, so that a live change of the percentage leaves them true.
    """
    if (request.compute or not request.percent) and (request.compute_limit or not request.percent_limit):
        return {}
    return {keys.GPU_CAPACITIES: ",".join(map(str, capacities))}


def partition_annotations(request: GpuRequest, placement: Placement) -> dict[str, str]:
    """What a partitioned pod gets: its partitions with their places, and the template where it named none."""
    written = {keys.PARTITIONS: partitions_text(placement.devices, placement.partitions)}
    if not request.partition:
        written[keys.PARTITION_ID] = placement.partitions[0].form
    return written
