"""``tensorfusion tenant``: a namespace, its quota and its people in one step."""

import sys
from pathlib import Path
from typing import Any

import click

from tensorfusion.cli.completions import complete_namespaces
from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import cluster_options, kubeconfig_path, output_option, show, with_client
from tensorfusion.cli.tenancy import HOME, ROLES, USER, Ceilings, check_name, put_tenant, put_user
from tensorfusion.cli.user import hand_over
from tensorfusion.errors import ConfigError, InvalidQuantity, NotFound
from tensorfusion.kube.client import Client, IssuedToken
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.policy.quota_status import effective_quota
from tensorfusion.units import to_bytes, to_gflops


@click.group("tenant", cls=SuggestingGroup)
def command() -> None:
    """Make room for a team: a namespace with a quota, perhaps with pools of its own, and its users.

    \b
    tensorfusion tenant create team-a --gpus 4 --tflops 1000 --vram 160Gi --user ann -o ann.kubeconfig
    tensorfusion tenant list
    tensorfusion tenant delete team-a
    """


@command.command("create")
@click.argument("name")
@click.option("--gpus", type=click.IntRange(min=0), help="Most shares at a time, in all.")
@click.option("--tflops", help="Most TFLOPS requested in all, such as 1000.")
@click.option("--vram", help="Most memory of devices requested in all, such as 160Gi.")
@click.option("--workers", type=click.IntRange(min=0), help="Most pods with shares at a time.")
@click.option("--pools", help="Comma list of the only pools that the tenant may use; `all` lifts the limit.")
@click.option("--user", "user_name", help="Make a user too, and print its kubeconfig.")
@click.option("--role", type=click.Choice(ROLES), default="admin", show_default=True, help="The user's role.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long its token lasts.")
@click.option(
    "--output",
    "-o",
    "file",
    type=click.Path(path_type=Path),
    help="Its kubeconfig.  [default: standard output]",
)
@cluster_options
def create(
    name: str,
    gpus: int | None,
    tflops: str | None,
    vram: str | None,
    workers: int | None,
    pools: str | None,
    user_name: str | None,
    role: str,
    days: int,
    file: Path | None,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Make a tenant, or change one: what is not stated stays as it is, so that running it twice changes nothing.

    \b
    tensorfusion tenant create team-a --gpus 4 --tflops 1000 --vram 160Gi
    tensorfusion tenant create team-a --pools default,reserved
    """
    check_name(name, what="NAME")
    if user_name is not None:
        check_name(user_name, what="--user")
    elif file is not None:
        raise ConfigError("--output: wanted --user too: there is no kubeconfig without a user")
    ceilings = Ceilings(gpus, _quantity(tflops, "--tflops"), _quantity(vram, "--vram"), workers)
    wanted = None if pools is None else _pool_names(pools)

    async def make(client: Client) -> IssuedToken | None:
        for line in await put_tenant(client, name, ceilings=ceilings, pools=wanted):
            click.echo(line, err=True)
        if user_name is None:
            return None
        said, token = await put_user(client, user_name, namespace=name, role=role, days=days)
        for line in said:
            click.echo(line, err=True)
        return token

    token = with_client(kubeconfig, data, make)
    if token is not None and user_name is not None:
        hand_over(user_name, namespace=name, token=token, file=file, admin=kubeconfig_path(kubeconfig, data))


def _quantity(text: str | None, option: str) -> str | None:
    if text is not None:
        try:
            (to_gflops if option == "--tflops" else to_bytes)(text)
        except InvalidQuantity as error:
            raise ConfigError(f"{option}: {error}") from error
    return text


def _pool_names(text: str) -> list[str]:
    if text.strip() == "all":
        return []
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ConfigError(f"--pools: wanted names of pools, or `all`, found {text!r}")
    return names


@command.command("list")
@output_option
@cluster_options
def list_tenants(output: str, kubeconfig: Path | None, data: Path | None) -> None:
    """List the tenants with their pools, their users, and what they hold of their quotas.

    \b
    tensorfusion tenant list
    """
    rows = with_client(kubeconfig, data, _collect)
    if not rows and output == "table":
        click.echo("no tenants: make one with `tensorfusion tenant create NAME`")
        return
    header = ("NAME", "PHASE", "POOLS", "USERS", "PODS", "SHARES", "TFLOPS", "VRAM")
    show([list(row.values()) for row in rows], header, output=output, value=rows)


async def _collect(client: Client) -> list[dict[str, object]]:
    namespaces = (await client.list(r.NAMESPACES, dict, labels=keys.TENANT)).items
    quotas = (await client.list(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota)).items
    people: dict[str, list[str]] = {}
    for account in (await client.list(r.SERVICE_ACCOUNTS, dict, labels=f"{USER}=true")).items:
        people.setdefault(account["metadata"]["namespace"], []).append(account["metadata"]["name"])
    return [
        _row(entry, quotas, people) for entry in sorted(namespaces, key=lambda found: str(found["metadata"]["name"]))
    ]


def _row(
    namespace: dict[str, Any],
    quotas: list[GPUResourceQuota],
    people: dict[str, list[str]],  # Any: JSON
) -> dict[str, object]:
    name = namespace["metadata"]["name"]
    quota = effective_quota([quota for quota in quotas if quota.metadata.namespace == name])
    total = quota.spec.total if quota is not None else None
    used = quota.status.used if quota is not None else None
    ceiling = total.requests if total is not None else None
    held = used.requests if used is not None else None
    return {
        "name": name,
        "phase": namespace.get("status", {}).get("phase", ""),
        "pools": (namespace["metadata"].get("annotations") or {}).get(keys.ALLOWED_POOLS, "all"),
        "users": ",".join(sorted(people.get(name, []))) or "-",
        "pods": _of(used.workers if used is not None else 0, total.max_workers if total is not None else None),
        "shares": _of(used.gpu_count if used is not None else 0, total.max_gpu_count if total is not None else None),
        "tflops": _of(_part(held, "tflops"), _part(ceiling, "tflops")),
        "vram": _of(_part(held, "vram"), _part(ceiling, "vram")),
    }


def _part(amounts: ComputeResource | None, name: str) -> object:
    return getattr(amounts, name) if amounts is not None else None


def _of(used: object, ceiling: object) -> str:
    return f"{used or 0}" if ceiling is None else f"{used or 0} of {ceiling}"


@command.command("delete")
@click.argument("name", shell_complete=complete_namespaces)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@cluster_options
def delete(name: str, yes: bool, kubeconfig: Path | None, data: Path | None) -> None:
    """Delete a tenant: its namespace with everything in it, and what its users had beyond it.

    \b
    tensorfusion tenant delete team-a --yes
    """

    async def look(client: Client) -> int:
        try:
            found = await client.get(r.NAMESPACES, dict, name)
        except NotFound as error:
            raise ConfigError(f"tenant {name}: there is none: see `tensorfusion tenant list`") from error
        if keys.TENANT not in (found["metadata"].get("labels") or {}):
            raise ConfigError(
                f"namespace {name}: is no tenant that `tensorfusion tenant create` made: delete it with kubectl"
            )
        return len((await client.list(r.PODS, dict, namespace=name)).items)

    pods = with_client(kubeconfig, data, look)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"tenant {name}: has {pods} pods: add --yes to delete it and everything in it")
        click.confirm(f"delete tenant {name} with {pods} pods and everything else in it?", abort=True)

    async def remove(client: Client) -> None:
        for binding in (await client.list(r.CLUSTER_ROLE_BINDINGS, dict, labels=f"{HOME}={name}")).items:
            await client.delete(r.CLUSTER_ROLE_BINDINGS, binding["metadata"]["name"])
            click.echo(f"clusterrolebinding/{binding['metadata']['name']} deleted")
        await client.delete(r.NAMESPACES, name)
        click.echo(f"namespace/{name} deleted")

    with_client(kubeconfig, data, remove)
