"""Is a cluster in order: does it answer, is everything of ours installed, does anything not move?

What the user may not look at is left out and said once; what is looked at is never changed. The webhook is tried with a
dry run of a pod that it has to refuse, which proves the whole way from the API server to it.
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from tensorfusion.cli.findings import Finding, fail, info, ok, warn
from tensorfusion.errors import AlreadyExists, ApiError, Forbidden, NotFound, ServerError, Unauthorized
from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Lease, Node, Pod
from tensorfusion.model.crd import all_crds
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.policy.shards import COMMON

_OLDEST_SERVER = (1, 34)
_SLOW_ANSWER = 1.0
_STUCK_AFTER = 60.0
_EXPIRES_SOON = 14
_SHOWN = 3
_INSTALL = "install again: on this machine `tensorfusion up`, elsewhere with an admin's kubeconfig"

Check = Callable[[Client], AsyncIterator[Finding]]


async def cluster_findings(client: Client) -> AsyncIterator[Finding]:
    """Everything about the cluster that a client reaches; the first failure to reach it is the last finding."""
    started = time.monotonic()
    try:
        version = json.loads(await client.get_raw("/version"))
    except Unauthorized as error:
        yield fail("api", str(error), "the token has expired or belongs to another cluster: get a new kubeconfig")
        return
    except ApiError as error:
        yield fail("api", str(error), "start the cluster with `tensorfusion up --detach`, or check the address")
        return
    yield _answer(client, time.monotonic() - started)
    yield _server_version(version)
    for name, check in _CHECKS.items():
        try:
            async for finding in check(client):
                yield finding
        except Forbidden:
            yield info(name, "you may not look at it", "ask with an admin's kubeconfig")
        except ApiError as error:
            yield fail(name, f"cannot be looked at: {error}", "try again; if it stays, see the API server's log")


def _answer(client: Client, seconds: float) -> Finding:
    text = f"{client.connection.server} answered in {seconds * 1000:.0f} ms"
    if seconds > _SLOW_ANSWER:
        return warn("api", text, "the machine or the network is busy")
    return ok("api", text)


def _server_version(version: dict[str, Any]) -> Finding:  # Any: JSON
    text = str(version.get("gitVersion", "unknown"))
    try:
        found = (int(str(version["major"])), int(str(version["minor"]).rstrip("+")))
    except (KeyError, ValueError):
        return info("version", f"{text}, which cannot be read")
    if found < _OLDEST_SERVER:
        return fail("version", text, "wanted Kubernetes 1.34 or newer")
    return ok("version", text)


async def _crds(client: Client) -> AsyncIterator[Finding]:
    found = {crd["metadata"]["name"]: crd for crd in (await client.list(r.CUSTOM_RESOURCE_DEFINITIONS, dict)).items}
    wanted = {crd["metadata"]["name"]: crd for crd in all_crds()}
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        yield fail("crds", f"{len(missing)} of {len(wanted)} are missing: {_some(missing)}", _INSTALL)
    waiting = sorted(name for name in wanted.keys() & found.keys() if not _established(found[name]))
    if waiting:
        yield fail("crds", f"not established: {_some(waiting)}", "see their conditions: `kubectl describe crd NAME`")
    there = sorted(wanted.keys() & found.keys())
    other = [name for name in there if not covers(found[name].get("spec"), wanted[name]["spec"])]
    if other:
        yield warn("crds", f"of another version than this program: {_some(other)}", _INSTALL)
    if not (missing or waiting or other):
        yield ok("crds", f"all {len(wanted)} are this version's")


def _established(crd: dict[str, Any]) -> bool:  # Any: JSON
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


def covers(found: Any, wanted: Any) -> bool:  # Any: JSON
    """Whether an object says everything that is wanted; what a server adds, or leaves out as empty, does not matter."""
    if found is None and not wanted:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(covers(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(covers(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


async def _webhook(client: Client) -> AsyncIterator[Finding]:
    name = f"{keys.SYSTEM_NAMESPACE}-mutating-webhook"
    try:
        configuration = await client.get(r.MUTATING_WEBHOOKS, dict, name)
    except NotFound:
        yield fail("webhook", f"{name} is not registered", "the control process registers it: see whether it runs")
        return
    yield await _probe(client)
    reached = configuration["webhooks"][0]["clientConfig"]
    if reached.get("url"):
        yield _certificate(reached["url"], reached.get("caBundle", ""))


async def _probe(client: Client) -> Finding:
    """A dry run of a pod that admission has to refuse."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "tensorfusion-doctor",
            "labels": {keys.ENABLED: "true"},
            "annotations": {keys.TFLOPS_REQUEST: "a-doctors-question"},
        },
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    started = time.monotonic()
    try:
        await client.create(r.PODS, pod, namespace="default", dry_run=True)
    except ServerError as error:
        return fail("webhook", str(error), "pods with shares cannot be created: see the log of the control process")
    except Forbidden:
        raise
    except (AlreadyExists, ApiError) as error:
        if keys.TFLOPS_REQUEST in str(error):
            return ok("webhook", f"answered in {(time.monotonic() - started) * 1000:.0f} ms")
        return warn("webhook", f"could not be tried: {error}", "make sure that the namespace default takes pods")
    return fail("webhook", "let a wrong pod in", "its registration is not ours: start the control process again")


