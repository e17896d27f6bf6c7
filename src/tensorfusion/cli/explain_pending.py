"""``tensorfusion explain pending``: what waits, by reason, by tenant and by pool, with what it asks for."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from tensorfusion.cli.completions import complete_namespaces, complete_pools
from tensorfusion.cli.session import (
    bearer_token,
    cluster_options,
    default_namespace,
    http_address,
    http_get,
    output_option,
    show,
    table_lines,
)
from tensorfusion.errors import ServerError
from tensorfusion.units import humanize_bytes, to_bytes

_FORBIDDEN = 403
_HEADER = ("PODS", "GPUS", "TFLOPS", "VRAM", "LONGEST WAIT", "OF")


@click.command("pending")
@click.option("--namespace", "-n", shell_complete=complete_namespaces, help="[default: all that you may list pods of]")
@click.option("--pool", shell_complete=complete_pools, help="Only pods that ask for this pool.")
@click.option("--address", help="The HTTP API of the cluster.  [default: that of the embedded cluster]")
@output_option
@cluster_options
def pending(
    namespace: str | None,
    pool: str | None,
    address: str | None,
    output: str,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Say what waits for a place, by reason, namespace and pool: how many pods, what they ask for, the longest wait.

    \b
    tensorfusion explain pending
    tensorfusion explain pending -n team-a --pool default -o json
    """
    base, token = http_address(kubeconfig, data, address), bearer_token(kubeconfig, data)

    def ask(place: str) -> dict[str, Any]:  # Any: JSON
        query = urlencode({"namespace": place, "pool": pool or ""})
        found: dict[str, Any] = http_get(f"{base}/api/pending?{query}", token=token)
        return found

    try:
        found = ask(namespace or "")
    except ServerError as error:
        if namespace or error.status_code != _FORBIDDEN:
            raise
        found = ask(default_namespace(kubeconfig, data))  # one's own, where one may not see the others
    if output != "table":
        show([], [], output=output, value=found)
        return
    for line in lines(found):
        click.echo(line)


def lines(found: dict[str, Any]) -> list[str]:  # Any: JSON
    """The summary for people: a line, then a table by each of reason, namespace and pool."""
    if not found["pods"]:
        return ["nothing waits for a place"]
    longest = f"{found['longestWaiting']} for {_duration(found['longestWaitSeconds'])}"
    told = [f"{found['pods']} pods wait for {_gpus(found)}; {longest}"]
    for kind, key in (("reason", "byReason"), ("namespace", "byNamespace"), ("pool", "byPool")):
        rows = [[row.get("words") or row[kind] or "(none)", *_cells(row)] for row in found[key]]
        told += ["", *table_lines((kind.upper(), *_HEADER), rows)]
    return told


def _gpus(row: dict[str, Any]) -> str:  # Any: JSON
    percent = f" and {row['computePercent']}% of a device's" if "computePercent" in row else ""
    return f"{row['gpus']} GPUs, {row['tflops']} TFLOPS{percent}, {humanize_bytes(to_bytes(row['vram']))} vram"


def _cells(row: dict[str, Any]) -> list[object]:  # Any: JSON
    compute = row["tflops"] + (f" + {row['computePercent']}%" if "computePercent" in row else "")
    vram = humanize_bytes(to_bytes(row["vram"]))
    return [row["pods"], row["gpus"], compute, vram, _duration(row["longestWaitSeconds"]), row["longestWaiting"]]


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
