"""Tenants and users as ordinary objects: what is made for them, and making it so that it can be repeated.

A tenant is a namespace with a quota, and perhaps a list of pools; a user is a service account of that namespace with a
role and a token. So one thing works against the embedded cluster and any other, ``kubectl`` shows all of it, and
removing the account ends its tokens at once. Certificates would need a signer that not every cluster has, and could
not be taken back.

Apart from the commands because ``tenant create`` makes users too.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from tensorfusion.cli.bundle import TENANT_ROLE
from tensorfusion.errors import AlreadyExists, ConfigError, NotFound
from tensorfusion.kube.client import Client, IssuedToken
from tensorfusion.kube.config import Connection
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Raw

ROLES = ("view", "edit", "admin")
USER = f"{keys.DOMAIN}/user"
"""Label of the service accounts that stand for people."""
ROLE = f"{keys.DOMAIN}/role"
TOKEN_EXPIRES = f"{keys.DOMAIN}/token-expires"
HOME = f"{keys.DOMAIN}/user-namespace"
"""Label of what is not in the user's namespace: where the user is."""
QUOTA = "tenant"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")
_NO_TENANTS = frozenset({"default", keys.SYSTEM_NAMESPACE})
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a tenant may hold in all; None leaves a dimension as it is. Quantities are those of the wire."""

    gpus: int | None = None
    tflops: str | None = None
    vram: str | None = None
    workers: int | None = None

    def spec(self) -> Raw:
        """The quota's spec; empty where nothing is set."""
        total: Raw = {}
        requests = {key: value for key, value in (("tflops", self.tflops), ("vram", self.vram)) if value is not None}
        if requests:
            total["requests"] = requests
        if self.gpus is not None:
            total["maxGPUCount"] = self.gpus
        if self.workers is not None:
            total["maxWorkers"] = self.workers
        return {"total": total} if total else {}


def check_name(name: str, *, what: str) -> str:
    """A name that can be a namespace, and a service account with room for our prefixes.

    Raises:
        ConfigError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{what}: wanted at most 53 lower-case letters, digits and '-', found {name[:80]!r}")
    return name


async def put(client: Client, resource: r.Resource, body: Raw, *, namespace: str = "") -> str:
    """Make an object, or bring the stated fields to the stated values; says in a word what that took."""
    name = str(body["metadata"]["name"])
    body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    try:
        found = await client.get(resource, dict, name, namespace=namespace)
    except NotFound:
        try:
            await client.create(resource, body, namespace=namespace)
        except AlreadyExists:  # somebody was faster
            return await put(client, resource, body, namespace=namespace)
        return "created"
    if _covers(found, body):
        return "unchanged"
    if resource in (r.ROLE_BINDINGS, r.CLUSTER_ROLE_BINDINGS) and found.get("roleRef") != body["roleRef"]:
        await client.delete(resource, name, namespace=namespace)  # a binding's role cannot be changed
        await client.create(resource, body, namespace=namespace)
    else:
        await client.patch(resource, name, body, namespace=namespace)
    return "updated"


def _covers(found: object, wanted: object) -> bool:
    """Merging ``wanted`` into ``found`` would change nothing."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return False
        return all(_covers(found.get(key), value) for key, value in wanted.items())
    if wanted is None:
        return found is None
    return bool(found == wanted)


async def put_user(client: Client, name: str, *, namespace: str, role: str, days: int) -> tuple[list[str], IssuedToken]:
    """Make a user, or change its role, and give it a new token; earlier tokens stay good until they expire.

    Raises:
        ConfigError: the namespace does not exist, or our roles do not.
    """
    try:
        await client.get(r.NAMESPACES, dict, namespace)
    except NotFound as error:
        raise ConfigError(
            f"namespace {namespace}: there is none: make it with `tensorfusion tenant create {namespace}`"
        ) from error
    try:
        await client.get(r.CLUSTER_ROLES, dict, TENANT_ROLE)
    except NotFound as error:
        raise ConfigError(
            f"ClusterRole {TENANT_ROLE}: there is none: install tensorfusion into this cluster first"
        ) from error
    account = {"metadata": {"name": name, "labels": {USER: "true"}, "annotations": {ROLE: role}}}
    said = [f"serviceaccount/{name} {await put(client, r.SERVICE_ACCOUNTS, account, namespace=namespace)}"]
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    for resource, bound, to, place in (
        (r.ROLE_BINDINGS, f"tensor-fusion-user-{name}", role, namespace),
        (r.CLUSTER_ROLE_BINDINGS, cluster_binding(namespace, name), TENANT_ROLE, ""),
    ):
        body = {
            "metadata": {"name": bound, "labels": {USER: "true", HOME: namespace}},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": to},
            "subjects": [subject],
        }
        done = await put(client, resource, body, namespace=place)
        said.append(f"{resource.kind.lower()}/{bound} {done}: {to}")
    token = await client.issue_token(namespace, name, seconds=days * 86400)
    noted = {"metadata": {"annotations": {TOKEN_EXPIRES: token.expires}}}
    await client.patch(r.SERVICE_ACCOUNTS, name, noted, namespace=namespace)
    return said, token


