"""What every command that talks to a cluster shares: which cluster, a client, and output as a table, JSON or YAML."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tensorfusion.cli.folder import Folder, default_folder
from tensorfusion.errors import ConfigError, ServerError

if TYPE_CHECKING:
    from tensorfusion.kube.client import Client

T = TypeVar("T")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def cluster_options(function: _Command) -> _Command:
    """``--kubeconfig`` and ``--data``, the same words for every command."""
    kubeconfig = click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="Which cluster.  [default: KUBECONFIG, else that of --data]",
    )
    data = click.option(
        "--data", type=click.Path(path_type=Path), help="Folder of an embedded cluster.  [default: ~/.tensorfusion]"
    )
    return kubeconfig(data(function))


def output_option(function: _Command) -> _Command:
    """``-o table|json|yaml``."""
    return click.option(
        "--output", "-o", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True, help="Form."
    )(function)


def kubeconfig_path(kubeconfig: Path | None, data: Path | None) -> Path:
    """The kubeconfig a command means: the option, then --data, then KUBECONFIG, then the default folder.

    Raises:
        ConfigError: there is no such file.
    """
    if kubeconfig is not None:
        path = kubeconfig
    elif data is not None:
        path = Folder(data).kubeconfig
    else:
        path = Path(os.environ.get("KUBECONFIG") or Folder(default_folder()).kubeconfig)
    if not path.exists():
        raise ConfigError(
            f"no kubeconfig at {path}: start a cluster with `tensorfusion up --detach`, or name one with --kubeconfig"
        )
    return path


def embedded_folder(kubeconfig: Path | None, data: Path | None) -> Folder:
    """The folder of the embedded cluster that the options mean.

    Raises:
        ConfigError: they mean no cluster, or one that is not embedded.
    """
    folder = Folder(data.absolute() if data is not None else kubeconfig_path(kubeconfig, data).absolute().parent)
    if not folder.store.exists():
        raise ConfigError(
            f"no embedded cluster in {folder.root}: start one with `tensorfusion up --detach`, "
            "or name its folder with --data"
        )
    return folder


def with_client(kubeconfig: Path | None, data: Path | None, work: Callable[["Client"], Awaitable[T]]) -> T:
    """Run ``work`` with a client of the cluster that the options mean."""
    from tensorfusion.kube.client import Client
    from tensorfusion.kube.config import load_kubeconfig

    connection = load_kubeconfig(kubeconfig_path(kubeconfig, data))

    async def session() -> T:
        async with Client(connection) as client:
            return await work(client)

    return asyncio.run(session())


def http_address(kubeconfig: Path | None, data: Path | None, address: str | None) -> str:
    """Where the HTTP API (explain, allocation) listens: the option, or what the embedded cluster wrote down."""
    if address is not None:
        return address.rstrip("/")
    path = kubeconfig_path(kubeconfig, data)
    for folder, own in ((Folder(data or path.parent), True), (Folder(default_folder()), False)):
        try:
            ready = json.loads(folder.ready_file.read_text())
            if own or ready["server"] == _server(path):  # a user's kubeconfig lies somewhere else
                return str(ready["http"])
        except (OSError, ValueError, KeyError):
            continue
    raise ConfigError(
        f"no running cluster in {path.parent}: start it with `tensorfusion up --detach`, "
        "or name the HTTP API with --address http://HOST:8080"
    )


def _server(kubeconfig: Path) -> str:
    from tensorfusion.kube.config import load_kubeconfig

    return load_kubeconfig(kubeconfig).server


def default_namespace(kubeconfig: Path | None, data: Path | None) -> str:
    """The namespace that the kubeconfig's context names."""
    from tensorfusion.kube.config import load_kubeconfig

    return load_kubeconfig(kubeconfig_path(kubeconfig, data)).namespace


def http_get(url: str, *, token: str | None = None, body: bytes | None = None) -> Any:  # Any: JSON
    """One GET of the HTTP API, or with a body one POST, decoded.

    Raises:
        ServerError: nothing answers, or it answers with an error.
    """
    import urllib.error
    import urllib.request

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:  # noqa: S310 - http by contract
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            text = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            text = text.strip() or error.reason
        raise ServerError(text, code=error.code) from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise ServerError(f"{url} does not answer: {error}: is the cluster running? (`tensorfusion status`)") from error


def bearer_token(kubeconfig: Path | None, data: Path | None) -> str | None:
    """The token of the kubeconfig that the options mean, for the HTTP API; None where it has none."""
    from tensorfusion.kube.config import load_kubeconfig
    from tensorfusion.kube.credentials import TokenSource

    header = TokenSource(load_kubeconfig(kubeconfig_path(kubeconfig, data))).header()
    return header.removeprefix("Bearer ") if header is not None else None


def show(rows: Sequence[Sequence[object]], header: Sequence[str], *, output: str, value: Any) -> None:
    """Print rows as a table for people, or ``value`` as JSON or YAML for programs."""
    if output == "json":
        click.echo(json.dumps(value, indent=2))
    elif output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False), nl=False)
    else:
        print_table(header, rows)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, like kubectl."""
    for line in table_lines(header, rows):
        click.echo(line)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table, its header first."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
