"""How many of a pod's devices each of its containers takes.

Apart from the other annotations because admission writes this one where native GPU limits say it, and the scheduler
reads it when it hands the devices out: a wrong value must be known when the pod is created, not when it is bound.

Source: container-gpu-count of TensorFusion's annotation reference.
"""

from collections.abc import Mapping

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys

_counts = msgspec.json.Decoder(dict[str, int])


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
