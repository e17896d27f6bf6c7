"""What is held of each device on this node, by this node's own account: the last line of defence.

Apart from the scheduler's ledger on purpose: it is filled only by pods that really arrived here, so a share that
two leaders gave away twice is refused at the device. Pure bookkeeping, no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.model.annotations import gpu_ids, request_of
from tensorfusion.model.core import Pod
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.units import humanize_bytes, humanize_gflops


@dataclass(frozen=True, slots=True)
class _Share:
    compute: int
    vram: int


class DeviceBooks:
    """Shares held per device. ``charge`` checks; ``recover`` takes what already runs as it is."""

    def __init__(self) -> None:
        self._shares: dict[str, dict[str, _Share]] = {}
        self._devices_of: dict[str, tuple[str, ...]] = {}

    def holders(self, device: str) -> int:
        """How many pods hold a share of the device."""
        return len(self._shares.get(device, ()))

    def holds(self, uid: str) -> bool:
        return uid in self._devices_of

    def charge(self, pod: Pod, present: Mapping[str, Device]) -> str | None:
        """Take the pod's shares, or say in one line why a device cannot hold its share. All of them or none.

        ``present`` maps the GPU object names of the pod's node to the devices that answer now.
        """
        uid = pod.metadata.uid
        if uid in self._devices_of:
            return None
        try:
            request = request_of(pod.metadata.annotations, pod.metadata.labels)
            names = gpu_ids(pod.metadata.annotations)
        except InvalidRequest as error:
            return f"the pod's annotations do not describe a share: {error}"
        if request is None:
            return None
        if not names:
            return "the pod asks for GPU shares and carries no gpu-ids: it was not bound by the scheduler"
        if len(names) != request.count or len(set(names)) != len(names):
            return f"the pod asks for {request.count} devices and carries {len(names)} gpu-ids"
        shares: dict[str, _Share] = {}
        for name in names:
            device = present.get(name)
            if device is None:
                return f"device {name} is not on node {pod.spec.node_name}, or does not answer"
            share = _share_of(request, device)
            refusal = self._refusal(device, share)
            if refusal is not None:
                return refusal
            shares[name] = share
        self._take(uid, shares)
        return None

    def recover(self, pod: Pod, present: Mapping[str, Device]) -> None:
        """Take the shares of a pod that already runs, whatever the books say."""
        uid = pod.metadata.uid
        if uid in self._devices_of:
            return
        try:
            request = request_of(pod.metadata.annotations, pod.metadata.labels)
            names = gpu_ids(pod.metadata.annotations)
        except InvalidRequest:
            return
        if request is not None:
            self._take(uid, {name: _share_of(request, present[name]) for name in names if name in present})

    def release(self, uid: str) -> tuple[str, ...]:
        """Give back the shares of a pod, once. Returns the devices it held."""
        names = self._devices_of.pop(uid, ())
        for name in names:
            shares = self._shares[name]
            del shares[uid]
            if not shares:
                del self._shares[name]
        return names

    def _take(self, uid: str, shares: Mapping[str, _Share]) -> None:
        self._devices_of[uid] = tuple(shares)
        for name, share in shares.items():
            self._shares.setdefault(name, {})[uid] = share

    def _refusal(self, device: Device, share: _Share) -> str | None:
        held = self._shares.get(device.object_name, {}).values()
        compute = device.compute - sum(other.compute for other in held)
        vram = device.vram - sum(other.vram for other in held)
        if share.compute <= compute and share.vram <= vram:
            return None
        return (
            f"device {device.object_name} cannot hold the share: wanted {humanize_gflops(share.compute)} TFLOPS and "
            f"{humanize_bytes(share.vram)}, free are {humanize_gflops(compute)} TFLOPS and {humanize_bytes(vram)}"
        )


def _share_of(request: GpuRequest, device: Device) -> _Share:
    if request.isolation is Isolation.SHARED:
        return _Share(device.compute, device.vram)
    compute = request.compute or request.percent * device.compute // 100_000
    return _Share(compute, request.vram)
