"""``tensorfusion status``: is it running, what does it hold, how full is it."""

from pathlib import Path
from typing import Any

import click

from tensorfusion.cli.folder import Folder
from tensorfusion.cli.memory import pss_bytes
from tensorfusion.cli.session import cluster_options, kubeconfig_path, output_option, show, with_client
from tensorfusion.kube.client import Client
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.resources import GPU_POOLS, NODES, PODS
from tensorfusion.units import humanize_bytes


@click.command("status")
@output_option
@cluster_options
def command(output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Show the processes of the cluster, its nodes and pods, and how full each pool is."""
    folder = Folder(kubeconfig_path(kubeconfig, data).parent)
    value = with_client(kubeconfig, data, _collect)
    value["processes"] = [
        {"name": name, "pid": pid, "pss": humanize_bytes(pss_bytes([pid]))} for name, pid in folder.processes().items()
    ]
    if output == "table":
        for process in value["processes"]:
            click.echo(f"{process['name']:<8} pid {process['pid']}, {process['pss']}")
        nodes, pods = value["nodes"], value["pods"]
        click.echo(f"nodes    {nodes['ready']} of {nodes['total']} ready")
        click.echo("pods     " + (", ".join(f"{count} {phase}" for phase, count in sorted(pods.items())) or "none"))
        click.echo()
    header = ("POOL", "PHASE", "NODES", "GPUS", "TFLOPS FREE", "OF", "VRAM FREE", "OF")
    fields = ("name", "phase", "nodes", "gpus", "availableTFlops", "totalTFlops", "availableVRAM", "totalVRAM")
    show([[pool[field] for field in fields] for pool in value["pools"]], header, output=output, value=value)


async def _collect(client: Client) -> dict[str, Any]:  # Any: printed as JSON
    nodes = (await client.list(NODES, Node)).items
    pods = (await client.list(PODS, Pod)).items
    pools = (await client.list(GPU_POOLS, GPUPool)).items
    phases: dict[str, int] = {}
    for pod in pods:
        phases[pod.status.phase or "Pending"] = phases.get(pod.status.phase or "Pending", 0) + 1
    return {
        "nodes": {"total": len(nodes), "ready": sum(node.ready for node in nodes)},
        "pods": phases,
        "pools": [_pool_row(pool) for pool in pools],
    }


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
