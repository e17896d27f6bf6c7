"""The face of a vendor: which devices are there now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Device:
    """One physical device. ``compute`` GFLOPS, ``vram`` bytes; ``numa`` is -1 where unknown."""

    uuid: str
    node: str
    index: int
    vendor: str
    model: str
    compute: int
    vram: int
    numa: int = -1

    @property
    def object_name(self) -> str:
        """Name of the GPU object: the UUID in lower case."""
        return self.uuid.lower()


class Vendor(Protocol):
    """Enumerates devices. Cheap to call: the agent asks whenever a node is reconciled."""

    def devices(self, node: str) -> Sequence[Device]:
        """The devices that answer now, in index order."""
        ...

    def on_change(self, notify: Callable[[str], None]) -> None:
        """``notify(node)`` is called when a device of the node comes or goes."""
        ...
