"""``tensorfusion simulate``: where a pod would go as things are, and what would be with more of them or more nodes."""

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from tensorfusion.cli.manifests import read_manifests, tell
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
from tensorfusion.errors import ConfigError

_ALTERNATIVES = 5
_REFUSALS = 10


@click.command("simulate")
@click.option("--file", "-f", "file", required=True, metavar="FILE", help="A Pod, or what makes pods; - is stdin.")
@click.option("--gang", type=click.IntRange(2, 512), help="So many of it that start together or not at all.")
@click.option(
    "--add-node",
    "shapes",
    multiple=True,
    metavar="SHAPE",
    help="Nodes that do not exist: gpus=H200:8,count=2,pool=default,cpu=64,memory=512Gi,label.zone=a. May be repeated.",
)
@click.option("--namespace", "-n", help="Where the pod would be.  [default: its own, else the kubeconfig's]")
@click.option("--address", help="The HTTP API of the cluster.  [default: that of the embedded cluster]")
@output_option
@cluster_options
def command(
    file: str,
    gang: int | None,
    shapes: tuple[str, ...],
    namespace: str | None,
    address: str | None,
    output: str,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Say where a pod would go, why not elsewhere, and who would be evicted for it. Nothing is changed.

    Of a Deployment, StatefulSet, Job or the like the pod of its template is asked about.

    \b
    tensorfusion simulate -f examples/02-inference.yaml
    tensorfusion simulate -f pod.yaml --gang 8
    tensorfusion simulate -f pod.yaml --add-node gpus=H200:8,count=2
    """
    pod = _pod(file, namespace or default_namespace(kubeconfig, data), forced=namespace)
    query = urlencode([*([("gang", gang)] if gang is not None else []), *(("addNode", shape) for shape in shapes)])
    base = http_address(kubeconfig, data, address)
    found = http_get(f"{base}/api/simulate-schedule?{query}", token=bearer_token(kubeconfig, data), body=_json(pod))
    if output != "table":
        show([], [], output=output, value=found)
        return
    for line in lines(found):
        click.echo(line)


def _pod(file: str, namespace: str, *, forced: str | None) -> dict[str, Any]:  # Any: JSON
    """The one pod of a file.

    Raises:
        ConfigError: there is none, or several, or it is not of the form of one.
    """
    found = []
    for manifest in read_manifests(file):
        tell(manifest)
        if manifest.problems:
            raise ConfigError(f"{manifest.source}: cannot be used: {manifest.problems[0]}")
        pod = _template(manifest.document)
        if pod is not None:
            found.append(pod)
    if len(found) != 1:
        raise ConfigError(f"{file}: wanted one object with a pod, found {len(found)}")
    pod = {"apiVersion": "v1", "kind": "Pod", **found[0]}
    metadata = {"name": "simulated", "namespace": namespace, **_fields(pod, pod.get("metadata"), "metadata")}
    return {**pod, "metadata": {**metadata, "namespace": forced or metadata["namespace"]}}


def _json(pod: dict[str, Any]) -> bytes:  # Any: YAML
    """The body of the question; dates and bytes as JSON has them."""
    try:
        return msgspec.json.encode(pod)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{_label(pod)}: cannot be sent as JSON: {error}") from error


def _fields(document: dict[str, Any], value: Any, field: str) -> dict[str, Any]:  # Any: YAML
    """The value of a field that holds an object; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{_label(document)}: {field}: wanted an object, found {type(value).__name__}")
    return value


def _label(document: dict[str, Any]) -> str:  # Any: YAML
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{document.get('kind', '?')} {name or '?'}"


def _template(document: Any) -> dict[str, Any] | None:  # Any: YAML
    """The pod of an object, or of its template; None where it makes none.

    Raises:
        ConfigError: a field on the way to it holds something else than an object.
    """
    if not isinstance(document, dict) or not isinstance(document.get("spec"), dict):
        return None
    if document.get("kind") == "Pod":
        return document
    spec, at = document["spec"], "spec"
    if document.get("kind") == "CronJob" and isinstance(spec.get("jobTemplate"), dict):
        at = "spec.jobTemplate.spec"
        spec = _fields(document, spec["jobTemplate"].get("spec"), at)
    template = spec.get("template")
    if not isinstance(template, dict):
        return None
    if "containers" not in _fields(document, template.get("spec"), f"{at}.template.spec"):
        return None
    metadata = _fields(document, document.get("metadata"), "metadata")
    place = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    own = _fields(document, template.get("metadata"), f"{at}.template.metadata")
    return {**template, "metadata": {**place, **own}}


def lines(found: dict[str, Any]) -> list[str]:  # Any: JSON
    """The answer for people."""
    result, error, gang = found["scheduleResult"], found["error"], found.get("gang")
    told = []
    if gang is not None:
        told.append(_gang(gang))
    elif error is None:
        devices = ", ".join(found["gpuSchedulerState"]["FinalGPUs"])
        told.append(f"fits: {result['SuggestedHost']}{' with ' + devices if devices else ''}")
    else:
        told.append(f"does not fit: {error['message']}")
    told.append(f"  {result['FeasibleNodes']} of {result['EvaluatedNodes']} nodes could take one")
    told += _preemption(found.get("preemption"))
    scores = found.get("nodeScores") or []
    if scores:
        rows = [[one["node"], one["score"], _parts(one["plugins"])] for one in scores[:_ALTERNATIVES]]
        told += ["", *table_lines(("NODE", "SCORE", "BY PLUGIN"), rows)]
    refusals = error["diagnosis"]["nodeToStatus"]["nodes"] if error is not None else {}
    if refusals:
        rows = [[node, status["plugin"], status["message"]] for node, status in list(refusals.items())[:_REFUSALS]]
        told += ["", *table_lines(("NODE", "PLUGIN", "REASON"), rows)]
        if len(refusals) > _REFUSALS:
            told.append(f"... {len(refusals) - _REFUSALS} more")
    return told


def _parts(plugins: dict[str, float]) -> str:
    return ", ".join(f"{plugin} {points:g}" for plugin, points in plugins.items())


def _gang(gang: dict[str, Any]) -> str:  # Any: JSON
    if not gang["fits"]:
        return f"does not fit: {gang['reason']}"
    where = f" in {gang['domain']}" if gang["domain"] else ""
    return f"fits: all {gang['needed']}{where}: {_by_node(gang['members'])}"


def _by_node(members: list[dict[str, Any]]) -> str:  # Any: JSON
    nodes = Counter(member["node"] for member in members)
    return ", ".join(f"{count} on {node}" for node, count in nodes.items())


def _preemption(found: dict[str, Any] | None) -> list[str]:  # Any: JSON
    if found is None:
        return []
    if not found["possible"]:
        return [f"  nobody would be evicted for it: {found['outcome']}"]
    victims = [f"{one['pod']} (priority {one['priority']})" for one in found["victims"]]
    count = found.get("evicted", 0)
    unnamed = f"{count} pod{'s' * (count > 1)} that you may not list" if count else "nobody"
    members = found.get("members")
    where = _by_node(members) if members is not None else f"on {found['node']}"
    return [f"  it would make room for itself {where}: evicts {', '.join(victims) or unnamed}"]
