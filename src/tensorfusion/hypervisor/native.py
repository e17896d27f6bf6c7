"""The vendors' own device plugins, as far as a simulated node needs them: whole devices for pods that ask natively.

Apart from the books of shares because these are two systems on one machine, and the point is that no device is ever in
both. Here a device is given out only when nobody holds a share of it; there a share is refused on a device that was
given out here. Pure bookkeeping, no I/O.

Which pod has which device is told on the GPU objects (``usedBy`` and an annotation), and a restarted process reads it
from there. A device that was given back last is given out first: the scheduler may still believe that it is taken, and
so no other device comes under two systems in that moment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tensorfusion.errors import InvalidQuantity
from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.pod_resources import pod_totals
from tensorfusion.model.providers import NO_PROVIDERS

Shared = Callable[[str], int]
"""How many pods hold a share of a device."""


class NativeDevices:
    """Devices handed out whole, by the uid of their pod."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[str, ...]] = {}
        self._pod_of: dict[str, str] = {}
        self._returned: dict[str, int] = {}
        """Device -> a number that grows with each return."""
        self._returns = 0

    def wanted(self, pod: Pod) -> dict[str, int]:
        """How many devices of which vendor the pod asks a device plugin for; empty for most pods."""
        if pod.metadata.labels.get(keys.COMPONENT) == "worker":
            return {}
        try:
            extended = pod_totals(pod.spec).extended
        except InvalidQuantity:
            return {}
        found: dict[str, int] = {}
        for resource, amount in extended.items():
            vendor = NO_PROVIDERS.native_vendor(resource)
            if vendor is not None:
                found[vendor] = found.get(vendor, 0) + amount
        return found

    def holds(self, uid: str) -> bool:
        return uid in self._of

    def held(self) -> Mapping[str, str]:
        """The uid of the pod that has a device, by device."""
        return self._pod_of

    def marked(self, device: Device) -> Device:
        """The device, and who has it."""
        uid = self._pod_of.get(device.object_name)
        return device if uid is None else replace(device, native_pod=uid)

    def assign(self, pod: Pod, present: Mapping[str, Device], *, shared: Shared) -> str | None:
        """Give the pod its devices, or say in one line why the node has too few. All of them or none."""
        if pod.metadata.uid in self._of:
            return None
        return self._give(pod, (), present, shared=shared)

    def recover(self, pod: Pod, told: Sequence[str], present: Mapping[str, Device], *, shared: Shared) -> str | None:
        """Take what a running pod has as it is told; where that is not told, any devices that nobody shares."""
        mine = [name for name in told if name in present and name not in self._pod_of and not shared(name)]
        return self._give(pod, mine, present, shared=shared)

    def release(self, uid: str) -> tuple[str, ...]:
        """Take the pod's devices back, once. Returns which they were."""
        names = self._of.pop(uid, ())
        for name in names:
            del self._pod_of[name]
            self._returns += 1
            self._returned[name] = self._returns
        return names

    def _give(self, pod: Pod, mine: Sequence[str], present: Mapping[str, Device], *, shared: Shared) -> str | None:
        chosen = list(mine)
        for vendor, amount in self.wanted(pod).items():
            free = [
                name
                for name, device in present.items()
                if device.vendor == vendor
                and not device.fault
                and name not in self._pod_of
                and name not in chosen
                and not shared(name)
            ]
            free.sort(key=lambda name: (-self._returned.get(name, 0), present[name].index))
            missing = amount - sum(present[name].vendor == vendor for name in mine)
            if len(free) < missing:
                return f"the device plugin of {vendor} has {len(free)} free devices on this node, wanted {missing}"
            chosen += free[: max(0, missing)]
        self._of[pod.metadata.uid] = tuple(chosen)
        self._pod_of |= dict.fromkeys(chosen, pod.metadata.uid)
        return None
