"""A simulated vendor: devices that a fleet describes, which can be lost and regained.

Models how real devices fail as far as the rest of the product can see it: a device that falls off the bus is no longer
enumerated, keeps its identity, and comes back with the same UUID.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence

from tensorfusion.errors import ConfigError
from tensorfusion.hypervisor.vendors.base import Device

_NAMESPACE = uuid.UUID("6b1f3a52-0d4e-5f6a-9a3e-1f6f0c1c7d20")


def device_uuid(node: str, index: int) -> str:
    """The same UUID for the same place, every time."""
    return f"GPU-{uuid.uuid5(_NAMESPACE, f'{node}/{index}')}"


class SimulatedVendor:
    """Satisfies ``base.Vendor`` for any number of nodes."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._by_node: dict[str, list[Device]] = {}
        for device in devices:
            self._by_node.setdefault(device.node, []).append(device)
        self._lost: dict[str, frozenset[int]] = {}
        self._listeners: list[Callable[[str], None]] = []

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that have devices."""
        return frozenset(self._by_node)

    def devices(self, node: str) -> Sequence[Device]:
        lost = self._lost.get(node, frozenset())
        return [device for device in self._by_node.get(node, ()) if device.index not in lost]

    def on_change(self, notify: Callable[[str], None]) -> None:
        self._listeners.append(notify)

    def lose(self, node: str, indices: Iterable[int]) -> None:
        """From now on exactly these devices of the node do not answer; an empty list regains all of them.

        Raises:
            ConfigError: the node has no device of that index.
        """
        wanted = frozenset(indices)
        unknown = wanted - {device.index for device in self._by_node.get(node, ())}
        if unknown:
            raise ConfigError(f"node {node} has no device {min(unknown)}: it has {len(self._by_node.get(node, ()))}")
        if wanted != self._lost.get(node, frozenset()):
            self._lost[node] = wanted
            for notify in self._listeners:
                notify(node)
