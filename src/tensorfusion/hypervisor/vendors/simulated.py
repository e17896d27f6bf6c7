"""A simulated vendor: devices that a fleet describes, which can be lost, break, and come back.

Models how real devices fail as far as the rest of the product can see it. A device that falls off the bus is no longer
enumerated, keeps its identity, and comes back with the same UUID; a broken one is still there and says what is wrong.
Both are asked for on the Node, by comma lists of device indices in ``simulated.tensor-fusion.ai/lost-devices`` and
``.../faulty-devices``, so that ``kubectl annotate`` is all it takes.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tensorfusion.errors import ConfigError
from tensorfusion.hypervisor.vendors.base import Device, DeviceRefused, Link
from tensorfusion.model import keys
from tensorfusion.model.catalogue import lookup
from tensorfusion.model.core import Node
from tensorfusion.model.interconnects import LinkLayout, link_figures, usual_layout
from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import Isolation
from tensorfusion.model.resources import NODES
from tensorfusion.policy.injection import has_soft_limiter
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

LOST_DEVICES = f"simulated.{keys.DOMAIN}/lost-devices"
FAULTY_DEVICES = f"simulated.{keys.DOMAIN}/faulty-devices"
FAULT = "the device reports an uncorrectable error (simulated)"

_NAMESPACE = uuid.UUID("6b1f3a52-0d4e-5f6a-9a3e-1f6f0c1c7d20")
_NUMA_NODES = 2

log = get_logger(__name__)


def device_uuid(node: str, index: int) -> str:
    """The same UUID for the same place, every time."""
    return f"GPU-{uuid.uuid5(_NAMESPACE, f'{node}/{index}')}"


def devices_of(
    node: str,
    *,
    count: int,
    vendor: str,
    model: str,
    compute: int,
    vram: int,
    numa: int | None = None,
    links: LinkLayout | None = None,
) -> list[Device]:
    """The equal devices of one simulated node. ``compute`` GFLOPS, ``vram`` bytes.

    ``numa`` is the number of NUMA nodes that they are spread over, 0 for devices that do not say where they are.
    Without it, and without ``links``, they are as machines with such devices mostly are.
    """
    facts = lookup(model)
    partitions = facts.max_partitions if facts is not None else 0
    modes = _modes(vendor, partitions)
    places = min(count, _NUMA_NODES) if numa is None else numa
    layout = usual_layout(model) if links is None else links
    return [
        Device(
            uuid=device_uuid(node, index),
            node=node,
            index=index,
            vendor=vendor,
            model=model,
            compute=compute,
            vram=vram,
            numa=index * places // count if places else -1,
            modes=modes,
            max_partitions=partitions,
            links=_links(node, index, count=count, model=model, layout=layout),
        )
        for index in range(count)
    ]


def _links(node: str, index: int, *, count: int, model: str, layout: LinkLayout) -> tuple[Link, ...]:
    """The direct links of one device; through switches each other device is reached with all of them."""
    peers = {
        LinkLayout.ALL: [peer for peer in range(count) if peer != index],
        LinkLayout.PAIRS: [peer for peer in (index ^ 1,) if peer < count],
        LinkLayout.NONE: [],
    }[layout]
    figures = link_figures(model)
    return tuple(Link(device_uuid(node, peer), figures.count, figures.version, figures.megabytes) for peer in peers)


class SimulatedVendor:
    """Satisfies ``base.Vendor`` for any number of nodes."""

    def __init__(self, devices: Iterable[Device]) -> None:
        self._by_node: dict[str, list[Device]] = {}
        for device in devices:
            self._by_node.setdefault(device.node, []).append(device)
        self._lost: dict[str, frozenset[int]] = {}
        self._faulty: dict[str, frozenset[int]] = {}
        self._partitions: dict[str, dict[str, Partition]] = {}
        """Partitions by UUID of the device and uid of the pod."""
        self._listeners: list[Callable[[str], None]] = []

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that have devices."""
        return frozenset(self._by_node)

    def install(self, manager: Manager) -> None:
        """Follow the annotations of the Nodes."""
        manager.informer(NODES, Node).subscribe(self._on_node)

    def devices(self, node: str) -> Sequence[Device]:
        """The devices that are not lost, the faulty ones marked."""
        lost, faulty = self._lost.get(node), self._faulty.get(node)
        devices = self._by_node.get(node, [])
        if not lost and not faulty:
            return devices
        return [
            replace(device, fault=FAULT) if device.index in (faulty or ()) else device
            for device in devices
            if device.index not in (lost or ())
        ]

    def create_partition(self, device: Device, partition: Partition, *, pod_uid: str) -> str:
        """Cut a partition as a driver would: it refuses slots that are taken, and more partitions than there may be."""
        cut = self._partitions.setdefault(device.uuid, {})
        if pod_uid not in cut:
            if len(cut) >= device.max_partitions:
                raise DeviceRefused(
                    f"device {device.object_name}: wanted at most {device.max_partitions} partitions, "
                    f"found {len(cut)} and one more"
                )
            for other in cut.values():
                if _overlap(other, partition):
                    raise DeviceRefused(
                        f"device {device.object_name}: the place of partition {partition.form} is taken by {other.form}"
                    )
            cut[pod_uid] = partition
        place = partition.start if partition.start >= 0 else f"{partition.group}/{pod_uid}"
        return f"MIG-{uuid.uuid5(_NAMESPACE, f'{device.uuid}/{partition.form}/{place}')}"

    def destroy_partitions(self, pod_uid: str) -> None:
        for device, cut in list(self._partitions.items()):
            cut.pop(pod_uid, None)
            if not cut:
                del self._partitions[device]

    def partitions(self, device: Device) -> Sequence[Partition]:
        """What a device is cut into now."""
        return tuple(self._partitions.get(device.uuid, {}).values())

    def on_change(self, notify: Callable[[str], None]) -> None:
        self._listeners.append(notify)

    def follow(self, devices: Iterable[Device]) -> None:
        """These are all the devices there are from now on; who listens is told of the nodes that differ."""
        fresh: dict[str, list[Device]] = {}
        for device in devices:
            fresh.setdefault(device.node, []).append(device)
        before, self._by_node = self._by_node, fresh
        for node in before.keys() | fresh.keys():
            if before.get(node) != fresh.get(node):
                for notify in self._listeners:
                    notify(node)

    def lose(self, node: str, indices: Iterable[int]) -> None:
        """From now on exactly these devices of the node do not answer; an empty list regains all of them.

        Raises:
            ConfigError: the node has no device of that index.
        """
        self._set(self._lost, node, indices)

    def fail(self, node: str, indices: Iterable[int]) -> None:
        """From now on exactly these devices of the node are broken; an empty list repairs all of them.

        Raises:
            ConfigError: the node has no device of that index.
        """
        self._set(self._faulty, node, indices)

    def _set(self, state: dict[str, frozenset[int]], node: str, indices: Iterable[int]) -> None:
        wanted = frozenset(indices)
        unknown = wanted - {device.index for device in self._by_node.get(node, ())}
        if unknown:
            count = len(self._by_node.get(node, ()))
            raise ConfigError(f"node {node}: wanted one of its {count} device indices from 0, found {min(unknown)}")
        if wanted != state.get(node, frozenset()):
            state[node] = wanted
            for notify in self._listeners:
                notify(node)

    def _on_node(self, change: Change[Node]) -> None:
        node = change.new
        if node is None or change.key.name not in self._by_node:
            return
        for annotation, apply in ((LOST_DEVICES, self.lose), (FAULTY_DEVICES, self.fail)):
            text = node.metadata.annotations.get(annotation, "")
            try:
                apply(change.key.name, _indices(text))
            except ConfigError as error:
                log.warning("annotation is ignored", annotation=annotation, found=text[:64], error=error)


def _indices(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isascii() and part.isdecimal() and len(part) <= len("9999") for part in parts):
        raise ConfigError(f"wanted a comma list of device indices, found {text[:64]!r}")
    return [int(part) for part in parts]


def _modes(vendor: str, partitions: int) -> frozenset[Isolation]:
    """What a maker's devices can do: limiters and hard shares are not there for all of them."""
    modes = {Isolation.SHARED}
    if has_soft_limiter(vendor):
        modes.add(Isolation.SOFT)
    if vendor == "NVIDIA":
        modes.add(Isolation.HARD)
    if partitions:
        modes.add(Isolation.PARTITIONED)
    return frozenset(modes)


def _overlap(one: Partition, other: Partition) -> bool:
    """Whether two partitions are in each other's way: on one slot, or of two kinds in one isolation group."""
    if one.start < 0 or other.start < 0:
        return one.group >= 0 and one.group == other.group and one.form != other.form
    return one.start < other.start + other.length and other.start < one.start + one.length
