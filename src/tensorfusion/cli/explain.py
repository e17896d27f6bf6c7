"""``tensorfusion explain``: the scheduler's record of a pod, and what the objects say of pools, nodes and quotas."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import click

from tensorfusion.cli.completions import complete_namespaces, complete_nodes, complete_pods, complete_pools
from tensorfusion.cli.explain_pending import pending
from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import (
    bearer_token,
    cluster_options,
    default_namespace,
    http_address,
    http_get,
    output_option,
    show,
    with_client,
)
from tensorfusion.errors import ConfigError, Forbidden, NotFound
from tensorfusion.model import resources as r
from tensorfusion.suggestions import did_you_mean

if TYPE_CHECKING:
    from tensorfusion.kube.client import Client
    from tensorfusion.model.core import Pod
    from tensorfusion.model.gpu import GPU
    from tensorfusion.model.gpu_node import GPUNode

T = TypeVar("T")


@click.group("explain", cls=SuggestingGroup)
def command() -> None:
    """Say why something is where it is, or why it waits.

    \b
    tensorfusion explain pod notebook -n team-a
    tensorfusion explain pending
    tensorfusion explain pool default
    tensorfusion explain node a100-0
    tensorfusion explain quota -n team-a
    """


command.add_command(pending)


@command.command("pod")
@click.argument("name", shell_complete=complete_pods)
@click.option("--namespace", "-n", shell_complete=complete_namespaces, help="[default: the kubeconfig's]")
@click.option("--address", help="The HTTP API of the cluster.  [default: that of the embedded cluster]")
@output_option
@cluster_options
def pod(
    name: str, namespace: str | None, address: str | None, output: str, kubeconfig: Path | None, data: Path | None
) -> None:
    """Say why a pod was placed where it is, or why it waits and what it asked for.

    \b
    tensorfusion explain pod notebook
    tensorfusion explain pod train-0 -n team-a -o json
    """
    base = http_address(kubeconfig, data, address)
    namespace = namespace or default_namespace(kubeconfig, data)
    query = urlencode({"namespace": namespace, "name": name})
    record = http_get(f"{base}/api/explain?{query}", token=bearer_token(kubeconfig, data))
    if output != "table":
        show([], [], output=output, value=record)
        return
    for line in describe(record):
        click.echo(line)


@command.command("pool")
@click.argument("name", shell_complete=complete_pools)
@output_option
@cluster_options
def pool(name: str, output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Say what a pool has, who holds it, the most that one share can still get, and which pods wait for it.

    \b
    tensorfusion explain pool default
    """

    async def tell(client: "Client") -> dict[str, Any]:  # Any: JSON
        from tensorfusion.cli.explain_objects import pool_story
        from tensorfusion.model.gpu_pool import GPUPool

        found = await _find(client, r.GPU_POOLS, GPUPool, name)
        return pool_story(found, nodes=await _gpu_nodes(client), gpus=await _gpus(client), pods=await _pods(client))

    _tell(with_client(kubeconfig, data, tell), output)


