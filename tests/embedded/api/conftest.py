"""A whole API server on loopback, in a thread of its own, and a plain HTTP client for it.

One server for all tests of a worker; each test gets a namespace of its own. Tests that change the whole cluster
(restart, several tokens) start their own with ``start_server``.
"""

import contextlib
import http.client
import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tensorfusion.clock import Clock, SystemClock
from tensorfusion.embedded.server import Settings
from tensorfusion.testing.running_api import RunningApi

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_PATIENCE = 20.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass
class Answer:
    """One response, decoded if it is JSON."""

    status: int
    body: Any
    raw: bytes
    headers: http.client.HTTPMessage

    @property
    def warnings(self) -> list[str]:
        return self.headers.get_all("Warning") or []

    @property
    def message(self) -> str:
        return str(self.body["message"])


def _encoded(body: Any) -> bytes:
    """Text is sent as it is, everything else as JSON."""
    return (body if isinstance(body, str) else json.dumps(body)).encode("utf-8", "surrogatepass")


class Stream:
    """A watch under way."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status

    def next(self) -> dict[str, Any]:
        line = self._response.readline()
        assert line, "the watch has ended"
        event: dict[str, Any] = json.loads(line)
        return event

    def rest(self) -> list[dict[str, Any]]:
        """Everything until the server ends the watch."""
        return [json.loads(line) for line in self._response.read().splitlines()]

    def close(self) -> None:
        self._connection.close()


@dataclass
class Client:
    """Speaks to the server over its Unix socket, one connection a request."""

    path: Path
    token: str
    namespace: str = "default"
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **headers: str,
    ) -> Answer:
        connection = _UnixConnection(self.path)
        try:
            sent = body if body is None or isinstance(body, bytes) else _encoded(body)
            extra = {name.replace("_", "-"): value for name, value in headers.items()}
            credentials = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            connection.request(
                method,
                path,
                sent,
                {**credentials, "Content-Type": content_type, "Accept": accept, **self.headers, **extra},
            )
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        try:
            decoded = json.loads(raw)
        except ValueError:
            decoded = None
        return Answer(response.status, decoded, raw, response.headers)

    def watch(self, path: str, *, accept: str = "application/json") -> Stream:
        connection = _UnixConnection(self.path)
        joint = "&" if "?" in path else "?"
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        connection.request("GET", f"{path}{joint}watch=true", headers=headers)
        return Stream(connection, connection.getresponse())

    def as_user(self, token: str) -> "Client":
        return Client(self.path, token, self.namespace)

    # --- shorthands in the client's own namespace ---

    def core(self, plural: str, name: str = "", subresource: str = "") -> str:
        return "/".join(part for part in ("/api/v1/namespaces", self.namespace, plural, name, subresource) if part)

    def apps(self, plural: str, name: str = "", subresource: str = "") -> str:
        parts = ("/apis/apps/v1/namespaces", self.namespace, plural, name, subresource)
        return "/".join(part for part in parts if part)

    def create(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        answer = self("POST", path, obj)
        assert answer.status == 201, answer.body
        created: dict[str, Any] = answer.body
        return created

    def get(self, path: str) -> dict[str, Any]:
        answer = self("GET", path)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.body
        return found

    def merge(self, path: str, patch: Any, **headers: str) -> Answer:
        return self("PATCH", path, patch, content_type=MERGE, **headers)


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}], **spec},
    }


def config_map(name: str = "c", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class Running(RunningApi):
    """A server in its thread, and the administrator's client for it."""

    def __init__(self, data: Path, clock: Clock, **settings: Any) -> None:
        super().__init__(Settings(data, **settings), clock)
        self.client = Client(self.socket, self.token)


def eventually(holds: Callable[[], Any], patience: float = _PATIENCE) -> Any:
    """What ``holds`` returns once it is true: for what the server does on its own after it has answered."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.005)
    return found


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("api"), SystemClock(), bookmark_every=0.2)
    yield found
    found.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts servers that are stopped after the test. ``data`` defaults to the test's own folder."""
    with contextlib.ExitStack() as stack:

        def start(data: Path = tmp_path / "data", clock: Clock | None = None, **settings: Any) -> Running:
            found = Running(data, clock or SystemClock(), **settings)
            stack.callback(lambda: found.alive and found.stop())
            return found

        yield start


@pytest.fixture
def api(running: Running) -> Client:
    """The admin's client, in a new namespace."""
    client = Client(running.client.path, running.token, f"t-{uuid.uuid4().hex[:10]}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": client.namespace}}
    client.create("/api/v1/namespaces", namespace)
    for path in (client.core("serviceaccounts", "default"), client.core("configmaps", "kube-root-ca.crt")):
        eventually(lambda path=path: client("GET", path).status == 200)
    return client


@pytest.fixture
def make_pod() -> Callable[..., dict[str, Any]]:
    return pod


@pytest.fixture
def make_config_map() -> Callable[..., dict[str, Any]]:
    return config_map


def deployment(name: str = "d", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


@pytest.fixture
def make_deployment() -> Callable[..., dict[str, Any]]:
    return deployment


@pytest.fixture
def until() -> Callable[..., Any]:
    """``eventually``, for test modules."""
    return eventually
