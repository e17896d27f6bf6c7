"""The fleet: nodes, pools and devices as they come and go, each change written through to the columns.

Apart from the ledger because facts and charges have different writers: facts follow the API server's watch, charges
follow decisions. The fleet never asks whether a change is allowed; it takes the world as it is told.
"""

from tensorfusion.model.partitions import Partition
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import DeviceFacts, PoolFacts
from tensorfusion.scheduling.holds import Device
from tensorfusion.scheduling.neighbours import Neighbours
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns


class Fleet:
    """Every node, pool and device. Absent devices are kept only while somebody holds a share of them."""

    def __init__(self) -> None:
        self.nodes = NodeColumns()
        self.neighbours = Neighbours()
        self.pools: dict[str, PoolColumns] = {}
        self.devices: dict[str, Device] = {}
        self.numbers = 0
        """Numbers of devices that were ever in use at once: all are below."""
        self._spare_numbers: list[int] = []
        self.present = 0
        """Devices that are there."""
        self.overcommitted: set[str] = set()
        """Devices of which more is held than they have."""

    def pool(self, name: str) -> PoolColumns:
        """The pool's columns; new ones when nothing was known of it."""
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = PoolColumns(name)
        return pool

    def upsert_pool(self, facts: PoolFacts) -> bool:
        """Answers whether anything changed."""
        return self.pool(facts.name).set_policy(facts)

    def remove_pool(self, name: str) -> None:
        """The pool's policy is gone; its devices stay until they go themselves, under the default policy."""
        pool = self.pools.get(name)
        if pool is None:
            return
        pool.set_policy(PoolFacts(name))
        pool.known = False
        self._tidy(name)

    def upsert_device(self, facts: DeviceFacts) -> Device:
        """A device appeared or its facts changed, where it is included."""
        device = self.device(facts.name)
        old = device.facts
        if old == facts:
            return device
        if (facts.compute, facts.vram) != (device.compute, device.vram):
            device.resize(facts.compute, facts.vram)
        if old is not None and (old.pool, old.node) == (facts.pool, facts.node):
            self.pools[facts.pool].changed(device, facts)
            if old.ours != facts.ours:
                self.nodes.add_foreign(self.nodes.records[facts.node], 1 if old.ours else -1)
        else:
            self._detach(device)
            node = self.nodes.record(facts.node)
            self.nodes.add_devices(node, 1)
            self.nodes.add_foreign(node, 0 if facts.ours else 1)
            self.pool(facts.pool).attach(device, facts, node)
            self.present += 1
        self._note(device)
        return device

    def remove_device(self, name: str) -> bool:
        """The device is gone; what pods hold of it stays written down. Answers whether it was there."""
        device = self.devices.get(name)
        if device is None or device.facts is None:
            return False
        self._detach(device)
        self._note(device)
        self.forget_unheld(device)
        return True

    def device(self, name: str) -> Device:
        """The device's record; an absent one when nothing was known of it."""
        device = self.devices.get(name)
        if device is None:
            if self._spare_numbers:
                number = self._spare_numbers.pop()
            else:
                number = self.numbers
                self.numbers += 1
            device = self.devices[name] = Device(name, number)
        return device

    def hold(self, device: Device, uid: str, request: GpuRequest, partition: Partition | None = None) -> None:
        """Charge a share of the device."""
        device.hold(uid, request, partition)
        if partition is not None:
            self._lay_out(device)
        facts = device.facts
        if facts is not None:
            self.pools[facts.pool].refresh(device)
        if self.overcommitted or device.compute_held > device.compute or device.vram_held > device.vram:
            self._note(device)

    def drop(self, device: Device, uid: str) -> None:
        """Give a share of the device back; ``forget_unheld`` may then be due."""
        partitioned = uid in device.partitions
        device.drop(uid)
        if partitioned:
            self._lay_out(device)
        self._refresh(device)

    def forget_unheld(self, device: Device) -> None:
        """An absent device of which nobody holds a share is not remembered."""
        if device.facts is None and not device.holders and self.devices.get(device.name) is device:
            del self.devices[device.name]
            self._spare_numbers.append(device.number)

    def _lay_out(self, device: Device) -> None:
        if device.facts is not None:
            self.pools[device.facts.pool].lay_out(device, device.facts)

    def _refresh(self, device: Device) -> None:
        if device.facts is not None:
            self.pools[device.facts.pool].refresh(device)
        if self.overcommitted or device.overfull:
            self._note(device)

    def _note(self, device: Device) -> None:
        if device.facts is not None and device.overcommitted:
            self.overcommitted.add(device.name)
        else:
            self.overcommitted.discard(device.name)

    def _detach(self, device: Device) -> None:
        facts = device.facts
        if facts is None:
            return
        node = self.nodes.records[facts.node]
        self.pools[facts.pool].detach(device, node)
        self.present -= 1
        self.nodes.add_foreign(node, 0 if facts.ours else -1)
        self.nodes.add_devices(node, -1)
        self._tidy(facts.pool)

    def _tidy(self, name: str) -> None:
        pool = self.pools[name]
        if not pool.known and not pool.count:
            del self.pools[name]
