"""The face of a vendor: which devices are there now, and how they are.

The agent asks a vendor often and cheaply; a vendor that learns of a change by itself says so through ``on_change``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.errors import TensorFusionError
from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import Isolation
from tensorfusion.runtime.manager import Manager


@dataclass(frozen=True, slots=True)
class Link:
    """Direct links to one other device. ``megabytes`` a second, of all of them together."""

    peer: str
    """UUID of the other device."""
    count: int
    version: int
    megabytes: int


@dataclass(frozen=True, slots=True)
class Device:
    """One physical device. ``compute`` GFLOPS, ``vram`` bytes; ``numa`` is -1 where unknown.

    ``fault`` is empty while the device works, else one line on what is wrong with it.
    """

    uuid: str
    node: str
    index: int
    vendor: str
    model: str
    compute: int
    vram: int
    numa: int = -1
    fault: str = ""
    modes: frozenset[Isolation] = frozenset(Isolation) - {Isolation.PARTITIONED}
    """How it can keep shares apart."""
    max_partitions: int = 0
    """Hardware partitions at most."""
    links: tuple[Link, ...] = ()
    native_pod: str = ""
    """Uid of the pod that the maker's own device plugin gave the device to."""

    @property
    def object_name(self) -> str:
        """Name of the GPU object: the UUID in lower case."""
        return self.uuid.lower()


class DeviceRefused(TensorFusionError):
    """A device does not do what it was told."""


class Vendor(Protocol):
    """Enumerates the devices of one maker. Cheap to call: the agent asks whenever a node is reconciled."""

    def install(self, manager: Manager) -> None:
        """Register whatever the vendor itself has to follow or run. Called once, by the agent."""
        ...

    def devices(self, node: str) -> Sequence[Device]:
        """The devices that answer now, in index order, working or not."""
        ...

    def create_partition(self, device: Device, partition: Partition, *, pod_uid: str) -> str:
        """Cut a partition for a pod and answer its UUID; what is there already is answered again.

        Raises:
            DeviceRefused: the device cannot be cut that way.
        """
        ...

    def destroy_partitions(self, pod_uid: str) -> None:
        """Undo whatever was cut for a pod; nothing if nothing was."""
        ...

    def on_change(self, notify: Callable[[str], None]) -> None:
        """``notify(node)`` is called when a device of the node comes, goes, fails or recovers."""
        ...
