"""``tensorfusion top``: how full each device is, and by whom; live in a terminal."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from tensorfusion.cli.session import cluster_options, output_option, show, table_lines, with_client
from tensorfusion.errors import ConfigError
from tensorfusion.kube.client import Client
from tensorfusion.model.gpu import GPU
from tensorfusion.model.resources import GPUS
from tensorfusion.suggestions import did_you_mean
from tensorfusion.units import Rounding, humanize_bytes, humanize_gflops, to_bytes, to_gflops

_HEADER = ("NODE", "INDEX", "MODEL", "TFLOPS USED", "OF", "VRAM USED", "OF", "PODS")


class Use:
    """One device and what is held of it. ``compute`` GFLOPS, ``vram`` bytes."""

    def __init__(self, gpu: GPU) -> None:
        status = gpu.status
        self.gpu = gpu
        self.compute = self.vram = self.compute_free = self.vram_free = 0
        if status.capacity is not None:
            self.compute = to_gflops(status.capacity.tflops or "0", Rounding.DOWN)
            self.vram = to_bytes(status.capacity.vram or "0", Rounding.DOWN)
        if status.available is not None:
            self.compute_free = to_gflops(status.available.tflops or "0", Rounding.DOWN)
            self.vram_free = to_bytes(status.available.vram or "0", Rounding.DOWN)
        self.pods = [f"{pod.namespace}/{pod.name}" for app in status.running_apps or () for pod in app.pods or ()]

    @property
    def place(self) -> tuple[str, int, str]:
        status = self.gpu.status
        return status.node_selector.get("kubernetes.io/hostname", ""), status.index or 0, self.gpu.metadata.name

    @property
    def share_of_compute(self) -> float:
        return (self.compute - self.compute_free) / self.compute if self.compute else 0.0

    @property
    def share_of_vram(self) -> float:
        return (self.vram - self.vram_free) / self.vram if self.vram else 0.0

    def row(self) -> dict[str, object]:
        """One line, as text for people and programs."""
        return {
            "node": self.place[0],
            "index": self.place[1],
            "model": self.gpu.status.gpu_model or "",
            "tflopsUsed": humanize_gflops(self.compute - self.compute_free),
            "tflops": humanize_gflops(self.compute),
            "vramUsed": humanize_bytes(self.vram - self.vram_free),
            "vram": humanize_bytes(self.vram),
            "pods": ", ".join(self.pods) or "-",
        }


_SORTS: dict[str, Callable[[Use], object]] = {
    "node": lambda use: use.place,
    "model": lambda use: (use.gpu.status.gpu_model, use.place),
    "tflops": lambda use: (-use.share_of_compute, use.place),
    "vram": lambda use: (-use.share_of_vram, use.place),
    "pods": lambda use: (-len(use.pods), use.place),
}


@click.command("top")
@click.option("--once", is_flag=True, help="Print once, also in a terminal.")
@click.option("--every", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--sort", default="node", show_default=True, metavar="COLUMN", help="node, model, tflops, vram or pods.")
@output_option
@cluster_options
def command(once: bool, every: float, sort: str, output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Show every device with what is held of it and by which pods.

    In a terminal the view is live: q leaves, any other key looks again. Piped, or with --once, it is printed once.

    \b
    tensorfusion top
    tensorfusion top --sort vram --once
    tensorfusion top -o json
    """
    order = _SORTS.get(sort.lower())
    if order is None:
        raise ConfigError(f"--sort: no column {sort!r}{did_you_mean(sort, _SORTS)}")

    async def fetch(client: Client) -> list[Use]:
        return [Use(gpu) for gpu in (await client.list(GPUS, GPU)).items]

    def look() -> list[Use]:
        return sorted(with_client(kubeconfig, data, fetch), key=order)  # type: ignore[arg-type]  # keys of one sort compare

    if output == "table" and not once and sys.stdout.isatty() and sys.stdin.isatty():
        from tensorfusion.cli.live import live

        live(lambda width, height: _screen(look(), width, height), every=every)
        return
    rows = [use.row() for use in look()]
    show([list(row.values()) for row in rows], _HEADER, output=output, value=rows)


def _screen(uses: list[Use], width: int, height: int) -> list[str]:
    """One picture: sums, then as many devices as there is room for."""
    compute, free = sum(use.compute for use in uses), sum(use.compute_free for use in uses)
    vram, vram_free = sum(use.vram for use in uses), sum(use.vram_free for use in uses)
    busy = sum(bool(use.pods) for use in uses)
    lines = [
        f"{len(uses)} devices, {busy} in use, {sum(len(use.pods) for use in uses)} shares",
        f"{_bar(compute - free, compute)} {humanize_gflops(compute - free)} of {humanize_gflops(compute)} TFLOPS",
        f"{_bar(vram - vram_free, vram)} {humanize_bytes(vram - vram_free)} of {humanize_bytes(vram)} VRAM",
        "",
    ]
    table = table_lines(_HEADER, [list(use.row().values()) for use in uses])
    room = max(1, height - len(lines) - 1)
    lines += table[:room]
    if len(table) > room:
        lines[-1] = f"... {len(table) - room + 1} more: `tensorfusion top --once` prints all"
    return [line[:width] for line in lines]


def _bar(used: int, total: int, *, length: int = 24) -> str:
    filled = round(length * used / total) if total else 0
    return "[" + "#" * min(filled, length) + "." * max(0, length - filled) + "]"
