"""``tensorfusion gateway keys``: who may call the AI gateway. A key is printed once, when it is made.

On standard output is what a program wants to have (the key, or a form); what is only told goes to standard error.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.cli.session import cluster_options, default_namespace, output_option, show, with_client
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.keys.file import DEFAULT_NAMESPACE
from tensorfusion.gateway.keys.making import OVERLAP, end_of, id_of, made, rotated
from tensorfusion.gateway.keys.places import Json, KeyObjects, KeysInFile, Place
from tensorfusion.gateway.keys.record import parse_money, parse_time
from tensorfusion.gateway.keys.secret import Secret, new_secret
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.model.llm_route import RatePer

if TYPE_CHECKING:
    from tensorfusion.kube.client import Client

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Found = TypeVar("_Found")
_Work = Callable[[Place, str], Coroutine[Any, Any, _Found]]
"""What is done with a place and the namespace that is meant."""


@click.group(cls=SuggestingGroup)
def keys() -> None:
    """Keys of the AI gateway: who may call it, for what, and how much.

    \b
    tensorfusion gateway keys create chat-ui --model 'qwen3-*' --rpm 600 --expires 90d
    tensorfusion gateway keys rotate chat-ui --overlap 24h
    tensorfusion gateway keys revoke chat-ui

    Keys are LLMKey objects of the cluster, or with --file entries of a YAML file that a gateway without a cluster
    reads. Only the SHA-256 of a key is kept: a key that is lost is replaced, not looked up.
    """


def _place_options(function: _Command) -> _Command:
    namespace = click.option("--namespace", "-n", default="", help="Namespace of the key.  [default: the context's]")
    file = click.option("--file", "-f", type=click.Path(path_type=Path), help="A file of keys, in place of a cluster.")
    return namespace(file(cluster_options(function)))


def _at(file: Path | None, kubeconfig: Path | None, data: Path | None, namespace: str, work: _Work[_Found]) -> _Found:
    """Work with the keys of a file, or of the cluster that the options mean. ``namespace`` empty: the place's own."""
    if file is not None:
        return asyncio.run(work(KeysInFile(file), namespace or DEFAULT_NAMESPACE))
    place = namespace or default_namespace(kubeconfig, data)

    async def with_objects(client: "Client") -> _Found:
        return await work(KeyObjects(client), place)

    return with_client(kubeconfig, data, with_objects)