def _certificate(url: str, bundle: str) -> Finding:
    """Until when the webhook's certificate is good, as the API server would see it."""
    import base64
    import socket
    import ssl
    from urllib.parse import urlsplit

    from cryptography import x509

    parts = urlsplit(url)
    try:
        context = ssl.create_default_context(cadata=base64.b64decode(bundle).decode())
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            encoded = secure.getpeercert(binary_form=True) or b""
    except (OSError, ValueError) as error:
        return warn(
            "webhook certificate", f"{url} cannot be looked at from here: {error}", "look from the API server's host"
        )
    left = (x509.load_der_x509_certificate(encoded).not_valid_after_utc - datetime.now(UTC)).days
    if left < _EXPIRES_SOON:
        return warn("webhook certificate", f"expires in {left} days", "the control process renews it when it starts")
    return ok("webhook certificate", f"good for {left} days")


async def _leader(client: Client) -> AsyncIterator[Finding]:
    for what, name in (("scheduler", keys.LEADER_LEASE), ("operator", f"operator.{keys.LEADER_LEASE}")):
        try:
            lease = await client.get(r.LEASES, Lease, name, namespace=keys.SYSTEM_NAMESPACE)
        except NotFound:
            yield fail(f"{what} leader", "there never was one", "see whether the control process runs")
            continue
        holder, renewed = lease.spec.holder_identity, _moment(lease.spec.renew_time)
        if not holder or renewed is None:
            yield fail(f"{what} leader", "there is none", "see whether the control process runs")
            continue
        age = (datetime.now(UTC) - renewed).total_seconds()
        text = f"{holder}, renewed {max(age, 0):.0f} s ago"
        if age > (lease.spec.lease_duration_seconds or 15):
            yield fail(f"{what} leader", text, "it does not answer any more: see the log of the control process")
        elif age < -2:
            yield warn(
                f"{what} leader", f"{holder}, renewed {-age:.0f} s in the future", "set the clocks of the machines"
            )
        else:
            yield ok(f"{what} leader", text)
        if holder == keys.SHARDED_HOLDER:
            yield await _pool_owners(client)


async def _pool_owners(client: Client) -> Finding:
    """Where several schedulers share the pools: whether each pool has one of them."""
    leases = (await client.list(r.LEASES, Lease, namespace=keys.SYSTEM_NAMESPACE, labels=keys.SHARD_LEASES)).items
    owners: dict[str, str] = {}
    for lease in leases:
        shard, renewed = lease.metadata.annotations.get(keys.SCHEDULER_SHARD), _moment(lease.spec.renew_time)
        if shard is None or not lease.spec.holder_identity or renewed is None:
            continue
        if (datetime.now(UTC) - renewed).total_seconds() <= (lease.spec.lease_duration_seconds or 15):
            owners[shard] = lease.spec.holder_identity
    pools = [pool.metadata.name for pool in (await client.list(r.GPU_POOLS, GPUPool)).items]
    alone = sorted(pool for pool in pools if pool not in owners)
    if COMMON not in owners:
        alone.append("what belongs to no pool")
    if alone:
        advice = (
            "within two times --lease-seconds another one takes over: else see whether schedulers run, and their logs"
        )
        return warn("schedulers by pool", f"nobody places on {_some(alone)}", advice)
    count = len(set(owners.values()))
    return ok("schedulers by pool", f"{count} scheduler{'' if count == 1 else 's'} share {len(pools)} pools")


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


async def _nodes(client: Client) -> AsyncIterator[Finding]:
    nodes = (await client.list(r.NODES, Node)).items
    down = sorted(node.metadata.name for node in nodes if not node.ready)
    if down:
        yield warn(
            "nodes",
            f"{len(down)} of {len(nodes)} not ready: {_some(down)}",
            "`kubectl describe node NAME` says why; a simulated one: `tensorfusion fleet heal NAME`",
        )
    elif not nodes:
        yield warn("nodes", "there are none", "add some: `tensorfusion fleet add`, or join machines to the cluster")
    else:
        yield ok("nodes", f"all {len(nodes)} are ready")


async def _devices(client: Client) -> AsyncIterator[Finding]:
    gpus = (await client.list(r.GPUS, GPU)).items
    bad = sorted(gpu.metadata.name for gpu in gpus if gpu.status.phase not in ("Running", "Migrating"))
    if bad:
        advice = "`kubectl describe gpu NAME` says why; a simulated one: `tensorfusion fleet heal NODE`"
        yield warn("devices", f"{len(bad)} of {len(gpus)} take no work: {_some(bad)}", advice)
    else:
        yield ok("devices", f"all {len(gpus)} take work" if gpus else "there are none")


async def _pods(client: Client) -> AsyncIterator[Finding]:
    now = datetime.now(UTC)
    waiting, ending = [], []
    for pod in (await client.list(r.PODS, Pod)).items:
        if pod.finished:
            continue
        if pod.metadata.deleting:
            since = _moment(pod.metadata.deletion_timestamp)
            if since is not None and (now - since).total_seconds() > _STUCK_AFTER:
                ending.append(str(pod.key))
        elif pod.status.phase in ("", "Pending"):
            since = _moment(pod.metadata.creation_timestamp)
            if since is not None and (now - since).total_seconds() > _STUCK_AFTER:
                waiting.append(pod)
    if waiting:
        first = waiting[0]
        advice = f"`tensorfusion explain pod {first.metadata.name} -n {first.metadata.namespace}` says why"
        shown = _some([str(pod.key) for pod in waiting])
        yield warn("pods", f"{len(waiting)} wait for more than a minute: {shown}", advice)
    if ending:
        advice = "a finalizer or a lost node holds them: `kubectl get pod NAME -o yaml`"
        yield warn("pods", f"{len(ending)} should be gone for more than a minute: {_some(ending)}", advice)
    if not waiting and not ending:
        yield ok("pods", "none is stuck")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


_CHECKS: dict[str, Check] = {
    "crds": _crds,
    "webhook": _webhook,
    "leader": _leader,
    "nodes": _nodes,
    "devices": _devices,
    "pods": _pods,
}
