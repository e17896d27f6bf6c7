"""Gateways and simulated model servers beside a cluster, as processes, and what a client of theirs does."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import PATIENCE, Cluster, eventually
from tensorfusion.errors import AlreadyExists
from tensorfusion.gateway.keys.secret import new_secret
from tensorfusion.kube.client import Client
from tensorfusion.model import keys
from tensorfusion.model.resources import ENDPOINT_SLICES, LLM_KEYS, LLM_ROUTES, SECRETS, SERVICES

VERSION = "tensor-fusion.ai/v1"


@dataclass
class Process:
    """A program of ours, and what it says."""

    process: subprocess.Popen[str]
    told: list[str] = field(default_factory=list)

    def said(self, word: str) -> str:
        """The line with this word, once it is there."""

        def find() -> str:
            assert self.process.poll() is None, self.told
            return next((line for line in self.told if word in line), "")

        return eventually(find)


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[Process]:
    """``tensorfusion`` with these arguments; ended at the end."""
    command = [sys.executable, "-m", "tensorfusion", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        found = Process(process)

        def note() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                found.told.append(line.rstrip())

        listener = threading.Thread(target=note, daemon=True)
        listener.start()
        try:
            yield found
        finally:
            process.terminate()
            process.wait(40)
            listener.join(5)


@dataclass
class Model:
    """A simulated model server."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def seen(self) -> list[dict[str, Any]]:
        """The requests to a model that came."""
        _, _, body = request(self.port, "GET", "/testserver/seen", host=self.host)
        found: list[dict[str, Any]] = json.loads(body)["seen"]
        return [one for one in found if one["path"].startswith("/v1/chat")]


@contextlib.contextmanager
def model_server(*options: str, host: str = "127.0.0.1") -> Iterator[Model]:
    with program("testserver", "llm", "--port", "0", "--host", host, "--model", "m", *options) as running:
        address = running.said("http://")
        yield Model(host, int(address.rpartition(":")[2]))


