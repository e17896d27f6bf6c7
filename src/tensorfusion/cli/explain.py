"""``tensorfusion explain``: the scheduler's record of a pod, in words."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from tensorfusion.cli.session import bearer_token, cluster_options, http_address, http_get, output_option, show


@click.group("explain")
def command() -> None:
    """Say why something is where it is, or why it waits."""


@command.command("pod")
@click.argument("name")
@click.option("--namespace", "-n", default="default", show_default=True)
@click.option("--address", help="The HTTP API of the cluster.  [default: that of the embedded cluster]")
@output_option
@cluster_options
def pod(
    name: str, namespace: str, address: str | None, output: str, kubeconfig: Path | None, data: Path | None
) -> None:
    """Say why a pod was placed where it is, or why it waits and what it asked for."""
    base = http_address(kubeconfig, data, address)
    query = urlencode({"namespace": namespace, "name": name})
    record = http_get(f"{base}/api/explain?{query}", token=bearer_token(kubeconfig, data))
    if output != "table":
        show([], [], output=output, value=record)
        return
    for line in describe(record):
        click.echo(line)


def describe(record: dict[str, Any]) -> list[str]:  # Any: JSON
    """The record as lines for people."""
    lines = [f"pod {record['namespace']}/{record['name']}: {record['result']}"]
    lines += [
        f"  {key}: {_text(value)}" for key, value in record.items() if key not in _IN_HEADER and value not in _EMPTY
    ]
    return lines


_IN_HEADER = frozenset({"namespace", "name", "result", "uid"})
_EMPTY: tuple[object, ...] = (None, "", [], {})


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "; ".join(_text(part) for part in value)
    return str(value)
