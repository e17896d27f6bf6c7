"""What a recording says: one small event for each thing that happened, and the facts that events refer to by number.

Apart from files and from the scheduler because it is the format: what is written here is read by later versions. An
event is an array of its tag, its time and its own values. More values may be added at the end of an event, with a
default; anything else needs another ``VERSION``. Facts are those that decisions are made of, as maps: a later field of
theirs has its default in an older recording.

Numbers of pods, nodes, devices, shapes and cuts are those of one segment: a segment can be read without any other.
Times are milliseconds after the base of their frame, which is in milliseconds since 1970.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from tensorfusion.model.partitions import Partition, Profile
from tensorfusion.scheduling.facts import CohortFacts, DeviceFacts, NodeFacts, PodFacts, PoolFacts, QuotaFacts
from tensorfusion.scheduling.profile import Profiles

VERSION = 1
MAGIC = b"tensorfusion recording "
"""A segment begins with this, the version and a line feed."""


class Ending(StrEnum):
    """How a pod ended. ``DELETED`` while it waited, or while it ran, by whoever made it."""

    FINISHED = "finished"
    FAILED = "failed"
    EVICTED = "evicted"
    DELETED = "deleted"


class _Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    at: int


class Opened(_Event, frozen=True, array_like=True, tag="open"):
    """A segment begins. What follows until ``Told`` is the world as it was."""

    series: str
    names: bool
    """Namespaces, pods and nodes are called by their names."""
    cluster_wide: bool
    """Pods of other namespaces may be evicted for a pod."""
    domains: tuple[str, ...]
    """Node labels within which gangs are placed together, narrowest first."""
    patience: float
    """Seconds after which younger pods wait for a gang."""
    profiles: Profiles
    cluster: str = ""
    """Another one for another cluster: what is called the same in both is not the same."""
    complete: bool = False
    """All pods of the cluster that have a place are told, whoever placed and recorded them, and all that wait for a
    place in one of ``pools`` or want no share. Of them, who is not told is over."""
    pools: tuple[str, ...] | None = None
    """None: all pools are this scheduler's."""


class Told(_Event, frozen=True, array_like=True, tag="told"):
    """The world at the beginning of the segment is complete."""


class Closed(_Event, frozen=True, array_like=True, tag="close"):
    """The scheduler stopped deciding, or ended, and recorded everything until then."""


class Configured(_Event, frozen=True, array_like=True, tag="conf"):
    """Pods are placed by other profiles."""

    profiles: Profiles


class NodeSet(_Event, frozen=True, array_like=True, tag="node"):
    """A node came or changed."""

    number: int
    facts: NodeFacts


class NodeGone(_Event, frozen=True, array_like=True, tag="node-"):
    number: int


class Cuts(_Event, frozen=True, array_like=True, tag="cuts"):
    """What a model can be cut into: devices refer to it by number."""

    number: int
    profile: Profile


class DeviceSet(_Event, frozen=True, array_like=True, tag="dev"):
    """A device came or changed. ``cuts`` -1: it cannot be cut. ``micro_usd`` an hour; 0 where nobody knows."""

    number: int
    facts: DeviceFacts
    cuts: int
    micro_usd: int


class DeviceGone(_Event, frozen=True, array_like=True, tag="dev-"):
    number: int


class PoolSet(_Event, frozen=True, array_like=True, tag="pool"):
    facts: PoolFacts


class PoolGone(_Event, frozen=True, array_like=True, tag="pool-"):
    name: str


class QuotaSet(_Event, frozen=True, array_like=True, tag="quota"):
    facts: QuotaFacts


class QuotaGone(_Event, frozen=True, array_like=True, tag="quota-"):
    namespace: str


class CohortSet(_Event, frozen=True, array_like=True, tag="cohort"):
    facts: CohortFacts


class CohortGone(_Event, frozen=True, array_like=True, tag="cohort-"):
    name: str


class NamespaceSet(_Event, frozen=True, array_like=True, tag="ns"):
    """A namespace came or changed its labels; None: it went."""

    name: str
    labels: dict[str, str] | None


class Shape(_Event, frozen=True, array_like=True, tag="shape"):
    """What pods of one template ask for: facts without what is a single pod's own."""

    number: int
    facts: PodFacts


class Arrived(_Event, frozen=True, array_like=True, tag="a"):
    """A pod waits for a place. ``pod`` is drawn from its uid, and the same in all segments.

    ``early`` milliseconds before ``at`` it was created, where it was not seen coming. ``pinned``: somebody else chose
    its node, or it had its place when the segment began and nobody recorded its arrival.
    """

    number: int
    pod: int
    shape: int
    namespace: str
    gang: str = ""
    early: int = 0
    pinned: bool = False
    name: str = ""


class Decided(_Event, frozen=True, array_like=True, tag="d"):
    """The first decision about a pod; ``reason`` why it got no place."""

    number: int
    reason: str = ""


class Bound(_Event, frozen=True, array_like=True, tag="b"):
    """The API server said where a pod is."""

    number: int
    node: int
    devices: tuple[int, ...] = ()
    partitions: tuple[Partition, ...] = ()


class Running(_Event, frozen=True, array_like=True, tag="r"):
    number: int


class Resized(_Event, frozen=True, array_like=True, tag="z"):
    """A running pod holds other amounts."""

    number: int
    shape: int


class Ended(_Event, frozen=True, array_like=True, tag="e"):
    number: int
    how: Ending


Event: TypeAlias = (
    Opened
    | Told
    | Closed
    | Configured
    | NodeSet
    | NodeGone
    | Cuts
    | DeviceSet
    | DeviceGone
    | PoolSet
    | PoolGone
    | QuotaSet
    | QuotaGone
    | CohortSet
    | CohortGone
    | NamespaceSet
    | Shape
    | Arrived
    | Decided
    | Bound
    | Running
    | Resized
    | Ended
)


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is written at once. Without events it says that nothing happened until then."""

    base: int
    events: tuple[Event, ...]


def _plain(value: Any) -> Any:  # Any: msgspec's own hook
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(type(value).__name__)


encode = msgspec.msgpack.Encoder(enc_hook=_plain, order="deterministic").encode
decode_frame = msgspec.msgpack.Decoder(Frame).decode