@dataclass
class Gateway:
    """One that serves a cluster's objects."""

    port: int
    running: Process

    def ask(self, key: str, model: str = "m", **body: Any) -> tuple[int, dict[str, str], Any]:
        """Status, fields and body of a chat completion."""
        asked = {"model": model, "messages": [{"role": "user", "content": "hi"}], **body}
        status, fields, data = request(
            self.port,
            "POST",
            "/v1/chat/completions",
            json.dumps(asked),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        return status, fields, json.loads(data)

    def soon(self, key: str, status: int = 200, model: str = "m", target: str = "") -> int:
        """Ask until the answer of one worker has this status, and is of this target; how many answers came before it.

        Answers and not seconds: where the machine stands still nothing is answered either.
        """
        started, others = time.monotonic(), 0
        while True:
            found, fields, body = self.ask(key, model)
            if found == status and (not target or fields.get("x-tf-target") == target):
                return others
            others += 1
            assert time.monotonic() - started < PATIENCE, (found, fields, body)
            time.sleep(0.005)

    def routes(self, key: str) -> list[str]:
        """The names of the routes that a key sees; none where the key is not known yet."""
        status, _, body = request(self.port, "GET", "/routes", None, {"Authorization": f"Bearer {key}"})
        return [one["name"] for one in json.loads(body)["data"]] if status == 200 else []

    def everywhere(self, key: str, target: str = "") -> None:
        """Wait until answers come from every worker, of this target: a dozen connections in a row have one."""

        def of(answer: tuple[int, dict[str, str], Any]) -> tuple[int, str]:
            status, fields, _ = answer
            return status, fields.get("x-tf-target", "") if target else ""

        eventually(lambda: {of(self.ask(key)) for _ in range(12)} == {(200, target)})


@contextlib.contextmanager
def gateway(cluster: Cluster, *options: str) -> Iterator[Gateway]:
    arguments = ["gateway", "--kubeconfig", str(account(cluster)), "--listen", "127.0.0.1:0", *options]
    with program(*arguments) as running:
        line = running.said("listening on")
        port = int(line.split("127.0.0.1:")[1].split(" ")[0])
        found = Gateway(port, running)
        eventually(lambda: ready(port))
        yield found


def ready(port: int) -> bool:
    try:
        return request(port, "GET", "/ready")[0] == 200
    except OSError:
        return False


def account(cluster: Cluster) -> Path:
    """The kubeconfig of the gateway's own account."""
    folder = cluster.folder.root / "accounts" if cluster.real else cluster.folder.run
    return folder / f"{keys.GATEWAY_ACCOUNT}.kubeconfig"


def request(
    port: int,
    method: str,
    path: str,
    body: str | None = None,
    fields: dict[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body, fields or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def own_address() -> str:
    """An address of this machine that is not loopback, as endpoints of a cluster have to be; empty if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        return str(probe.getsockname()[0])


# --- objects ---


def make_key(cluster: Cluster, namespace: str, name: str = "app", **spec: Any) -> str:
    """A new key as an object; the key itself."""
    secret = new_secret()
    body = {
        "apiVersion": VERSION,
        "kind": "LLMKey",
        "metadata": {"name": name},
        "spec": {"hash": secret.digest().hex(), **spec},
    }
    cluster.run(lambda client: client.create(LLM_KEYS, body, namespace=namespace))
    return secret.reveal()


def target(name: str, endpoint: str = "", **more: Any) -> dict[str, Any]:
    found = {"name": name, "provider": "self-hosted", "model": "m", **more}
    return {**found, "endpoint": endpoint} if endpoint else found


def make_route(cluster: Cluster, namespace: str, *targets: dict[str, Any], name: str = "chat", **spec: Any) -> None:
    wanted = {"strategy": "priority", "targets": list(targets), **spec}
    body = {"apiVersion": VERSION, "kind": "LLMRoute", "metadata": {"name": name}, "spec": wanted}
    cluster.run(lambda client: client.create(LLM_ROUTES, body, namespace=namespace))


def change_route(cluster: Cluster, namespace: str, name: str = "chat", **spec: Any) -> None:
    cluster.run(lambda client: client.patch(LLM_ROUTES, name, {"spec": spec}, namespace=namespace))


def make_secret(cluster: Cluster, namespace: str, name: str, **values: str) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
    cluster.run(lambda client: client.create(SECRETS, body, namespace=namespace))


def status_of(cluster: Cluster, namespace: str, name: str = "chat") -> dict[str, Any]:
    found: dict[str, Any] = cluster.run(lambda client: client.get(LLM_ROUTES, dict, name, namespace=namespace))
    return dict(found.get("status") or {})


def condition_of(cluster: Cluster, namespace: str, type_: str, name: str = "chat") -> dict[str, Any]:
    """Raises LookupError: there is none yet."""
    conditions = status_of(cluster, namespace, name)["conditions"]
    return {one["type"]: one for one in conditions}[type_]


def make_service(cluster: Cluster, namespace: str, name: str, **labels: str) -> None:
    """One without a selector: whoever makes it says which endpoints it has."""
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }
    cluster.run(lambda client: client.create(SERVICES, body, namespace=namespace))


def set_endpoint(cluster: Cluster, namespace: str, service: str, model: Model, **conditions: bool) -> None:
    """A slice for one endpoint of a Service."""
    name = f"{service}-{model.port}"
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [model.host], "conditions": conditions or {"ready": True}}],
        "ports": [{"name": "http", "port": model.port, "protocol": "TCP"}],
    }

    async def put(client: Client) -> None:
        try:
            await client.create(ENDPOINT_SLICES, body, namespace=namespace)
        except AlreadyExists:
            changed = {"endpoints": body["endpoints"]}
            await client.patch(ENDPOINT_SLICES, name, changed, namespace=namespace)

    cluster.run(put)
