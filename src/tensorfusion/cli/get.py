"""``tensorfusion get``: list or show objects with the server's own columns, for machines without kubectl."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from tensorfusion.cli.apply import server_resources
from tensorfusion.cli.completions import complete_namespaces
from tensorfusion.cli.session import cluster_options, default_namespace, output_option, print_table, with_client
from tensorfusion.errors import ConfigError
from tensorfusion.kube.client import Client
from tensorfusion.model.resources import Resource
from tensorfusion.suggestions import did_you_mean

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@click.command("get")
@click.argument("kind")
@click.argument("name", required=False)
@click.option("--namespace", "-n", shell_complete=complete_namespaces, help="[default: the kubeconfig's]")
@click.option("--all-namespaces", "-A", is_flag=True, help="Every namespace.")
@click.option("--selector", "-l", default="", help="Label selector, such as app=web.")
@output_option
@cluster_options
def command(
    kind: str,
    name: str | None,
    namespace: str | None,
    all_namespaces: bool,
    selector: str,
    output: str,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """List the objects of a KIND (pods, gpus, gpupools ...), or show one by NAME.

    \b
    tensorfusion get gpus
    tensorfusion get pods -A
    tensorfusion get pod notebook -o yaml
    """

    place = namespace or default_namespace(kubeconfig, data)

    async def fetch(client: Client) -> Any:  # Any: JSON
        resource = await find_resource(client, kind)
        path = resource.path("" if all_namespaces else place, quote(name or "", safe=""))
        query = urlencode({"labelSelector": selector}) if selector and not name else ""
        accept = _TABLE if output == "table" else "application/json"
        return json.loads(await client.get_raw(f"{path}?{query}" if query else path, accept=accept))

    answer = with_client(kubeconfig, data, fetch)
    if output == "table":
        columns = [column for column in answer["columnDefinitions"] if column.get("priority", 0) == 0]
        positions = [answer["columnDefinitions"].index(column) for column in columns]
        rows = [[_cell(row["cells"][position]) for position in positions] for row in answer["rows"]]
        if not rows:
            click.echo(f"no {kind} found" + ("" if all_namespaces else f" in namespace {place}"))
            return
        print_table([column["name"].upper() for column in columns], rows)
    elif output == "json":
        click.echo(json.dumps(answer, indent=2))
    else:
        import yaml

        click.echo(yaml.safe_dump(answer, sort_keys=False), nl=False)


def _cell(value: object) -> str:
    return "<none>" if value is None else str(value)


async def find_resource(client: Client, word: str) -> Resource:
    """The resource a user means by ``pods``, ``pod`` or ``gpupools.tensor-fusion.ai``.

    Raises:
        ConfigError: the server serves nothing of that name.
    """
    groups = json.loads(await client.get_raw("/apis"))["groups"]
    versions = [("", "v1"), *((group["name"], group["preferredVersion"]["version"]) for group in groups)]
    wanted = word.lower()
    known: list[str] = []
    for group, version in versions:
        for resource in await server_resources(client, group, version):
            if wanted in (resource.plural, resource.kind.lower(), resource.id):
                return resource
            known.append(resource.plural)
    likely = did_you_mean(word, known, listed=False)
    raise ConfigError(f"the server has no kind {word!r}{likely or ': known are ' + ', '.join(sorted(known))}")
