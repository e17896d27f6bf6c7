"""``tensorfusion fleet``: the simulated machines of a running cluster - add, remove, drain, break and heal them.

Which machines there are is the fleet file's word, which the cluster follows while it runs and reads when it starts.
What happens to them is written on their Nodes, as annotations that ``kubectl annotate`` can write too.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensorfusion.cli.completions import complete_nodes
from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import cluster_options, embedded_folder, output_option, show, with_client
from tensorfusion.errors import ConfigError, NotFound, TensorFusionError
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.resources import GPUS, NODES, PODS
from tensorfusion.suggestions import did_you_mean

if TYPE_CHECKING:
    from tensorfusion.cli.fleet_file import Document
    from tensorfusion.embedded.fleet import NodeSpec
    from tensorfusion.kube.client import Client

_PATIENCE = 30.0
_SIMULATED = "node.kubernetes.io/instance-type=simulated"
_HOSTNAME = "kubernetes.io/hostname"


@click.group("fleet", cls=SuggestingGroup)
def command() -> None:
    """Change the simulated machines of a cluster while it runs.

    \b
    tensorfusion fleet list
    tensorfusion fleet add h200-{i} --count 2 --gpus H200:8
    tensorfusion fleet break a100-0 --devices 0,1     these devices fall off the bus
    tensorfusion fleet break a100-0                   the whole machine is cut off
    tensorfusion fleet heal a100-0
    tensorfusion fleet drain l4-0
    """


@command.command("list")
@output_option
@cluster_options
def list_nodes(output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """List the machines: ready or not, devices that work, pods that run.

    \b
    tensorfusion fleet list -o json
    """
    rows = with_client(kubeconfig, data, _rows)
    header = ("NODE", "STATE", "GPUS", "MODEL", "TROUBLE", "PODS")
    show([list(row.values()) for row in rows], header, output=output, value=rows)


async def _rows(client: "Client") -> list[dict[str, object]]:
    from tensorfusion.embedded.machines import LOST
    from tensorfusion.hypervisor.vendors.simulated import FAULTY_DEVICES, LOST_DEVICES

    nodes = (await client.list(NODES, Node, labels=_SIMULATED)).items
    gpus = (await client.list(GPUS, GPU)).items
    pods = (await client.list(PODS, Pod)).items
    rows: list[dict[str, object]] = []
    for node in sorted(nodes, key=lambda found: found.metadata.name):
        name, notes = node.metadata.name, node.metadata.annotations
        own = [gpu for gpu in gpus if gpu.status.node_selector.get(_HOSTNAME) == name]
        trouble = [
            text
            for key, text in (
                (LOST, "cut off"),
                (LOST_DEVICES, f"devices {notes.get(LOST_DEVICES)} lost"),
                (FAULTY_DEVICES, f"devices {notes.get(FAULTY_DEVICES)} faulty"),
            )
            if notes.get(key)
        ]
        works = sum(gpu.status.phase == "Running" for gpu in own)
        rows.append(
            {
                "node": name,
                "state": ("Ready" if node.ready else "NotReady") + (",drained" if node.spec.unschedulable else ""),
                "gpus": f"{works} of {len(own)}" if own else "-",
                "model": ", ".join(sorted({gpu.status.gpu_model or "" for gpu in own})) or "-",
                "trouble": ", ".join(trouble) or "-",
                "pods": sum(pod.spec.node_name == name and not pod.finished for pod in pods),
            }
        )
    return rows


@command.command("add")
@click.argument("name")
@click.option("--gpus", metavar="MODEL[:COUNT]", help="Devices of each machine, such as A100_SXM_80G:8.")
@click.option("--tflops", help="TFLOPS of a device, for models that the catalogue does not know.")
@click.option("--vram", help="Memory of a device, likewise.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many; NAME holds {i}.")
@click.option("--cpu", default="64", show_default=True, help="CPU cores of each machine.")
@click.option("--memory", default="512Gi", show_default=True, help="Memory of each machine.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; may be repeated.")
@cluster_options
def add(
    name: str,
    gpus: str | None,
    tflops: str | None,
    vram: str | None,
    count: int,
    cpu: str,
    memory: str,
    labels: tuple[str, ...],
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Add machines to the fleet and wait until they are ready. Comments in the fleet file are lost; `edit` keeps them.

    \b
    tensorfusion fleet add l4-1 --gpus L4:2
    tensorfusion fleet add big-{i} --count 4 --gpus RTX4090:8 --label zone=b
    """
    from tensorfusion.cli.fleet_file import read_document, to_text, with_entry, write

    folder = embedded_folder(kubeconfig, data)
    entry: Document = {"name": name, "cpu": cpu, "memory": memory}
    if count > 1:
        entry["count"] = count
    if labels:
        entry["labels"] = dict(_label(text) for text in labels)
    if gpus is not None:
        model, _, number = gpus.partition(":")
        devices = {"model": model, "count": _whole(number or "1"), "tflops": tflops, "vram": vram}
        entry["gpus"] = {key: value for key, value in devices.items() if value is not None}
    document, added = with_entry(read_document(folder.fleet_file), entry)
    write(folder.fleet_file, to_text(document))
    click.echo(f"added to {folder.fleet_file}: {_names(added)}")
    if folder.pid("control") is None:
        click.echo("the cluster does not run: they will be there when it starts")
        return
    wanted = {node.name: node.devices.count if node.devices else 0 for node in added}
    _await(kubeconfig, data, lambda client: _up(client, wanted), what="machines that are not ready yet")
    click.echo(f"ready: {len(added)} nodes, {sum(wanted.values())} devices")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--label: wanted KEY=VALUE, found {text!r}")
    return key, value


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"--gpus: wanted MODEL or MODEL:COUNT, found a count of {text!r}")
    return int(text)


