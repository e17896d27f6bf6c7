"""``tensorfusion bench``: questions about placement that are answered by simulation, on one's own history."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import print_table
from tensorfusion.errors import ConfigError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from tensorfusion.testing.packing.comparison import Plan
    from tensorfusion.testing.packing.outcome import Outcome
    from tensorfusion.testing.traces import TraceNode, TracePod

_FILE = click.Path(path_type=Path)
_HEADER = ("POLICY", "ALLOCATION %", "DEMAND LOST %", "8-GPU LOST %", "SHUFFLES")
_BAR_STEP = 64


@click.group("bench", cls=SuggestingGroup)
def command() -> None:
    """Compare placement policies by simulation, on a public trace or on a cluster's own history.

    \b
    tensorfusion bench packing --nodes nodes.csv --pods pods.csv --protocol inflation
    """


@command.command("packing")
@click.option("--nodes", "node_file", type=_FILE, help="CSV of machines: sn,cpu_milli,memory_mib,gpu,model.")
@click.option("--pods", "pod_file", type=_FILE, help="CSV of arrivals: name,cpu_milli,memory_mib,num_gpu,gpu_milli.")
@click.option("--recorded", type=_FILE, help="Machines and arrivals of a recording, in the place of both files.")
@click.option(
    "--protocol",
    type=click.Choice(["inflation", "churn"]),
    default="inflation",
    show_default=True,
    help="inflation: fill until past full, nobody leaves. churn: arrivals come and go just below full.",
)
@click.option("--policies", default="", help="Comma list of policies, in the order of the report.  [default: all]")
@click.option("--shuffles", type=click.IntRange(1, 1000), help="Runs of each policy.  [default: 10; churn: 3]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed of the first shuffle.")
@click.option(
    "--load",
    type=click.IntRange(1, 1000),
    help="Demand in percent of the GPUs.  [default: 130 in all; churn: 95 at a time]",
)
@click.option(
    "--turnovers", default=10, show_default=True, type=click.IntRange(1, 1000), help="Mean lifetimes that churn lasts."
)
@click.option(
    "--spacing",
    type=click.Choice(["random", "even"]),
    default="random",
    show_default=True,
    help="When arrivals come under churn: at random times, or each a fixed time after the one before.",
)
@click.option("--json", "json_file", type=_FILE, help="Write the rows of the table to this file too.")
@click.option("--plots", "folder", type=_FILE, help="Draw three pictures (SVG) into this folder.")
def packing(
    node_file: Path | None,
    pod_file: Path | None,
    recorded: Path | None,
    protocol: str,
    policies: str,
    shuffles: int | None,
    seed: int,
    load: int | None,
    turnovers: int,
    spacing: str,
    json_file: Path | None,
    folder: Path | None,
) -> None:
    """Measure how much of a cluster each placement policy can hand out, and whom it turns away.

    The same arrivals are offered to every policy, on the same machines, in a simulation: nothing is started, and the
    same seed gives the same answer. Files have the columns of the public openb trace. ALLOCATION is the share of all
    GPUs that is handed out at the end (inflation) or on average (churn); LOST is what was turned away.

    \b
    Policies: random, bestfit, fgd (fragmentation gradient descent as published) and fgd-exact (without its rounding),
    fragmentation-aware (looks several pods ahead and keeps whole nodes for those who want them whole),
    and the placement modes of pools: compact-first, low-load-first, node-compact-gpu-low-load.

    \b
    tensorfusion bench packing --nodes nodes.csv --pods pods.csv
    tensorfusion bench packing --nodes nodes.csv --pods pods.csv --policies bestfit,fgd --json rows.json
    tensorfusion bench packing --nodes nodes.csv --pods pods.csv --protocol churn --plots pictures
    tensorfusion bench packing --recorded history
    """
    from tensorfusion.testing.packing import comparison
    from tensorfusion.testing.packing.churn import Spacing
    from tensorfusion.testing.packing.names import names
    from tensorfusion.testing.packing.outcome import row
    from tensorfusion.testing.packing.plots import draw

    kind = comparison.Protocol(protocol)
    runs = shuffles or (3 if kind is comparison.Protocol.CHURN else 10)
    wanted = comparison.plan(
        *_trace(node_file, pod_file, recorded),
        protocol=kind,
        policies=[name.strip() for name in policies.split(",")] if policies else names(),
        seeds=range(seed, seed + runs),
        load=load,
        turnovers=turnovers,
        spacing=Spacing(spacing),
    )
    if json_file is not None:
        _write(json_file, "", mode="a")  # a path that cannot be written is found out before the work, not after
    if folder is not None:
        _make(folder)
    outcomes = _with_bar(wanted)
    rows = [row(name, protocol, found) for name, found in outcomes.items()]
    print_table(_HEADER, [[line[key] for key in line if key != "protocol"] for line in rows])
    if json_file is not None:
        _write(json_file, json.dumps(rows, indent=2) + "\n")
    if folder is not None:
        for file, picture in draw(outcomes, kind).items():
            _write(folder / file, picture)


def _trace(
    node_file: Path | None, pod_file: Path | None, recorded: Path | None
) -> "tuple[list[TraceNode], list[TracePod]]":
    """Machines and arrivals, from where the options say."""
    from tensorfusion.testing.traces import read_nodes, read_pods

    if recorded is not None and node_file is None and pod_file is None:
        from tensorfusion.scheduler.recording.reader import read
        from tensorfusion.testing.what_if.export import trace_of

        return trace_of(read(recorded).history)
    if recorded is not None or node_file is None or pod_file is None:
        raise ConfigError("wanted --nodes and --pods, or --recorded alone")
    return read_nodes(node_file), read_pods(pod_file)


def _with_bar(wanted: "Plan") -> "dict[str, list[Outcome]]":
    """Run it under a progress bar, which is shown in a terminal only."""
    from tensorfusion.testing.packing.comparison import compare

    name, seen = "", 0
    bar: ProgressBar[int]
    with click.progressbar(length=wanted.steps, file=sys.stderr, item_show_func=lambda _: name) as bar:

        def begin(policy: str) -> None:
            nonlocal name
            name = policy

        def tick() -> None:
            nonlocal seen
            seen += 1
            if seen % _BAR_STEP == 0:
                bar.update(_BAR_STEP)

        found = compare(wanted, tick=tick, begin=begin)
        bar.update(max(0, wanted.steps - bar.pos))
    return found


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from error


def _write(path: Path, text: str, *, mode: Literal["a", "w"] = "w") -> None:
    try:
        with path.open(mode) as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
