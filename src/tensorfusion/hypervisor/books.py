"""What is held of each device on this agent's nodes, by the agent's own account: the last line of defence.

Apart from the scheduler's ledger on purpose: it is filled only by pods that really arrived here, so a share that
two leaders gave away is refused at the device. Pure bookkeeping, no I/O. Units: GFLOPS and bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.model.annotations import gpu_ids, request_of
from tensorfusion.model.core import Pod
from tensorfusion.model.keys import PARTITIONS
from tensorfusion.model.partitions import partitions_of
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.units import humanize_bytes, humanize_gflops

_WHOLE_PERCENT = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a share may burst: GFLOPS (or milli-percent where no compute is stated) and bytes; 0 is not stated."""

    compute: int = 0
    percent: int = 0
    vram: int = 0


@dataclass(frozen=True, slots=True)
class _Share:
    compute: int
    vram: int
    mode: Isolation
    limits: Limits

    @property
    def whole(self) -> bool:
        return self.mode is Isolation.SHARED


class DeviceBooks:
    """Shares held per device. ``charge`` checks; ``recover`` takes what already runs as it is."""

    def __init__(self) -> None:
        self._shares: dict[str, dict[str, _Share]] = {}
        """GPU object name -> pod UID -> share."""
        self._devices_of: dict[str, tuple[str, ...]] = {}

    def holders(self, device: str) -> int:
        """How many pods hold a share of the device."""
        return len(self._shares.get(device, ()))

    def holds(self, uid: str) -> bool:
        """Whether the pod holds any share."""
        return uid in self._devices_of

    def held(self, device: str) -> tuple[int, int]:
        """The compute and memory that are held of a device."""
        shares = self._shares.get(device, {}).values()
        return sum(share.compute for share in shares), sum(share.vram for share in shares)

    def limits(self, uid: str) -> Limits | None:
        """The limits in force for a pod; None when it holds nothing."""
        for name in self._devices_of.get(uid, ()):
            return self._shares[name][uid].limits
        return None

    def change(self, pod: Pod, present: Mapping[str, Device]) -> str | None:
        """Take over the amounts that a pod with shares has now, or say in one line why a device cannot hold them.

        Then what it had stays in force. Of a device that does not answer nothing more is given out.
        """
        uid = pod.metadata.uid
        names = self._devices_of.get(uid, ())
        try:
            request = request_of(pod.metadata.annotations, pod.metadata.labels)
        except InvalidRequest as error:
            return f"the pod does not describe its shares: {error}"
        if request is None:
            return "the pod is no GPU worker any more"
        changed: dict[str, _Share] = {}
        for name in names:
            now, device = self._shares[name][uid], present.get(name)
            changed[name] = share = _share_of(request, device)
            grows = share.compute > now.compute or share.vram > now.vram
            if not grows or share.whole:
                continue
            if device is None:
                return f"device {name} is not on node {pod.spec.node_name}, or does not answer"
            refusal = self._refusal(device, share, apart_from=uid)
            if refusal is not None:
                return refusal
        for name, share in changed.items():
            self._shares[name][uid] = share
        return None

    def charge(self, pod: Pod, present: Mapping[str, Device], *, one_mode: bool = False) -> str | None:
        """Take the pod's shares, or say in one line why a device cannot hold its share. All of them or none.

        ``present`` maps the GPU object names of the pod's node to the devices that answer now. A pod that holds its
        shares already holds them still. ``one_mode``: the shares of a device are all kept apart the same way.
        """
        uid = pod.metadata.uid
        if uid in self._devices_of:
            return None
        try:
            request = request_of(pod.metadata.annotations, pod.metadata.labels)
            names = gpu_ids(pod.metadata.annotations)
            partitions = partitions_of(pod.metadata.annotations, names)
        except InvalidRequest as error:
            return f"the pod does not describe its shares: {error}"
        if request is None:
            return f"a pod that is no GPU worker carries gpu-ids {','.join(names)}" if names else None
        if len(names) != request.count:
            return (
                f"the pod asks for {request.count} devices and carries {len(names)} gpu-ids: "
                "only the scheduler may bind it"
            )
        if request.isolation is Isolation.PARTITIONED and not partitions:
            return f"a partitioned pod carries no annotation {PARTITIONS}: only the scheduler may bind it"
        shares: dict[str, _Share] = {}
        for place, name in enumerate(names):
            device = present.get(name)
            if device is None:
                return f"device {name} is not on node {pod.spec.node_name}, or does not answer"
            if device.fault:
                return f"device {name} does not work: {device.fault}"
            if request.isolation not in device.modes:
                return f"device {name} cannot keep shares apart by isolation {request.isolation}"
            if device.native_pod:
                return f"device {name} cannot be shared: the device plugin gave it to another pod"
            asked = partitions[place].share(request) if partitions else request
            shares[name] = share = _share_of(asked, device)
            refusal = self._refusal(device, share)
            if refusal is None and one_mode:
                refusal = self._other_mode(name, share)
            if refusal is not None:
                return refusal
        self._take(uid, shares)
        return None

    def recover(self, pod: Pod, present: Mapping[str, Device]) -> None:
        """Take the shares of a pod that already runs, whatever the books say, also of devices that do not answer."""
        uid = pod.metadata.uid
        if uid in self._devices_of:
            return
        try:
            request = request_of(pod.metadata.annotations, pod.metadata.labels)
            names = gpu_ids(pod.metadata.annotations)
            partitions = partitions_of(pod.metadata.annotations, names)
        except InvalidRequest:
            return  # it runs: what it holds cannot be known, and nothing may be invented
        if request is not None and names:
            asked = [one.share(request) for one in partitions] or [request] * len(names)
            shares = zip(names, asked, strict=True)
            self._take(uid, {name: _share_of(share, present.get(name)) for name, share in shares})

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

    def _other_mode(self, name: str, share: _Share) -> str | None:
        for other in self._shares.get(name, {}).values():
            if other.mode is not share.mode:
                return f"device {name} is in use with isolation {other.mode}: it cannot take {share.mode} beside it"
        return None

    def _refusal(self, device: Device, share: _Share, *, apart_from: str = "") -> str | None:
        name = device.object_name
        others = [other for uid, other in self._shares.get(name, {}).items() if uid != apart_from]
        if others and (share.whole or any(other.whole for other in others)):
            return f"device {name} cannot be shared: one of {len(others) + 1} pods takes the whole device"
        compute = device.compute - sum(other.compute for other in others)
        vram = device.vram - sum(other.vram for other in others)
        if share.compute <= compute and share.vram <= vram:
            return None
        return (
            f"device {name} cannot hold the share: wanted {humanize_gflops(share.compute)} TFLOPS and "
            f"{humanize_bytes(share.vram)}, free are {humanize_gflops(compute)} TFLOPS and {humanize_bytes(vram)}"
        )


def _share_of(request: GpuRequest, device: Device | None) -> _Share:
    """What the request takes of the device; of an unknown device, what can be said without its capacity."""
    limits = Limits(request.compute_limit, request.percent_limit, request.vram_limit)
    if request.isolation is Isolation.SHARED:
        return _Share(device.compute if device else 0, device.vram if device else 0, request.isolation, limits)
    percent = request.percent * device.compute // _WHOLE_PERCENT if device else 0
    return _Share(request.compute or percent, request.vram, request.isolation, limits)