def cluster_binding(namespace: str, name: str) -> str:
    """The name of what a user has beyond its namespace."""
    return f"tensor-fusion-user-{namespace}.{name}"


async def remove_user(client: Client, name: str, *, namespace: str) -> list[str]:
    """Take a user's rights and end its tokens.

    Raises:
        NotFound: there is no such user.
    """
    found = await client.get(r.SERVICE_ACCOUNTS, dict, name, namespace=namespace)
    if (found["metadata"].get("labels") or {}).get(USER) != "true":
        raise ConfigError(
            f"service account {namespace}/{name}: is no user that `tensorfusion user add` made: delete it with kubectl"
        )
    said = []
    for resource, target, place in (
        (r.CLUSTER_ROLE_BINDINGS, cluster_binding(namespace, name), ""),
        (r.ROLE_BINDINGS, f"tensor-fusion-user-{name}", namespace),
        (r.SERVICE_ACCOUNTS, name, namespace),
    ):
        try:
            await client.delete(resource, target, namespace=place)
            said.append(f"{resource.kind.lower()}/{target} deleted")
        except NotFound:
            continue  # half removed before
    return said


async def put_tenant(client: Client, name: str, *, ceilings: Ceilings, pools: Sequence[str] | None) -> list[str]:
    """Make a tenant's namespace and quota, or bring them to what is stated. ``pools`` empty allows every pool.

    Raises:
        ConfigError: a pool that does not exist, or a namespace of the system.
    """
    if name in _NO_TENANTS or name.startswith("kube-"):
        raise ConfigError(f"NAME: wanted a namespace of a team, found {name!r}, which the cluster itself needs")
    annotations: dict[str, str | None] = {}
    if pools is not None:
        await _check_pools(client, pools)
        annotations[keys.ALLOWED_POOLS] = ",".join(pools) or None
    metadata: Raw = {"name": name, "labels": {keys.TENANT: name}}
    if annotations:
        metadata["annotations"] = annotations
    said = [f"namespace/{name} {await put(client, r.NAMESPACES, {'metadata': metadata})}"]
    spec = ceilings.spec()
    if spec:
        body = {"metadata": {"name": QUOTA}, "spec": spec}
        done = await put(client, r.GPU_RESOURCE_QUOTAS, body, namespace=name)
        said.append(f"gpuresourcequota/{QUOTA} {done}")
    if pools is not None:
        said.append(f"pools: {', '.join(pools) or 'all'}")
    return said


async def _check_pools(client: Client, pools: Sequence[str]) -> None:
    known = sorted(pool["metadata"]["name"] for pool in (await client.list(r.GPU_POOLS, dict)).items)
    unknown = [pool for pool in pools if pool not in known]
    if unknown:
        raise ConfigError(
            f"--pools: wanted existing pools ({', '.join(known) or 'there are none'}), found {unknown[0]!r}"
        )


def user_kubeconfig(connection: Connection, name: str, *, namespace: str, token: str) -> str:
    """A kubeconfig of one user, for the cluster that ``connection`` reaches.

    Raises:
        ConfigError: that is a way only processes of this machine have.
    """
    if connection.server.startswith("unix://"):
        raise ConfigError(f"{connection.server}: users need an address of the network: name a kubeconfig with https://")
    cluster: dict[str, object] = {"server": connection.server}
    if connection.ca_data is not None:
        cluster["certificate-authority-data"] = base64.b64encode(connection.ca_data).decode()
    if connection.insecure:
        cluster["insecure-skip-tls-verify"] = True
    if connection.server_name:
        cluster["tls-server-name"] = connection.server_name
    context = f"{name}@{namespace}"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tensorfusion", "cluster": cluster}],
            "users": [{"name": context, "user": {"token": token}}],
            "contexts": [
                {"name": context, "context": {"cluster": "tensorfusion", "user": context, "namespace": namespace}}
            ],
            "current-context": context,
        },
        sort_keys=False,
    )