@command.command("node")
@click.argument("name", shell_complete=complete_nodes)
@output_option
@cluster_options
def node(name: str, output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Say whether a node takes work and what keeps it from that, what its devices are, and what runs there.

    \b
    tensorfusion explain node a100-0
    """

    async def tell(client: "Client") -> dict[str, Any]:  # Any: JSON
        from tensorfusion.cli.explain_objects import node_story
        from tensorfusion.model.core import Node

        found = await _find(client, r.NODES, Node, name)
        gpu_node = next((entry for entry in await _gpu_nodes(client) if entry.metadata.name == name), None)
        return node_story(found, gpu_node=gpu_node, gpus=await _gpus(client), pods=await _pods(client))

    _tell(with_client(kubeconfig, data, tell), output)


@command.command("quota")
@click.argument("name", required=False)
@click.option("--namespace", "-n", shell_complete=complete_namespaces, help="[default: the kubeconfig's]")
@output_option
@cluster_options
def quota(name: str | None, namespace: str | None, output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Say what of a namespace's quota is used and left, who uses it, and which pods wait for it.

    \b
    tensorfusion explain quota -n team-a
    """
    place = namespace or default_namespace(kubeconfig, data)

    async def tell(client: "Client") -> dict[str, Any]:  # Any: JSON
        from tensorfusion.cli.explain_objects import quota_story
        from tensorfusion.model.quota import GPUResourceQuota
        from tensorfusion.policy.quota_status import effective_quota

        found = (await client.list(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota, namespace=place)).items
        counts = effective_quota(found)
        names = [entry.metadata.name for entry in found]
        if name is not None and name not in names:
            raise ConfigError(f"quota {place}/{name}: there is none{did_you_mean(name, names)}")
        if counts is None:
            raise ConfigError(
                f"namespace {place}: has no GPUResourceQuota: `tensorfusion tenant create {place} --gpus N` makes one"
            )
        ignored = [entry for entry in names if entry != counts.metadata.name]
        return quota_story(counts, ignored=ignored, pods=await _pods(client, place))

    _tell(with_client(kubeconfig, data, tell), output)


async def _find(client: "Client", resource: r.Resource, type_: type[T], name: str) -> T:
    """One object; an unknown name is answered with the nearest.

    Raises:
        ConfigError: there is none.
    """
    try:
        return await client.get(resource, type_, name)
    except NotFound as error:
        names = [str(entry["metadata"]["name"]) for entry in (await client.list(resource, dict)).items]
        kind = resource.kind.removeprefix("GPU").lower()
        raise ConfigError(f"{kind} {name}: there is none{did_you_mean(name, names)}") from error


async def _gpus(client: "Client") -> "list[GPU]":
    from tensorfusion.model.gpu import GPU

    return (await client.list(r.GPUS, GPU)).items


async def _gpu_nodes(client: "Client") -> "list[GPUNode]":
    from tensorfusion.model.gpu_node import GPUNode

    return (await client.list(r.GPU_NODES, GPUNode)).items


async def _pods(client: "Client", namespace: str = "") -> "list[Pod]":
    """The pods, or those of the user's own namespace where it may not see others."""
    from tensorfusion.model.core import Pod

    try:
        return (await client.list(r.PODS, Pod, namespace=namespace)).items
    except Forbidden:
        return (await client.list(r.PODS, Pod, namespace=client.connection.namespace)).items


def _tell(story: dict[str, Any], output: str) -> None:  # Any: JSON
    from tensorfusion.cli.explain_objects import lines

    if output != "table":
        show([], [], output=output, value=story)
        return
    for line in lines(story):
        click.echo(line)


def describe(record: dict[str, Any]) -> list[str]:  # Any: JSON
    """The record as lines for people."""
    lines = [f"pod {record['namespace']}/{record['name']}: {record['result']}"]
    order = {key: place for place, key in enumerate(_FIRST)}
    keys = sorted(record, key=lambda key: order.get(key, len(order)))
    lines += [f"  {key}: {_text(record[key])}" for key in keys if key not in _APART and record[key] not in _EMPTY]
    helps = record.get("help") or []
    return [*lines, *(["  what would help:"] if helps else []), *(f"    {one['words']}" for one in helps)]


_FIRST = (
    "why",
    "reason",
    "waits",
    "now",
    "node",
    "devices",
    "request",
    "removed",
    "mode",
    "score",
    "scoreParts",
    "deviceScores",
    "alternatives",
)
"""What people want to know first; the rest follows as it comes."""


_APART = frozenset({"namespace", "name", "result", "uid", "amounts", "help"})
"""What stands in the first line or at the end, or is for programs."""
_EMPTY: tuple[object, ...] = (None, "", [], {})


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "; ".join(_text(part) for part in value)
    return str(value)
