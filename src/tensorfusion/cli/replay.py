"""``tensorfusion replay``: a trace of machines and arrivals through the API of a fresh embedded cluster.

Every arrival goes the whole way, through admission, scheduling, binding and the simulated node, as any user's pod does.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tensorfusion.cli.replay_driver import Figures


@click.command("replay")
@click.option("--nodes", "node_file", required=True, type=click.Path(path_type=Path), help="CSV of machines.")
@click.option("--pods", "pod_file", required=True, type=click.Path(path_type=Path), help="CSV of arrivals.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N arrivals.")
@click.option("--concurrency", default=32, show_default=True, type=click.IntRange(1, 256), help="Creates at once.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file too.")
def command(node_file: Path, pod_file: Path, limit: int | None, concurrency: int, json_file: Path | None) -> None:
    """Replay a trace (columns of the public openb trace) through a fresh embedded cluster and print what came of it.

    The cluster lives in a temporary folder and is removed afterwards.

    \b
    tensorfusion replay --nodes nodes.csv --pods pods.csv --limit 1000 --json figures.json
    """
    import uvloop

    from tensorfusion.cli.replay_driver import replay
    from tensorfusion.testing.traces import read_nodes, read_pods

    nodes, pods = read_nodes(node_file), read_pods(pod_file)[:limit]
    with tempfile.TemporaryDirectory(prefix="tensorfusion-replay-") as root:
        figures = uvloop.run(replay(nodes, pods, root=Path(root), concurrency=concurrency))
    _print(figures)
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(figures), indent=2) + "\n")


def _print(figures: "Figures") -> None:
    click.echo(f"fleet       {figures.nodes} nodes, {figures.gpus} GPUs, ready in {figures.fleet_seconds} s")
    click.echo(f"placed      {figures.placed} of {figures.pods} pods")
    for reason, count in figures.pending.items():
        click.echo(f"pending     {count}: {reason}")
    for reason, count in figures.refused.items():
        click.echo(f"refused     {count}: {reason}")
    click.echo(f"allocation  {figures.gpu_allocation_percent} % of the GPUs")
    click.echo(f"rate        {figures.pods_per_second} pods/s over {figures.seconds} s")
    click.echo(f"decision    p50 {figures.decision_p50_us} us, p99 {figures.decision_p99_us} us")
    click.echo(f"memory      {figures.peak_pss_mib} MiB peak PSS of all processes of the cluster")
