"""``tensorfusion apply``: create or update the objects of YAML files, for machines without kubectl."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from tensorfusion.cli.field_hints import field_hints
from tensorfusion.cli.manifests import Manifest, read_manifests, tell
from tensorfusion.cli.session import cluster_options, default_namespace, with_client
from tensorfusion.errors import ApiError, ConfigError, TensorFusionError
from tensorfusion.kube.client import Client
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import Resource


@click.command("apply")
@click.option("--filename", "-f", "paths", multiple=True, required=True, help="File, folder, or - for standard input.")
@click.option("--namespace", "-n", help="For objects that name none.  [default: the kubeconfig's]")
@cluster_options
def command(paths: tuple[str, ...], namespace: str | None, kubeconfig: Path | None, data: Path | None) -> None:
    """Create or update every object of the files, in order; one that is refused does not stop the others.

    Loose dialects are rewritten on the way (see `tensorfusion convert`), and each rewrite is printed.

    \b
    tensorfusion apply -f examples/
    tensorfusion apply -f - -n team-a
    """
    manifests = [manifest for path in paths for manifest in read_manifests(path)]
    place = namespace or default_namespace(kubeconfig, data)
    if with_client(kubeconfig, data, lambda client: apply_manifests(client, manifests, namespace=place)):
        sys.exit(1)


async def apply_manifests(client: Client, manifests: list[Manifest], *, namespace: str) -> int:
    """Apply in order and say what became of each. Returns how many were refused."""
    refused = 0
    for manifest in manifests:
        tell(manifest)
        if manifest.problems:
            refused += 1
            continue
        try:
            outcome = await apply_one(client, manifest.document, namespace=namespace)
            click.echo(outcome)
            if outcome.leaving:
                click.echo(
                    f"warning: {manifest.source}: {outcome.label} is being deleted: apply it again once it has gone",
                    err=True,
                )
        except TensorFusionError as error:
            refused += 1
            hint = await _hint(client, manifest.document, error)
            click.echo(f"error: {manifest.source}: {error}{hint}", err=True)
    return refused


async def _hint(client: Client, document: Any, error: TensorFusionError) -> str:  # Any: whatever the file holds
    """The nearest names of fields that the server did not know."""
    if not isinstance(error, ApiError):
        return ""
    resource, _ = await _address(client, document)
    return await field_hints(client, resource, str(error))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document. ``leaving``: its object is being deleted, and what was applied goes with it."""

    label: str
    verb: Literal["created", "configured", "unchanged"]
    leaving: bool = False

    def __str__(self) -> str:
        return f"{self.label} {self.verb}"


async def apply_one(client: Client, document: Any, *, namespace: str) -> Outcome:  # Any: whatever the file holds
    """Create the object, or merge it into the one that exists.

    Raises:
        ConfigError: not an object with apiVersion, kind and a name.
        ApiError: the server refused.
    """
    resource, name = await _address(client, document)
    wanted_namespace = str(document["metadata"].get("namespace") or namespace) if resource.namespaced else ""
    try:
        current = await client.get(resource, dict, name, namespace=wanted_namespace) if name else None
    except ApiError as error:
        if error.status_code != 404:
            raise
        current = None
    if current is None:
        made = await client.create(resource, document, namespace=wanted_namespace, strict=True)
        return Outcome(f"{resource.id}/{made['metadata']['name']}", "created")
    changed = await client.patch(resource, name, document, namespace=wanted_namespace, strict=True)
    same = changed["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"]
    if not same and "status" not in document:  # a controller may have written the status since the object was read
        same = _less_status(changed) == _less_status(current)
    leaving = "deletionTimestamp" in changed["metadata"]
    return Outcome(f"{resource.id}/{name}", "unchanged" if same else "configured", leaving)


def _less_status(found: Raw) -> Raw:
    """An object without what a write of its status alone changes."""
    metadata = {
        key: value for key, value in found["metadata"].items() if key not in ("managedFields", "resourceVersion")
    }
    return {**found, "metadata": metadata, "status": None}


async def _address(client: Client, document: Any) -> tuple[Resource, str]:
    if not isinstance(document, dict):
        raise ConfigError(f"wanted an object with apiVersion, kind and metadata, found {type(document).__name__}")
    api_version, kind, metadata = document.get("apiVersion"), document.get("kind"), document.get("metadata")
    if not isinstance(api_version, str) or not isinstance(kind, str) or not isinstance(metadata, dict):
        raise ConfigError(f"wanted apiVersion, kind and metadata, found {sorted(map(str, document))[:8]}")
    name = metadata.get("name", "")
    if not isinstance(name, str) or not (name or metadata.get("generateName")):
        raise ConfigError(f"{kind}: wanted metadata.name as text, found {name!r}")
    return await find_kind(client, api_version, kind), name


async def find_kind(client: Client, api_version: str, kind: str) -> Resource:
    """The resource of a kind, from the server's discovery.

    Raises:
        ConfigError: the server does not serve it.
    """
    group, _, version = api_version.rpartition("/")
    for resource in await server_resources(client, group, version):
        if resource.kind == kind:
            return resource
    raise ConfigError(
        f'no kind "{kind}" in version "{api_version}" on this server: install its CRD first, or check the spelling'
    )


async def server_resources(client: Client, group: str, version: str) -> list[Resource]:
    """What one group and version serves; empty where the server does not know it."""
    import json

    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        listing = json.loads(await client.get_raw(path))
    except ApiError as error:
        if error.status_code == 404:
            return []
        raise
    return [
        Resource(group, version, entry["name"], entry["kind"], namespaced=entry["namespaced"])
        for entry in listing["resources"]
        if "/" not in entry["name"]
    ]