@keys.command("create")
@click.argument("name")
@click.option("--user", default="", help="Whose it is.  [default: NAME]")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in KeyScope]),
    multiple=True,
    help="What it is good for; may be repeated.  [default: infer]",
)
@click.option(
    "--no-operator",
    is_flag=True,
    help="In a file, with scope admin: for its namespace only.",
)
@click.option("--model", "models", multiple=True, help="A model it may ask, with * and ?; may be repeated.")
@click.option("--route", "routes", multiple=True, help="A route it may take, NAME or NAMESPACE/NAME; may be repeated.")
@click.option("--rpm", type=click.IntRange(min=1), help="Requests a minute at most.")
@click.option("--tpm", type=click.IntRange(min=1), help="Tokens a minute at most.")
@click.option("--concurrent", type=click.IntRange(min=1), help="Requests in flight at most.")
@click.option("--burst", type=click.IntRange(min=1), help="Requests at once.  [default: one minute's worth]")
@click.option(
    "--per", type=click.Choice([RatePer.KEY.value, RatePer.USER.value, RatePer.NAMESPACE.value]), help="Counted apart."
)
@click.option("--daily", default="", help="Dollars a UTC day at most; kept, not enforced yet.")
@click.option("--monthly", default="", help="Dollars a UTC month at most; kept, not enforced yet.")
@click.option("--expires", default="", help="When it ends: 90d, 12h, or a time such as 2027-01-31T00:00:00Z.")
@click.option("--label", "labels", multiple=True, help="KEY=VALUE, for routes that select by labels; may be repeated.")
@click.option("--metadata", multiple=True, help="KEY=VALUE, for people and bills; may be repeated.")
@output_option
@_place_options
def create(
    name: str,
    user: str,
    scopes: Sequence[str],
    no_operator: bool,
    models: Sequence[str],
    routes: Sequence[str],
    rpm: int | None,
    tpm: int | None,
    concurrent: int | None,
    burst: int | None,
    per: str | None,
    daily: str,
    monthly: str,
    expires: str,
    labels: Sequence[str],
    metadata: Sequence[str],
    output: str,
    namespace: str,
    file: Path | None,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Make a key and print it, this once.

    \b
    KEY=$(tensorfusion gateway keys create ci --rpm 60 --expires 90d)
    tensorfusion gateway keys create ci --file keys.yaml -o json
    """
    now = datetime.now(UTC)
    secret = new_secret()
    limit = {"requestsPerMinute": rpm, "tokensPerMinute": tpm, "maxConcurrent": concurrent, "burst": burst, "per": per}
    for text, what in ((daily, "--daily"), (monthly, "--monthly")):
        parse_money(text, what)
    fields: Json = {
        "name": name,
        "user": user,
        "scopes": list(scopes),
        "models": list(models),
        "routes": list(routes),
        "rateLimit": {field: value for field, value in limit.items() if value is not None},
        "budget": {field: value for field, value in (("daily", daily), ("monthly", monthly)) if value},
        "expiresAt": end_of(expires, now, "--expires") if expires else "",
        "labels": _pairs(labels, "--label"),
        "metadata": _pairs(metadata, "--metadata"),
    }
    key = made(fields, secret, now)
    if no_operator:
        key["operator"] = False
    kept = _at(file, kubeconfig, data, namespace, lambda place, where: place.add(key, where))
    _hand_over(secret, kept, output=output, said="made")


@keys.command("rotate")
@click.argument("name")
@click.option("--overlap", default=OVERLAP, show_default=True, help="How long the old key stays good beside the new.")
@output_option
@_place_options
def rotate(
    name: str,
    overlap: str,
    output: str,
    namespace: str,
    file: Path | None,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """Give a key a new text and print it, this once. Limits, models and name stay; the old one stays good for a while.

    \b
    tensorfusion gateway keys rotate ci --overlap 1h
    tensorfusion gateway keys rotate ci --overlap 0      the old one is refused at once
    """
    now = datetime.now(UTC)
    until = end_of(overlap, now, "--overlap") if overlap != "0" else ""
    secret = new_secret()
    kept = _at(
        file,
        kubeconfig,
        data,
        namespace,
        lambda place, where: place.change(name, where, lambda key: rotated(key, secret, now, until)),
    )
    until = f"; the one before is good until {until}" if until else "; the one before is refused"
    _hand_over(secret, kept, output=output, said=f"given a new text{until}")


@keys.command("revoke")
@click.argument("name")
@click.option("--previous", is_flag=True, help="Only the keys that were replaced and are still good.")
@click.option("--delete", is_flag=True, help="Take it away whole, in place of keeping it disabled.")
@_place_options
def revoke(
    name: str,
    previous: bool,
    delete: bool,
    namespace: str,
    file: Path | None,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """End a key: it is refused within a second, and stays in the list as disabled.

    \b
    tensorfusion gateway keys revoke ci
    tensorfusion gateway keys revoke ci --previous       end the overlap of a rotation
    """
    if previous and delete:
        raise ConfigError("--previous, --delete: wanted one of them, found both")
    if delete:
        _at(file, kubeconfig, data, namespace, lambda place, where: place.remove(name, where))
        click.echo(f"key {name} deleted")
        return

    def end(key: Json) -> Json:
        if previous:
            return {field: value for field, value in key.items() if field != "previous"}
        return {**key, "disabled": True}

    changed = _at(file, kubeconfig, data, namespace, lambda place, where: place.change(name, where, end))
    said = ": only its present text is good now" if previous else " disabled"
    click.echo(f"key {id_of(changed)}{said}")


@keys.command("list")
@click.option("--all-namespaces", "-A", is_flag=True, help="Of every namespace.")
@output_option
@_place_options
def list_keys(
    all_namespaces: bool,
    output: str,
    namespace: str,
    file: Path | None,
    kubeconfig: Path | None,
    data: Path | None,
) -> None:
    """List the keys with what they are good for, until when, and when they were used.

    \b
    tensorfusion gateway keys list -A
    """
    everywhere = all_namespaces or (file is not None and not namespace)
    found = _at(file, kubeconfig, data, namespace, lambda place, where: place.all("" if everywhere else where))
    if not found and output == "table":
        click.echo("no keys: make one with `tensorfusion gateway keys create NAME`", err=True)
        return
    now = datetime.now(UTC)
    header = ("NAMESPACE", "NAME", "PREFIX", "USER", "SCOPES", "MODELS", "LIMITS", "STATE", "EXPIRES", "LAST USED")
    rows = [
        (
            key["namespace"],
            key["name"],
            f"{key['prefix']}…" if key.get("prefix") else "-",
            key.get("user") or key["name"],
            ",".join(key.get("scopes", [KeyScope.INFER])),
            ",".join(key.get("models", ())) or "*",
            _limits(key.get("rateLimit") or {}),
            _state(key, now),
            key.get("expiresAt") or "never",
            key.get("lastUsedAt") or "-",
        )
        for key in found
    ]
    show(rows, header, output=output, value=found)


@keys.command("show")
@click.argument("name")
@output_option
@_place_options
def show_key(
    name: str, output: str, namespace: str, file: Path | None, kubeconfig: Path | None, data: Path | None
) -> None:
    """Show one key with everything that is known of it.

    \b
    tensorfusion gateway keys show ci -o yaml
    """
    key = _at(file, kubeconfig, data, namespace, lambda place, where: place.get(name, where))
    rows = [(field, _cell(value)) for field, value in {**key, "state": _state(key, datetime.now(UTC))}.items()]
    show(rows, ("FIELD", "VALUE"), output=output, value=key)


def _hand_over(secret: Secret, key: Json, *, output: str, said: str) -> None:
    """Print a key, this once."""
    if output == "table":
        click.echo(secret.reveal())
    else:
        show((), (), output=output, value={"key": secret.reveal(), **key})
    click.echo(f"key {id_of(key)} {said}: keep it now, it is shown this once", err=True)


def _state(key: Json, now: datetime) -> str:
    if key.get("disabled"):
        return "disabled"
    if key.get("expiresAt") and parse_time(str(key["expiresAt"]), f"key {id_of(key)}: expiresAt") <= now:
        return "expired"
    good = [
        one for one in key.get("previous", ()) if parse_time(str(one["until"]), f"key {id_of(key)}: previous") > now
    ]
    return f"active, {len(good)} before it" if good else "active"


def _limits(limit: Json) -> str:
    parts = (("requestsPerMinute", "req/min"), ("tokensPerMinute", "tok/min"), ("maxConcurrent", "at once"))
    return ", ".join(f"{limit[field]} {unit}" for field, unit in parts if limit.get(field)) or "-"


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={inner}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return str(value)


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"{option}: wanted KEY=VALUE, found {text!r}")
        found[key] = value
    return found
