"""The Node objects of a simulated fleet: registered once, ready, kept alive by Leases, lost on request.

Apart from ``kubelet`` because machines and pods have different lives. A machine is lost in one of two ways. The
annotation ``simulated.tensor-fusion.ai/lost: "true"`` cuts it off: its Node turns NotReady, its pods stay as they are
and nothing on it moves until the annotation goes. Deleting the Node takes it out of service: as with a real kubelet,
nobody registers it again before the process starts anew, or before somebody creates a Node of that name.
"""

import re
from collections.abc import Callable, Sequence

import msgspec

from tensorfusion.clock import Clock, micro_timestamp, timestamp
from tensorfusion.embedded.fleet import NodeSpec
from tensorfusion.errors import AlreadyExists, ApiError, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Node
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import LEASES, NODES
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import format_bytes, format_milli

LOST = f"simulated.{keys.DOMAIN}/lost"
ZONE_LABEL = "topology.kubernetes.io/zone"

_WORKERS = 16
_LEASES_PER_SECOND = 20.0
_LEASE_EVERY = 10.0
_NODE_LEASES = "kube-node-lease"

_PLUGINS = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu"}
"""The extended resource of each vendor's device plugin."""

log = get_logger(__name__)


class Ignored(msgspec.Struct, frozen=True):
    """An answer nobody reads: decoding it costs next to nothing."""


