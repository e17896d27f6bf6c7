"""``tensorfusion record``: look at a recording, and hand it to other tools."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import output_option, show, table_lines

if TYPE_CHECKING:
    from tensorfusion.scheduler.recording.reader import Recorded

_PATH = click.Path(path_type=Path)
_SHOWN = 20


@click.group("record", cls=SuggestingGroup)
def command() -> None:
    """Look at what a cluster recorded of its arrivals, sizes, waits and endings.

    \b
    tensorfusion up --detach --record history
    tensorfusion record info history
    """


@command.command("info")
@click.argument("recording", type=_PATH)
@output_option
def info(recording: Path, output: str) -> None:
    """Say what is in a recording: the period, pods, machines and namespaces, gaps and bytes.

    The names of namespaces, nodes and pods are in it only where it was recorded with --record-names.

    \b
    tensorfusion record info history
    """
    from tensorfusion.scheduler.recording.reader import read

    found = _told(read(recording))
    if output != "table":
        show([], [], output=output, value=found)
        return
    for line in _lines(found):
        click.echo(line)


@command.command("export")
@click.argument("recording", type=_PATH)
@click.argument("folder", type=_PATH)
def export(recording: Path, folder: Path) -> None:
    """Write machines and arrivals as CSV in the columns of the public openb trace: nodes.csv and pods.csv.

    \b
    tensorfusion record export history trace
    tensorfusion bench packing --nodes trace/nodes.csv --pods trace/pods.csv
    """
    from tensorfusion.scheduler.recording.reader import read
    from tensorfusion.testing.what_if.export import write

    for file in write(read(recording).history, folder):
        click.echo(str(file))


def _told(found: "Recorded") -> dict[str, Any]:  # Any: JSON
    from tensorfusion.testing.what_if.jobs import said
    from tensorfusion.testing.what_if.sizes import Sizes, in_order

    history = found.history
    sizes = Sizes(history)
    of_size = Counter(sizes.of(pod.shape) for pod in history.pods)
    spaces = Counter(pod.namespace for pod in history.pods)
    fleet = history.ever()
    per_node = Counter(device.node for device in fleet.devices.values())
    models = {device.node: device.model for device in fleet.devices.values()}
    kinds = Counter((models.get(node, "no GPU"), per_node[node]) for node in fleet.nodes)
    return {
        "from": said(history.start),
        "to": said(history.end),
        "names": history.settings.names,
        "pods": len(history.pods),
        "thereAlready": sum(pod.held for pod in history.pods),
        "placed": sum(pod.bound is not None for pod in history.pods),
        "endings": dict(sorted(Counter(str(pod.how) for pod in history.pods if pod.how is not None).items())),
        "sizes": {name: of_size[name] for name in in_order(of_size)},
        "namespaces": dict(sorted(spaces.items(), key=lambda one: (-one[1], one[0]))),
        "pools": {name: facts.mode for name, facts in sorted(fleet.pools.items())},
        "machines": [{"model": model, "gpus": gpus, "nodes": count} for (model, gpus), count in sorted(kinds.items())],
        "changesOfTheFleet": len(history.changes),
        "gaps": [{"from": said(gap.start), "to": said(gap.end)} for gap in history.gaps],
        "segments": found.segments,
        "series": found.series,
        "bytes": found.size,
        "bytesCutOff": found.torn,
        "segmentsLeftOut": found.left_out,
        "segmentsRemoved": found.removed,
    }


def _lines(found: dict[str, Any]) -> list[str]:  # Any: JSON
    endings = ", ".join(f"{count} {how}" for how, count in found["endings"].items())
    pods = f"{found['pods']} pods: {found['thereAlready']} were there already, {found['placed']} got a place"
    files = f"{found['bytes']} bytes in {found['segments']} files of {found['series']} schedulers"
    told = [
        f"{found['from']} to {found['to']}, {'with' if found['names'] else 'without'} names",
        pods + (f"; ended: {endings}" if endings else ""),
        f"{files}, {found['changesOfTheFleet']} changes of the fleet",
    ]
    if found["bytesCutOff"]:
        told.append(f"{found['bytesCutOff']} bytes behind the last whole entry of a file were left out")
    if found["segmentsRemoved"]:
        told.append(
            f"{found['segmentsRemoved']} of the oldest files were removed by who records before they could be read"
        )
    if found["segmentsLeftOut"]:
        told.append(
            f"{found['segmentsLeftOut']} older files are not read: they are of another cluster, or with names "
            "where the newest are without, or without where they are with"
        )
    told += [f"nothing was recorded from {gap['from']} to {gap['to']}" for gap in found["gaps"]]
    told += ["", *table_lines(("SIZE", "PODS"), list(found["sizes"].items()))]
    told += [
        "",
        *table_lines(("NODES", "GPUS EACH", "MODEL"), [[m["nodes"], m["gpus"], m["model"]] for m in found["machines"]]),
    ]
    told += ["", *table_lines(("POOL", "MODE"), list(found["pools"].items()))]
    spaces = list(found["namespaces"].items())
    told += ["", *table_lines(("NAMESPACE", "PODS"), spaces[:_SHOWN])]
    return told + ([f"... {len(spaces) - _SHOWN} more"] if len(spaces) > _SHOWN else [])
