"""What a Binding writes into the pod's annotations: its devices, who of its containers gets which, and the epoch.

Apart from the binder because it is pure, and because a wrong wish (counts that do not add up) must be known when the
pod is read, not when it is bound.

Source: container-gpu-count and container-gpus of TensorFusion's annotation reference: containers in name order take
consecutive parts of the list of devices.
"""

from collections.abc import Mapping, Sequence

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys

_counts = msgspec.json.Decoder(dict[str, int])
_encode = msgspec.json.Encoder().encode


def container_counts(annotations: Mapping[str, str], devices: int) -> tuple[tuple[str, int], ...] | None:
    """How many devices each container takes, in name order; None where the annotation is not set.

    Raises:
        InvalidRequest: the annotation is no map of counts, or the counts do not add up to ``devices``.
    """
    text = annotations.get(keys.CONTAINER_GPU_COUNT)
    if not text:
        return None
    wanted = f'annotation {keys.CONTAINER_GPU_COUNT}: wanted JSON such as {{"main": 1}}'
    try:
        counts = _counts.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{wanted}, found {text[:64]!r}") from error
    if any(count < 0 for count in counts.values()) or sum(counts.values()) != devices:
        raise InvalidRequest(f"{wanted} whose counts add up to gpu-count {devices}, found {text[:64]!r}")
    return tuple(sorted(counts.items()))


def binding_annotations(
    annotations: Mapping[str, str], containers: Sequence[str], devices: tuple[str, ...], *, epoch: int
) -> dict[str, str]:
    """The annotations that travel in a Binding.

    Without counts every injected container gets all devices; a pod that names no containers to inject has one, or all
    of its containers share.
    """
    written = {keys.SCHEDULER_EPOCH: str(epoch)}
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
