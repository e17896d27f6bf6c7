"""``tensorfusion user``: people of a namespace, each with a kubeconfig that works in any client."""

from pathlib import Path

import click

from tensorfusion.cli.completions import complete_namespaces
from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import cluster_options, kubeconfig_path, output_option, show, with_client
from tensorfusion.cli.tenancy import (
    ROLE,
    ROLES,
    TOKEN_EXPIRES,
    USER,
    check_name,
    put_user,
    remove_user,
    user_kubeconfig,
)
from tensorfusion.kube.client import Client, IssuedToken
from tensorfusion.model.resources import SERVICE_ACCOUNTS
from tensorfusion.private_files import write_secret

_DAYS = 90


@click.group("user", cls=SuggestingGroup)
def command() -> None:
    """Give people access to a namespace, and take it back.

    \b
    tensorfusion user add ann --namespace team-a --role edit -o ann.kubeconfig
    tensorfusion user list
    tensorfusion user remove ann --namespace team-a
    """


@command.command("add")
@click.argument("name")
@click.option("--namespace", "-n", required=True, shell_complete=complete_namespaces, help="The user's namespace.")
@click.option("--role", type=click.Choice(ROLES), default="edit", show_default=True, help="What it may do there.")
@click.option("--days", type=click.IntRange(1, 3650), default=_DAYS, show_default=True, help="Life of the token.")
@click.option("--output", "-o", "file", type=click.Path(path_type=Path), help="Write here.  [default: standard output]")
@cluster_options
def add(
    name: str, namespace: str, role: str, days: int, file: Path | None, kubeconfig: Path | None, data: Path | None
) -> None:
    """Make a user of a namespace and print a kubeconfig for it. Run it again for a new token or another role.

    \b
    view   sees everything of the namespace but Secrets
    edit   also runs pods, services and workloads
    admin  also gives roles to others in the namespace
    Every user sees the pools, nodes and devices of the cluster, and the namespace's own quota; none may change them.

    \b
    tensorfusion user add ann --namespace team-a -o ann.kubeconfig
    KUBECONFIG=ann.kubeconfig kubectl get pods
    """
    check_name(name, what="NAME")

    async def make(client: Client) -> tuple[list[str], IssuedToken]:
        return await put_user(client, name, namespace=namespace, role=role, days=days)

    said, token = with_client(kubeconfig, data, make)
    for line in said:
        click.echo(line, err=True)
    hand_over(name, namespace=namespace, token=token, file=file, admin=kubeconfig_path(kubeconfig, data))


def hand_over(name: str, *, namespace: str, token: IssuedToken, file: Path | None, admin: Path) -> None:
    """Write or print a user's kubeconfig, and say until when it is good."""
    from tensorfusion.kube.config import load_kubeconfig

    text = user_kubeconfig(load_kubeconfig(admin), name, namespace=namespace, token=token.token)
    if file is None:
        click.echo(text, nl=False)
    else:
        write_secret(file, text)
        click.echo(f"{file} written: export KUBECONFIG={file.absolute()}", err=True)
    click.echo(f"the token is good until {token.expires}", err=True)


@command.command("list")
@click.option("--namespace", "-n", default="", help="Only users of this namespace.")
@output_option
@cluster_options
def list_users(namespace: str, output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """List the users that `user add` made, their roles and until when their newest tokens are good.

    \b
    tensorfusion user list -n team-a
    """

    async def fetch(client: Client) -> list[dict[str, str]]:
        found = await client.list(SERVICE_ACCOUNTS, dict, namespace=namespace, labels=f"{USER}=true")
        rows = []
        for account in found.items:
            metadata = account["metadata"]
            notes = metadata.get("annotations") or {}
            rows.append(
                {
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "role": notes.get(ROLE, ""),
                    "tokenExpires": notes.get(TOKEN_EXPIRES, ""),
                }
            )
        return sorted(rows, key=lambda row: (row["namespace"], row["name"]))

    rows = with_client(kubeconfig, data, fetch)
    if not rows and output == "table":
        click.echo("no users: make one with `tensorfusion user add NAME --namespace NS`")
        return
    header = ("NAMESPACE", "NAME", "ROLE", "TOKEN GOOD UNTIL")
    show([list(row.values()) for row in rows], header, output=output, value=rows)


@command.command("remove")
@click.argument("name")
@click.option("--namespace", "-n", required=True, shell_complete=complete_namespaces, help="The user's namespace.")
@cluster_options
def remove(name: str, namespace: str, kubeconfig: Path | None, data: Path | None) -> None:
    """Take a user's rights; its tokens end at once. What the user made stays.

    \b
    tensorfusion user remove ann -n team-a
    """
    for line in with_client(kubeconfig, data, lambda client: remove_user(client, name, namespace=namespace)):
        click.echo(line)
