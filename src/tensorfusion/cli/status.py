"""``tensorfusion status``: is it running, what does it hold, how full is it, and what waits."""

import json
import time
from collections import Counter
from collections.abc import Awaitable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from tensorfusion.cli.folder import Folder
from tensorfusion.cli.memory import pss_bytes
from tensorfusion.cli.session import (
    cluster_options,
    kubeconfig_path,
    output_option,
    print_table,
    show,
    with_client,
)
from tensorfusion.errors import ConfigError, Forbidden
from tensorfusion.kube.client import Client
from tensorfusion.model.core import Lease, Node, Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.keys import RUN, RUN_PROCESS, SCHEDULER_SHARD, SHARD_LEASES, SYSTEM_NAMESPACE
from tensorfusion.model.resources import GPU_POOLS, GPUS, LEASES, NODES, PODS
from tensorfusion.units import humanize_bytes

T = TypeVar("T")

_HEADER = ("POOL", "PHASE", "NODES", "GPUS", "TFLOPS FREE", "OF", "VRAM FREE", "OF")
_FIELDS = ("name", "phase", "nodes", "gpus", "availableTFlops", "totalTFlops", "availableVRAM", "totalVRAM")
_WAITING_SHOWN = 5


@click.command("status")
@output_option
@cluster_options
def command(output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Show the processes of the cluster, its nodes and pods, how full each pool is, and which pods wait for what.

    \b
    tensorfusion status
    tensorfusion status -o json
    """
    folder = Folder(kubeconfig_path(kubeconfig, data).absolute().parent)
    if folder.store.exists() and not folder.processes():
        raise ConfigError(
            f"no cluster runs from {folder.root}: start it with `tensorfusion up --detach --data {folder.root}`"
        )
    value = {**_local(folder), **with_client(kubeconfig, data, _collect)}
    if output == "table":
        _print(value)
    else:
        show([], [], output=output, value=value)


def _local(folder: Folder) -> dict[str, Any]:  # Any: printed as JSON
    """What this machine knows of an embedded cluster; empty lists for any other."""
    processes = [
        {"name": name, "pid": pid, "pss": humanize_bytes(pss_bytes([pid]))} for name, pid in folder.processes().items()
    ]
    try:
        ready = json.loads(folder.ready_file.read_text())
        addresses = {"api": ready["server"], "http": ready["http"]}
        if "gateway" in ready:
            addresses["gateway"] = ready["gateway"]
        seconds = int(time.time() - folder.ready_file.stat().st_mtime)
    except (OSError, ValueError, KeyError):
        addresses, seconds = {}, 0
    return {"folder": str(folder.root), "upSeconds": seconds, "addresses": addresses, "processes": processes}


async def _allowed(question: Awaitable[T]) -> T | None:
    """The answer, or None where the user may not ask."""
    try:
        return await question
    except Forbidden:
        return None


async def _collect(client: Client) -> dict[str, Any]:  # Any: printed as JSON
    nodes = await _allowed(client.list(NODES, Node))
    pods = await _allowed(client.list(PODS, Pod)) or await client.list(PODS, Pod, namespace=client.connection.namespace)
    gpus = await _allowed(client.list(GPUS, GPU))
    pools = await _allowed(client.list(GPU_POOLS, GPUPool))
    machines = [] if nodes is None else nodes.items
    devices = [] if gpus is None else gpus.items
    return {
        "nodes": {"total": len(machines), "ready": sum(node.ready for node in machines)},
        "processNodes": [_process_node(node) for node in machines if node.metadata.labels.get(RUN) == RUN_PROCESS],
        "devices": {"total": len(devices), "running": sum(gpu.status.phase == "Running" for gpu in devices)},
        "pods": dict(sorted(Counter(pod.status.phase or "Pending" for pod in pods.items).items())),
        "schedulers": await _schedulers(client),
        "waiting": [_waiting_row(pod) for pod in pods.items if _waits(pod)],
        "pools": [_pool_row(pool) for pool in ([] if pools is None else pools.items)],
    }


async def _schedulers(client: Client) -> list[dict[str, object]]:
    """Where several schedulers share the pools: which places on what. Pods without a pool are those of ``None``."""
    leases = await _allowed(client.list(LEASES, Lease, namespace=SYSTEM_NAMESPACE, labels=SHARD_LEASES))
    found: dict[str, list[str]] = {}
    for lease in [] if leases is None else leases.items:
        shard = lease.metadata.annotations.get(SCHEDULER_SHARD)
        if shard is not None and lease.spec.holder_identity and _in_force(lease):
            found.setdefault(lease.spec.holder_identity, []).append(shard)
    return [{"name": name, "pools": sorted(shards)} for name, shards in sorted(found.items())]


def _in_force(lease: Lease) -> bool:
    renewed, duration = lease.spec.renew_time, lease.spec.lease_duration_seconds or 0
    return bool(renewed) and time.time() < datetime.fromisoformat(str(renewed)).timestamp() + duration


def _process_node(node: Node) -> dict[str, str]:
    said = next((entry.message for entry in node.status.conditions if entry.type == "Ready"), "")
    return {"name": node.metadata.name, "message": said}


def _waits(pod: Pod) -> bool:
    return pod.status.phase in ("", "Pending") and not pod.spec.node_name and not pod.metadata.deleting


def _waiting_row(pod: Pod) -> dict[str, str]:
    reason = next((entry.message for entry in pod.status.conditions if entry.type == "PodScheduled"), "")
    return {"namespace": pod.metadata.namespace, "name": pod.metadata.name, "reason": reason or "not looked at yet"}


def _pool_row(pool: GPUPool) -> dict[str, object]:
    status = pool.status
    return {
        "name": pool.metadata.name,
        "phase": status.phase or "Pending",
        "nodes": status.total_nodes or 0,
        "gpus": status.total_gpus or 0,
        "availableTFlops": str(status.available_tflops or "0"),
        "totalTFlops": str(status.total_tflops or "0"),
        "availableVRAM": str(status.available_vram or "0"),
        "totalVRAM": str(status.total_vram or "0"),
    }


def _print(value: dict[str, Any]) -> None:  # Any: JSON
    addresses = value["addresses"]
    if value["processes"]:
        click.echo(f"cluster  {value['folder']}, up for {_duration(value['upSeconds'])}")
    for process in value["processes"]:
        where = {"api": "api", "control": "http", "gateway": "gateway"}.get(process["name"], "")
        address = addresses.get(where, "")
        click.echo(f"{process['name']:<8} pid {process['pid']}, {process['pss']}" + (f", {address}" if address else ""))
    nodes, devices = value["nodes"], value["devices"]
    if nodes["total"]:
        click.echo(f"nodes    {nodes['ready']} of {nodes['total']} ready")
    for node in value["processNodes"]:
        click.echo(f"         {node['name']}: {node['message']}")
    click.echo(f"devices  {devices['running']} of {devices['total']} take work")
    click.echo("pods     " + (", ".join(f"{count} {phase}" for phase, count in value["pods"].items()) or "none"))
    for scheduler in value["schedulers"]:
        pools = [pool or "what belongs to no pool" for pool in scheduler["pools"]]
        click.echo(f"places   {scheduler['name']}: {', '.join(pools)}")
    for row in value["waiting"][:_WAITING_SHOWN]:
        click.echo(f"waits    {row['namespace']}/{row['name']}: {row['reason']}")
    left = len(value["waiting"]) - _WAITING_SHOWN
    if left > 0:
        click.echo(f"waits    and {left} more: `tensorfusion explain pod NAME -n NAMESPACE` says why")
    if value["pools"]:
        click.echo()
        print_table(_HEADER, [[pool[field] for field in _FIELDS] for pool in value["pools"]])


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} minutes"
    if seconds < 2 * 86400:
        return f"{seconds // 3600} hours"
    return f"{seconds // 86400} days"
