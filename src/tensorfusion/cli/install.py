"""Put our objects into a cluster and fetch our service accounts' tokens: a short process of its own.

``tensorfusion up`` runs it after the API answers and once a day (tokens), so that the supervisor needs no client.
``python -m tensorfusion.cli.install --data DIR`` or ``--kubeconfig FILE --accounts DIR``.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import click

from tensorfusion.cli.bundle import ACCOUNTS, PROCESS_NODE_ACCOUNTS, install
from tensorfusion.cli.folder import Folder
from tensorfusion.errors import TensorFusionError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.keys import SYSTEM_NAMESPACE
from tensorfusion.telemetry.logs import VARIABLE, setup

_TOKEN_SECONDS = 30 * 24 * 3600


async def install_into(
    admin_kubeconfig: Path, accounts: Path, *, server: str | None = None, run_processes: bool = False
) -> None:
    """Install the bundle as the admin and write ``ACCOUNT.token`` and ``ACCOUNT.kubeconfig`` for each of our accounts.

    ``server`` replaces the address in the accounts' kubeconfigs (the Unix socket of the embedded API).
    """
    connection = load_kubeconfig(admin_kubeconfig)
    async with Client(connection) as client:
        wanted = PROCESS_NODE_ACCOUNTS if run_processes else ACCOUNTS
        await install(client, wanted)
        for account in wanted:
            token = await client.token_request(SYSTEM_NAMESPACE, account, seconds=_TOKEN_SECONDS)
            token_file = accounts / f"{account}.token"
            _write_private(token_file, token)
            ca_file = accounts / "ca.crt"
            cluster: dict[str, str] = {"server": server or connection.server}
            if connection.ca_data and server is None:
                ca_file.write_bytes(connection.ca_data)
                cluster["certificate-authority"] = str(ca_file.absolute())
            _write_private(accounts / f"{account}.kubeconfig", _kubeconfig(account, cluster, token_file))


def _kubeconfig(account: str, cluster: dict[str, str], token_file: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tensorfusion", "cluster": cluster}],
            "users": [{"name": account, "user": {"tokenFile": str(token_file.absolute())}}],
            "contexts": [{"name": account, "context": {"cluster": "tensorfusion", "user": account}}],
            "current-context": account,
        }
    )


def _write_private(path: Path, text: str) -> None:
    """Write a secret so that a reader sees the old or the new text, never a half one."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    fresh.rename(path)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Folder of an embedded cluster.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Admin kubeconfig of any other cluster.")
@click.option("--accounts", type=click.Path(path_type=Path), help="Where to write the accounts' kubeconfigs.")
@click.option("--run-processes", is_flag=True, help="Also the account of a process node.")
def main(data: Path | None, kubeconfig: Path | None, accounts: Path | None, run_processes: bool) -> None:
    """Install CRDs, service accounts, roles and priority classes; write our accounts' kubeconfigs."""
    try:
        setup(os.environ.get(VARIABLE, "warn"), "install")
        if data is not None:
            folder = Folder(data)
            server = f"unix://{folder.api_socket.absolute()}"
            asyncio.run(install_into(folder.kubeconfig, folder.run, server=server, run_processes=run_processes))
        elif kubeconfig is not None and accounts is not None:
            accounts.mkdir(mode=0o700, parents=True, exist_ok=True)
            asyncio.run(install_into(kubeconfig, accounts))
        else:
            raise click.UsageError("give --data, or --kubeconfig and --accounts")
    except TensorFusionError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
