"""``tensorfusion top``: how full each device is, and by whom."""

from pathlib import Path

import click

from tensorfusion.cli.session import cluster_options, output_option, show, with_client
from tensorfusion.kube.client import Client
from tensorfusion.model.gpu import GPU
from tensorfusion.model.resources import GPUS
from tensorfusion.units import Rounding, humanize_bytes, humanize_gflops, to_bytes, to_gflops


@click.command("top")
@output_option
@cluster_options
def command(output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Show every device with what is held of it and by which pods."""

    async def fetch(client: Client) -> list[GPU]:
        return (await client.list(GPUS, GPU)).items

    rows = [_row(gpu) for gpu in sorted(with_client(kubeconfig, data, fetch), key=_place)]
    header = ("NODE", "INDEX", "MODEL", "TFLOPS USED", "OF", "VRAM USED", "OF", "PODS")
    show([list(row.values()) for row in rows], header, output=output, value=rows)


def _place(gpu: GPU) -> tuple[str, int, str]:
    return gpu.status.node_selector.get("kubernetes.io/hostname", ""), gpu.status.index or 0, gpu.metadata.name


def _row(gpu: GPU) -> dict[str, object]:
    status = gpu.status
    node, index, _ = _place(gpu)
    compute = vram = compute_free = vram_free = 0
    if status.capacity is not None:
        compute = to_gflops(status.capacity.tflops or "0", Rounding.DOWN)
        vram = to_bytes(status.capacity.vram or "0", Rounding.DOWN)
    if status.available is not None:
        compute_free = to_gflops(status.available.tflops or "0", Rounding.DOWN)
        vram_free = to_bytes(status.available.vram or "0", Rounding.DOWN)
    pods = [f"{pod.namespace}/{pod.name}" for app in status.running_apps or () for pod in app.pods or ()]
    return {
        "node": node,
        "index": index,
        "model": status.gpu_model or "",
        "tflopsUsed": humanize_gflops(compute - compute_free),
        "tflops": humanize_gflops(compute),
        "vramUsed": humanize_bytes(vram - vram_free),
        "vram": humanize_bytes(vram),
        "pods": ", ".join(pods) or "-",
    }