class SimulatedMachines:
    """Keeps one Node for each machine of the fleet. ``install`` registers the work with a manager."""

    def __init__(self, client: Api, specs: Sequence[NodeSpec], *, clock: Clock, native: bool = False) -> None:
        self._client = client
        self._specs = {spec.name: spec for spec in specs}
        self._addresses = {spec.name: _address(number) for number, spec in enumerate(specs, start=1)}
        self._current = frozenset(self._specs)
        """The machines of the fleet as it is now; ``_specs`` also knows those that were taken out of it."""
        self._native = native
        """The nodes have a device plugin of their devices' maker, and say how many devices it hands out."""
        self._changed: set[str] = set()
        """Machines that are other than their Nodes say."""
        self._clock = clock
        self._registered: set[str] = set()
        """Nodes that existed at some time of this process's life."""
        self._deleted: set[str] = set()
        self._listeners: list[Callable[[str], None]] = []

    def install(self, manager: Manager) -> None:
        """Register the controller of the Nodes and the task that renews their Leases."""
        self._nodes = manager.informer(NODES, Node)
        controller = Controller("simulated-node", self, workers=_WORKERS, clock=self._clock)
        self._queue = controller.queue
        manager.add_controller(controller)
        manager.add_task("node-leases", self._renew_leases)
        self._nodes.subscribe(self._on_node)
        for name in self._specs:
            self._queue.add(Key("", name))

    def follow(self, specs: Sequence[NodeSpec]) -> None:
        """The fleet is now this one: new machines register, changed ones say so.

        A machine that is not in it any more is left to whoever takes its Node away: its pods have to end first.
        """
        current, self._current = self._current, frozenset(spec.name for spec in specs)
        for spec in specs:
            known = self._specs.get(spec.name)
            if spec == known and spec.name in current:
                continue
            if known is None:
                self._addresses[spec.name] = _address(len(self._addresses) + 1)
            elif spec.name in current:
                self._changed.add(spec.name)
            else:
                self._registered.discard(spec.name)  # it was taken out, and is put in again
            self._specs[spec.name] = spec
            self._queue.add(Key("", spec.name))

    def __contains__(self, name: str) -> bool:
        return name in self._specs

    def address(self, name: str) -> str:
        """The machine's IP address."""
        return self._addresses[name]

    def alive(self, name: str) -> bool:
        """The machine works: its Node exists and it is not cut off."""
        node = self._nodes.cache.get(Key("", name))
        return node is not None and not _cut_off(node)

    def gone(self, name: str) -> bool:
        """The Node was deleted: there is no machine any more."""
        return name in self._deleted

    def on_change(self, notify: Callable[[str], None]) -> None:
        """``notify(node)`` is called when a machine is lost or comes back."""
        self._listeners.append(notify)

    async def lose(self, name: str) -> None:
        """Cut a machine off, as the annotation does."""
        await self._client.patch(NODES, name, {"metadata": {"annotations": {LOST: "true"}}}, type_=Ignored)

    async def regain(self, name: str) -> None:
        """Bring a machine that was cut off back."""
        await self._client.patch(NODES, name, {"metadata": {"annotations": {LOST: None}}}, type_=Ignored)

    async def reconcile(self, key: Key) -> Result:
        """Register a machine that never was, and make its Node say whether it is ready."""
        spec = self._specs[key.name]
        node = self._nodes.cache.get(key)
        if node is None:
            if key.name not in self._registered:
                await self._register(spec)
            return DONE
        await self._taint(node, spec)
        wanted = "Unknown" if _cut_off(node) else "True"
        if key.name in self._changed or self._native_of(spec) != _told_native(node):
            await self._correct(spec, wanted)
            return DONE
        ready = next((condition.status for condition in node.status.conditions if condition.type == "Ready"), "")
        if ready != wanted:
            status = {"conditions": [self._ready_condition(wanted)]} if ready else self._status(spec, wanted)
            await self._client.patch(NODES, key.name, {"status": status}, subresource="status", type_=Ignored)
            log.info("node changed", node=key.name, ready=wanted)
        return DONE

    async def _correct(self, spec: NodeSpec, ready: str) -> None:
        """Make the Node of a machine that was changed say what it is now."""
        self._changed.discard(spec.name)
        wanted = self._object(spec)
        part = {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": {"taints": wanted["spec"].get("taints")}}
        try:
            await self._client.patch(NODES, spec.name, part, type_=Ignored)
            status = {"status": self._status(spec, ready)}
            node = self._nodes.cache.get(Key("", spec.name))
            for name in _told_native(node) if node is not None else ():
                for amounts in (status["status"]["capacity"], status["status"]["allocatable"]):
                    amounts.setdefault(name, None)
            await self._client.patch(NODES, spec.name, status, subresource="status", type_=Ignored)
        except BaseException:
            self._changed.add(spec.name)
            raise
        log.info("node changed", node=spec.name, ready=ready)

    async def _taint(self, node: Node, spec: NodeSpec) -> None:
        """The taint of simulation comes and goes with the process node; all others are the administrators'."""
        tainted = any(key == keys.SIMULATED_TAINT for key, _, _ in spec.taints)
        if tainted == any(taint.key == keys.SIMULATED_TAINT for taint in node.spec.taints):
            return
        kept = [(taint.key, taint.value, taint.effect) for taint in node.spec.taints]
        ours = [taint for taint in spec.taints if taint[0] == keys.SIMULATED_TAINT]
        taints = [taint for taint in kept if taint[0] != keys.SIMULATED_TAINT] + ours
        body = [{"key": key, "value": value, "effect": effect} for key, value, effect in taints]
        await self._client.patch(NODES, spec.name, {"spec": {"taints": body or None}}, type_=Ignored)

    async def _register(self, spec: NodeSpec) -> None:
        try:
            await self._client.create(NODES, self._object(spec), type_=Ignored)
        except AlreadyExists:
            return  # by this process before it was restarted: the cache will say so
        self._registered.add(spec.name)

    def _on_node(self, change: Change[Node]) -> None:
        name = change.key.name
        if name not in self._specs:
            return
        self._registered.add(name)
        was_lost = name in self._deleted or (change.old is not None and _cut_off(change.old))
        if change.new is None:
            self._deleted.add(name)
        else:
            self._deleted.discard(name)
            self._queue.add(change.key)
        if was_lost != (change.new is None or _cut_off(change.new)):
            for notify in self._listeners:
                notify(name)

    def _object(self, spec: NodeSpec) -> Raw:
        taints = [{"key": key, "value": value, "effect": effect} for key, value, effect in spec.taints]
        return {
            "apiVersion": NODES.api_version,
            "kind": NODES.kind,
            "metadata": {"name": spec.name, "labels": _labels(spec)},
            "spec": {"taints": taints} if taints else {},
            "status": self._status(spec, "True"),
        }

    def _status(self, spec: NodeSpec, ready: str) -> Raw:
        amounts = {
            "cpu": format_milli(spec.cpu),
            "memory": format_bytes(spec.memory),
            "pods": str(spec.pods),
            "ephemeral-storage": format_bytes(spec.disk),
            **self._native_of(spec),
        }
        return {
            "capacity": amounts,
            "allocatable": dict(amounts),
            "addresses": [
                {"type": "InternalIP", "address": self._addresses[spec.name]},
                {"type": "Hostname", "address": spec.name},
            ],
            "conditions": [self._ready_condition(ready)],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "simulated://1",
                "kernelVersion": "simulated",
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.2-simulated",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "simulated",
                "systemUUID": "",
            },
        }

    def _native_of(self, spec: NodeSpec) -> dict[str, str]:
        """What the device plugin of a node hands out."""
        resource = _PLUGINS.get(spec.devices.vendor) if spec.devices is not None and self._native else None
        return {resource: str(spec.devices.count)} if resource is not None and spec.devices is not None else {}

    def _ready_condition(self, status: str) -> Raw:
        now = timestamp(self._clock.now())
        known = status == "True"
        return {
            "type": "Ready",
            "status": status,
            "reason": "KubeletReady" if known else "NodeStatusUnknown",
            "message": "simulated kubelet is ready" if known else "Kubelet stopped posting node status.",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }

    async def _renew_leases(self) -> None:
        """Each node's Lease every 10 s, or as slowly as keeps all of them under the budget of writes."""
        failing = False
        while True:
            period = max(_LEASE_EVERY, len(self._specs) / _LEASES_PER_SECOND)
            step = period / max(1, len(self._specs))
            began = self._clock.monotonic()
            for number, name in enumerate(tuple(self._specs)):
                await self._clock.sleep(began + number * step - self._clock.monotonic())
                try:
                    await self._renew(name, seconds=int(4 * period))
                    failing = False
                except ApiError as error:
                    if not failing:
                        log.warning("leases cannot be renewed", node=name, error=error)
                    failing = True
            await self._clock.sleep(max(step, began + period - self._clock.monotonic()))

    async def _renew(self, name: str, *, seconds: int) -> None:
        node = self._nodes.cache.get(Key("", name))
        if node is None or _cut_off(node):
            return
        now = micro_timestamp(self._clock.now())
        spec = {"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": now}
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, namespace=_NODE_LEASES, type_=Ignored)
        except NotFound:
            owner = {"apiVersion": NODES.api_version, "kind": NODES.kind, "name": name, "uid": node.metadata.uid}
            metadata = {"name": name, "ownerReferences": [owner]}
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
            await self._client.create(LEASES, body, namespace=_NODE_LEASES, type_=Ignored)


def _cut_off(node: Node) -> bool:
    return node.metadata.annotations.get(LOST) == "true"


def _told_native(node: Node) -> dict[str, str]:
    """What the Node says that device plugins hand out."""
    return {name: str(amount) for name, amount in node.status.allocatable.items() if name in _PLUGINS.values()}


def _labels(spec: NodeSpec) -> dict[str, str]:
    labels = {
        keys.HOSTNAME_LABEL: spec.name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "simulated",
        ZONE_LABEL: spec.labels.get("zone", "local"),
    }
    if spec.devices is not None and spec.devices.vendor == "NVIDIA":
        product = re.sub(r"[^A-Za-z0-9_.-]+", "-", spec.devices.full_name)[:63].strip("-_.")
        labels |= {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.count": str(spec.devices.count),
        }
    return labels | dict(spec.labels)


def _address(number: int) -> str:
    """A machine's address: 10.0.0.0/9 in order."""
    return f"10.{number >> 16 & 127}.{number >> 8 & 255}.{number & 255}"
