"""What a gang is: pods that start together or not at all, and how admission writes that on each of them.

Apart from admission and the scheduler because both speak it: admission stamps annotations, the scheduler reads nothing
but the stamps, and the operator reads them once more for the workload's status.

Source: TensorFusion's gang contract (gang-desired-members, gang-required-members, gang-group-key). Ours: the mode and
the topology as annotations of the pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import parse_wishes
from tensorfusion.model.meta import Meta
from tensorfusion.model.workload import GangMode, GangTopology

INCOMPLETE = "members are known"
"""Words of every reason that says a gang waits for pods that do not exist yet: the operator tells them apart by it."""
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Gang:
    """The gang of one pod, as its annotations say. ``timeout`` is in seconds; 0 waits for ever.

    ``topology_key`` is a node label; empty for the scheduler's own keys.
    """

    key: str
    required: int
    desired: int
    strict: bool = False
    timeout: float = 0.0
    topology: GangTopology = GangTopology.PREFERRED
    topology_key: str = ""


def gang_of(meta: Meta) -> Gang | None:
    """The gang of an admitted pod; None for a pod that is none of its members.

    A key of another namespace counts in the pod's own: nobody joins a gang across that border.

    Raises:
        InvalidRequest: a stamp cannot be understood.
    """
    annotations = meta.annotations
    required = _members(annotations, keys.GANG_REQUIRED_MEMBERS)
    if required is None or required < 2:
        return None
    desired = _members(annotations, keys.GANG_DESIRED_MEMBERS)
    key = annotations.get(keys.GANG_GROUP_KEY) or meta.labels.get(keys.WORKLOAD) or meta.name
    own = f"{meta.namespace}/"
    wishes = parse_wishes({name: annotations[name] for name in _READ if name in annotations})
    return Gang(
        key=key if key.startswith(own) else own + key,
        required=required,
        desired=max(required, desired or 0),
        strict=wishes.gang_mode is GangMode.STRICT,
        timeout=(wishes.gang_timeout or 0) / _SECOND,
        topology=wishes.gang_topology or GangTopology.PREFERRED,
        topology_key=wishes.gang_topology_key or "",
    )


_READ = (keys.GANG_MODE, keys.GANG_TIMEOUT, keys.GANG_TOPOLOGY, keys.GANG_TOPOLOGY_KEY)


def _members(annotations: Mapping[str, str], key: str) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest(f"annotation {key}: wanted a whole number, found {text[:64]!r}: admission writes it")
    return int(text)
