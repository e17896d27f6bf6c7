"""``tensorfusion defrag``: which nodes a campaign would empty, what that frees, and who would move where."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import (
    bearer_token,
    cluster_options,
    http_address,
    http_get,
    output_option,
    show,
    table_lines,
)

_MOVES = 40
_KEPT = 20
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@click.group("defrag", cls=SuggestingGroup)
def command() -> None:
    """Look at what defragmentation would do.

    \b
    tensorfusion defrag plan
    tensorfusion defrag plan --pool default -o json
    """


@command.command("plan")
@click.option("--pool", help="Of this pool only.  [default: of all]")
@click.option(
    "--threshold", type=click.IntRange(0, 100), help="Percent of devices in use.  [default: as the pool has it]"
)
@click.option(
    "--older-than", metavar="DURATION", help="Age from which pods may move.  [default: the pool's maxDuration]"
)
@click.option("--address", help="The HTTP API of the cluster.  [default: that of the embedded cluster]")
@output_option
@cluster_options
def plan(
    pool: str | None,
    threshold: int | None,
    older_than: str | None,
    address: str | None,
    output: str,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Say what a campaign that began now would do. Nothing is changed, whether or not the pool has it switched on.

    \b
    tensorfusion defrag plan
    tensorfusion defrag plan --pool default --threshold 60 --older-than 0
    """
    asked = {"pool": pool, "threshold": threshold, "olderThan": older_than}
    query = urlencode({key: value for key, value in asked.items() if value is not None})
    base = http_address(kubeconfig, data, address)
    found = http_get(f"{base}/api/defrag/plan?{query}", token=bearer_token(kubeconfig, data))
    if output != "table":
        show([], [], output=output, value=found)
        return
    for line in lines(found):
        click.echo(line)


def lines(found: dict[str, Any]) -> list[str]:  # Any: JSON
    """The answer for people."""
    told: list[str] = []
    for one in found["pools"]:
        told += [""] if told else []
        told += _pool(one)
    return told or ["there is no pool"]


def _pool(one: dict[str, Any]) -> list[str]:  # Any: JSON
    steps, whole = one["steps"], one["wholeDevices"]
    said = "" if one["enabled"] else " (not switched on)"
    nodes, pods = _count(len(steps), "node"), _count(one["podsMoved"], "pod")
    change = f"whole devices {whole['before']} -> {whole['after']}"
    told = [f"pool {one['pool']}{said}: {nodes} could be emptied, {pods} would move, {change}"]
    if steps:
        rows = [
            [
                number,
                step["node"],
                f"{step['frees']} of {step['devices']}",
                len(step["moves"]),
                _time(step["workSeconds"]),
            ]
            for number, step in enumerate(steps, 1)
        ]
        told += table_lines(("STEP", "NODE", "FREES", "PODS", "LOST WORK"), rows)
        moves = [move for step in steps for move in step["moves"]]
        rows = [[move["pod"], move["from"]["node"], move["to"]["node"]] for move in moves[:_MOVES]]
        told += ["", *table_lines(("POD", "FROM", "TO"), rows)]
        told += [f"... {len(moves) - _MOVES} more"] if len(moves) > _MOVES else []
    kept = one["kept"]
    if kept:
        rows = [[entry["node"], entry["why"], entry.get("pod", "-")] for entry in kept[:_KEPT]]
        told += ["", *table_lines(("STAYS", "WHY", "POD"), rows)]
        told += [f"... {len(kept) - _KEPT} more"] if len(kept) > _KEPT else []
    return told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _time(seconds: int) -> str:
    """Device time, roughly: how long a device worked for what starts anew."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"
