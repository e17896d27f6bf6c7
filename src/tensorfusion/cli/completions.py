"""Names of live objects for the shell's completion: asked for from the cluster, briefly, and never with an error.

A completion that cannot be answered at once completes nothing: a shell must not hang or print on the Tab key.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tensorfusion.kube.client import Client

_SECONDS = 2.0

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(path: Callable[[click.Context], str]) -> Complete:
    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        try:
            listing = _fetch(context, path(context))
            names = [entry["metadata"]["name"] for entry in listing["items"]]
        except Exception:  # noqa: BLE001  # whatever is wrong, the Tab key stays silent
            return []
        return sorted(name for name in names if name.startswith(incomplete))

    return complete


def _fetch(context: click.Context, path: str) -> Any:  # Any: JSON
    import asyncio

    from tensorfusion.cli.session import with_client

    async def ask(client: "Client") -> bytes:
        async with asyncio.timeout(_SECONDS):
            return await client.get_raw(path)

    return json.loads(with_client(_path(context, "kubeconfig"), _path(context, "data"), ask))


def _path(context: click.Context, name: str) -> Path | None:
    found = context.params.get(name)
    return Path(found) if found else None


def _pods_path(context: click.Context) -> str:
    from tensorfusion.cli.session import default_namespace

    namespace = context.params.get("namespace") or default_namespace(
        _path(context, "kubeconfig"), _path(context, "data")
    )
    return f"/api/v1/namespaces/{namespace}/pods"


complete_pods = _names(_pods_path)
complete_namespaces = _names(lambda _: "/api/v1/namespaces")
complete_nodes = _names(lambda _: "/api/v1/nodes")
complete_pools = _names(lambda _: "/apis/tensor-fusion.ai/v1/gpupools")