def _names(nodes: Sequence["NodeSpec"]) -> str:
    names = [node.name for node in nodes]
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


async def _up(client: "Client", wanted: dict[str, int]) -> list[str]:
    """Those that are not ready yet, or whose devices are not."""
    ready = {node.metadata.name for node in (await client.list(NODES, Node)).items if node.ready}
    works: dict[str, int] = {}
    for gpu in (await client.list(GPUS, GPU)).items:
        if gpu.status.phase == "Running":
            place = gpu.status.node_selector.get(_HOSTNAME, "")
            works[place] = works.get(place, 0) + 1
    return [name for name, count in wanted.items() if name not in ready or works.get(name, 0) < count]


@command.command("remove")
@click.argument("name", shell_complete=complete_nodes)
@cluster_options
def remove(name: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Drain a machine and take it out of the fleet for good.

    \b
    tensorfusion fleet remove a100-1
    """
    from tensorfusion.cli.fleet_file import read_document, to_text, without_node, write

    folder = embedded_folder(kubeconfig, data)
    document = without_node(read_document(folder.fleet_file), name)
    if folder.pid("control") is not None:
        _drain(name, kubeconfig, data)
    write(folder.fleet_file, to_text(document))
    if folder.pid("control") is not None:
        with_client(kubeconfig, data, lambda client: client.delete(NODES, name))
    click.echo(f"{name} removed from {folder.fleet_file}")


@command.command("edit")
@cluster_options
def edit(kubeconfig: Path | None, data: Path | None) -> None:
    """Open the fleet file in your editor (EDITOR); what you save counts at once, if it is right.

    Machines that you add or change appear; to take one away use `fleet remove`, which drains it first.

    \b
    EDITOR=nano tensorfusion fleet edit
    """
    import yaml

    from tensorfusion.cli.fleet_file import read_document, to_text, write
    from tensorfusion.embedded.fleet import parse_fleet

    folder = embedded_folder(kubeconfig, data)
    path = folder.fleet_file
    text = path.read_text() if path.exists() else to_text(read_document(path))
    changed: str | None = text
    while True:
        changed = click.edit(changed, extension=".yaml")
        if changed is None or changed == text:
            click.echo("nothing changed")
            return
        try:
            nodes = parse_fleet(yaml.safe_load(changed), source="your text", text=changed)
            break
        except (yaml.YAMLError, ConfigError) as error:
            click.echo(f"error: {' '.join(str(error).split())}", err=True)
            if not click.confirm("edit it again?", default=True):
                raise ConfigError(f"{path}: is as it was") from error
    write(path, changed)
    click.echo(f"{path} saved: {len(nodes)} machines")


@command.command("drain")
@click.argument("name", shell_complete=complete_nodes)
@cluster_options
def drain(name: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Let no new pods onto a machine and delete those that run there. `fleet heal` opens it again.

    \b
    tensorfusion fleet drain l4-0
    """
    _drain(name, kubeconfig, data)


def _drain(name: str, kubeconfig: Path | None, data: Path | None) -> None:
    async def start(client: "Client") -> list[Pod]:
        await _node(client, name)
        await client.patch(NODES, name, {"spec": {"unschedulable": True}})
        pods = (await client.list(PODS, Pod, fields=f"spec.nodeName={name}")).items
        leaving = [pod for pod in pods if not _is_daemon(pod)]
        for pod in leaving:
            try:
                await client.delete(PODS, pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid)
            except NotFound:
                continue
            click.echo(f"pod {pod.key} deleted")
        return leaving

    leaving = {pod.metadata.uid for pod in with_client(kubeconfig, data, start)}

    async def left(client: "Client") -> list[str]:
        pods = (await client.list(PODS, Pod, fields=f"spec.nodeName={name}")).items
        return [str(pod.key) for pod in pods if pod.metadata.uid in leaving]

    _await(kubeconfig, data, left, what=f"pods that are still on {name}")
    click.echo(f"{name} is drained: no new pods go there until `tensorfusion fleet heal {name}`")


def _is_daemon(pod: Pod) -> bool:
    return any(owner.kind == "DaemonSet" for owner in pod.metadata.owner_references)


@command.command("break")
@click.argument("name", shell_complete=complete_nodes)
@click.option("--devices", metavar="I,J", help="Only these devices, by index.  [default: the whole machine]")
@click.option("--faulty", is_flag=True, help="The devices stay visible and report an error, instead of vanishing.")
@cluster_options
def break_node(name: str, devices: str | None, faulty: bool, kubeconfig: Path | None, data: Path | None) -> None:
    """Cut a machine off, or make some of its devices fail, and see what the cluster does.

    \b
    tensorfusion fleet break h100-0                       NotReady; its pods stay as they are
    tensorfusion fleet break h100-0 --devices 2           device 2 falls off the bus
    tensorfusion fleet break h100-0 --devices 2 --faulty  device 2 reports an uncorrectable error
    """
    from tensorfusion.embedded.machines import LOST
    from tensorfusion.hypervisor.vendors.simulated import FAULTY_DEVICES, LOST_DEVICES

    if devices is None and faulty:
        raise ConfigError("--faulty: wanted --devices too: a whole machine is cut off, not faulty")

    async def apply(client: "Client") -> None:
        node = await _node(client, name)
        if devices is None:
            notes = {LOST: "true"}
        else:
            indices = await _indices(client, node, devices)
            notes = {FAULTY_DEVICES if faulty else LOST_DEVICES: ",".join(map(str, indices))}
        await client.patch(NODES, name, {"metadata": {"annotations": notes}})

    with_client(kubeconfig, data, apply)
    what = name if devices is None else f"device {devices} of {name}"
    click.echo(f"{what} is {'faulty' if faulty else 'lost'}: `tensorfusion fleet heal {name}` repairs everything")


async def _indices(client: "Client", node: Node, text: str) -> list[int]:
    """Device indices that the node has.

    Raises:
        ConfigError: not numbers, or no such device.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--devices: wanted indices such as 0 or 0,2, found {text!r}")
    name = node.metadata.name
    gpus = (await client.list(GPUS, GPU)).items
    known = sorted(gpu.status.index or 0 for gpu in gpus if gpu.status.node_selector.get(_HOSTNAME) == name)
    wanted = sorted({int(part) for part in parts})
    missing = [index for index in wanted if index not in known]
    if missing:
        there = ", ".join(map(str, known)) or "it has none"
        raise ConfigError(f"--devices: wanted devices of {name} ({there}), found {missing[0]}")
    return wanted


@command.command("heal")
@click.argument("name", shell_complete=complete_nodes)
@cluster_options
def heal(name: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Undo `break` and `drain`: the machine and all its devices work, and new pods may go there.

    \b
    tensorfusion fleet heal a100-0
    """
    from tensorfusion.embedded.machines import LOST
    from tensorfusion.hypervisor.vendors.simulated import FAULTY_DEVICES, LOST_DEVICES

    async def apply(client: "Client") -> None:
        await _node(client, name)
        notes = {LOST: None, LOST_DEVICES: None, FAULTY_DEVICES: None}
        patch: dict[str, Any] = {"metadata": {"annotations": notes}, "spec": {"unschedulable": None}}
        await client.patch(NODES, name, patch)

    with_client(kubeconfig, data, apply)
    click.echo(f"{name} is whole again")


async def _node(client: "Client", name: str) -> Node:
    """A simulated node.

    Raises:
        ConfigError: there is none of that name, or it is a real machine.
    """
    try:
        node = await client.get(NODES, Node, name)
    except NotFound as error:
        known = [found.metadata.name for found in (await client.list(NODES, Node, labels=_SIMULATED)).items]
        raise ConfigError(f"node {name}: there is none{did_you_mean(name, known)}") from error
    if node.metadata.labels.get("node.kubernetes.io/instance-type") != "simulated":
        raise ConfigError(f"node {name}: is a real machine: wanted a simulated one, see `tensorfusion fleet list`")
    return node


def _await(
    kubeconfig: Path | None, data: Path | None, rest: Callable[["Client"], Any], *, what: str
) -> None:  # Any: a coroutine of names
    """Wait until ``rest`` names nothing any more."""
    deadline = time.monotonic() + _PATIENCE
    while left := with_client(kubeconfig, data, rest):
        if time.monotonic() > deadline:
            raise TensorFusionError(f"after {_PATIENCE:.0f} s there are {what}: {', '.join(left[:5])}")
        time.sleep(0.2)
