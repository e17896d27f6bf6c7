"""The Node object of this machine: registered with its real size, kept alive by a Lease, not ready when we end."""

import os
import platform
import socket
from pathlib import Path

from tensorfusion.clock import Clock, micro_timestamp, timestamp
from tensorfusion.embedded.processes.users import COUNT, FIRST
from tensorfusion.errors import AlreadyExists, ApiError, ConfigError, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Node
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES, NODES
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.units import format_bytes

HOST = "127.0.0.1"
_LEASES = "kube-node-lease"
_LEASE_EVERY, _LEASE_SECONDS = 10.0, 40
_RESERVED = 512 << 20
_PODS = "110"
_FALLBACK = "local"

log = get_logger(__name__)


def node_name() -> str:
    """This machine's host name as a Node may be called, or ``local``."""
    name = socket.gethostname().lower().rstrip(".")
    fits = 0 < len(name) <= 63 and all(part and part.strip("-") == part for part in name.split("."))
    return name if fits and all(letter.isalnum() or letter in "-." for letter in name) and name.isascii() else _FALLBACK


async def own_name(client: Api) -> str:
    """The name of this machine's Node: one that is free, or was ours before.

    Raises:
        ConfigError: simulated nodes have all names that it could have.
    """
    names = dict.fromkeys((node_name(), _FALLBACK))
    for name in names:
        try:
            found = await client.get(NODES, Node, name)
        except NotFound:
            return name
        if found.metadata.labels.get(keys.RUN) == keys.RUN_PROCESS:
            return name
    taken = " and ".join(names)
    raise ConfigError(f"the process node cannot be called {taken}: other nodes are: rename them in the fleet file")


class Machine:
    """Keeps one Node."""

    def __init__(self, client: Api, name: str, *, own_users: bool, clock: Clock) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._own_users = own_users
        self.allocatable = _amounts(_RESERVED)

    async def register(self) -> None:
        """Make the Node exist and ready."""
        status = self._status()
        body = {
            "apiVersion": NODES.api_version,
            "kind": NODES.kind,
            "metadata": {"name": self.name, "labels": _labels(self.name)},
            "status": status,
        }
        try:
            await self._client.create(NODES, body)
        except AlreadyExists:
            await self._client.patch(NODES, self.name, {"metadata": {"labels": _labels(self.name)}})
            await self._client.patch(NODES, self.name, {"status": status}, subresource="status")
        log.info("node is ready", node=self.name, own_users=self._own_users)

    async def keep_alive(self) -> None:
        """Renew the Lease until cancelled."""
        while True:
            try:
                await self._renew()
            except ApiError as error:
                log.warning("the lease cannot be renewed", node=self.name, error=error)
            await self._clock.sleep(_LEASE_EVERY)

    async def leave(self) -> None:
        """Say that nobody watches over the pods now, so that no more of them are placed here."""
        condition = self._condition("False", "KubeletStopped", "the node process has ended; what it started runs on")
        try:
            await self._client.patch(NODES, self.name, {"status": {"conditions": [condition]}}, subresource="status")
        except ApiError as error:
            log.warning("the node could not be made not ready", node=self.name, error=error)

    async def _renew(self) -> None:
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": micro_timestamp(self._clock.now()),
        }
        try:
            await self._client.patch(LEASES, self.name, {"spec": spec}, namespace=_LEASES)
        except NotFound:
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self.name},
                "spec": spec,
            }
            await self._client.create(LEASES, body, namespace=_LEASES)

    def _status(self) -> Raw:
        users = (
            f"each pod runs as a user of its own, {FIRST} to {FIRST + COUNT - 1}"
            if self._own_users
            else f"every pod runs as user {os.geteuid()}, who also runs the cluster"
        )
        return {
            "capacity": _amounts(0),
            "allocatable": self.allocatable,
            "addresses": [{"type": "InternalIP", "address": HOST}, {"type": "Hostname", "address": self.name}],
            "conditions": [self._condition("True", "KubeletReady", f"process node is ready: {users}")],
            "nodeInfo": {
                "architecture": _architecture(),
                "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                "containerRuntimeVersion": "process://1",
                "kernelVersion": platform.release(),
                "kubeProxyVersion": "",
                "kubeletVersion": "v1.34.2-process",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": _os_name(),
                "systemUUID": "",
            },
        }

    def _condition(self, status: str, reason: str, message: str) -> Raw:
        now = timestamp(self._clock.now())
        return {
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }


def _labels(name: str) -> dict[str, str]:
    return {
        keys.HOSTNAME_LABEL: name,
        "kubernetes.io/arch": _architecture(),
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": "process",
        keys.RUN: keys.RUN_PROCESS,
    }


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _amounts(reserved: int) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": format_bytes(max(memory - reserved, 0)),
        "pods": _PODS,
        "ephemeral-storage": "100Gi",
    }


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "linux")
    except OSError:
        return "linux"
