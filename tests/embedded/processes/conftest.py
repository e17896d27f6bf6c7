"""A process node beside a whole API server, both on loopback, with short pauses; pods are bound by their creation."""

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tensorfusion.cli.bundle import PROCESS_NODE_ACCOUNTS, account_objects, ensure
from tensorfusion.clock import SystemClock
from tensorfusion.embedded.audit.policy import FILE as AUDIT_POLICY
from tensorfusion.embedded.processes.__main__ import run as run_node
from tensorfusion.embedded.processes.leftovers import end_workloads
from tensorfusion.embedded.processes.machine import node_name
from tensorfusion.embedded.processes.restarts import Timing
from tensorfusion.embedded.server import Server, Settings
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.keys import PROCESS_NODE_ACCOUNT, SYSTEM_NAMESPACE

PATIENCE = 30.0
SHORT = Timing(first=0.4, longest=0.8, forgotten_after=600.0, retry=0.1)


class InThread:
    """A coroutine that runs in a thread with a loop of its own until it is told to stop."""

    def __init__(self, work: Callable[["InThread"], Any]) -> None:
        self._work = work
        self.ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self.ready.wait(PATIENCE)
        if self._failure is not None:
            raise self._failure

    @property
    def stopping(self) -> asyncio.Event:
        assert self._stop is not None
        return self._stop

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.stopping.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            await self._work(self)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(main())
            except BaseException as error:
                self._failure = error
            finally:
                self.ready.set()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class World:
    """An API server and its process node."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.node = node_name()
        (data / AUDIT_POLICY).write_text("")  # the default policy
        self._api = InThread(self._serve)
        self.token = (data / "tokens.csv").read_text().split(",")[0]
        asyncio.run(self._install())
        self.start_node()

    def start_node(self) -> None:
        self._kubelet = InThread(self._run_node)

    def stop_node(self) -> None:
        """As SIGTERM does: the workloads go on."""
        self._kubelet.stop()

    def stop(self) -> None:
        self._kubelet.stop()
        end_workloads(self.data)
        self._api.stop()
        shutil.rmtree((self.data / "node" / "spaces.path").read_text(), ignore_errors=True)

    async def _serve(self, thread: InThread) -> None:
        server = Server(Settings(self.data, run_processes=True), clock=SystemClock())
        self.server = server
        serving = asyncio.ensure_future(server.run())
        while not server.app.ready and not serving.done():
            await asyncio.sleep(0.005)
        thread.ready.set()
        await thread.stopping.wait()
        server.stop()
        await serving

    async def _run_node(self, thread: InThread) -> None:
        running = asyncio.ensure_future(run_node(self.data, timing=SHORT, stop=thread.stopping))
        while not (self.data / "run" / "node.sock").exists() and not running.done():
            await asyncio.sleep(0.005)
        thread.ready.set()
        await running

    async def _install(self) -> None:
        """The account of the node, with its own rights and token."""
        run = self.data / "run"
        async with Client(load_kubeconfig(self.data / "kubeconfig")) as client:
            for resource, body in account_objects(PROCESS_NODE_ACCOUNTS):
                await ensure(client, resource, body)
            token = await client.token_request(SYSTEM_NAMESPACE, PROCESS_NODE_ACCOUNT, seconds=3600)
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"unix://{run / 'api.sock'}"}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (run / f"{PROCESS_NODE_ACCOUNT}.kubeconfig").write_text(json.dumps(config))

    # --- the admin's client ---

    def connect(self) -> http.client.HTTPConnection:
        return UnixConnection(self.data / "run" / "api.sock")

    def request(
        self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str
    ) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            sent = None if body is None else json.dumps(body)
            content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
            connection.request(
                method,
                path,
                sent,
                {"Authorization": f"Bearer {token or self.token}", "Content-Type": content_type, **headers},
            )
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class Pods:
    """Pods of one namespace, on the process node."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world = world
        self.namespace = namespace
        self.core = f"/api/v1/namespaces/{namespace}"

    def create(self, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        status, raw = self.world.request("POST", f"{self.core}/{plural}", body)
        assert status == 201, raw
        found: dict[str, Any] = json.loads(raw)
        return found

    def run(self, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Create a pod; containers need neither a name nor an image."""
        full = [
            {"name": f"c{number}" if number else "c", "image": "local/test", **container}
            for number, container in enumerate(containers)
        ]
        inits = [
            {"name": f"i{number}", "image": "local/test", **container}
            for number, container in enumerate(spec.pop("initContainers", []))
        ]
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, **spec.pop("metadata", {})},
            "spec": {
                "nodeName": self.world.node,
                "terminationGracePeriodSeconds": 5,
                "containers": full,
                **({"initContainers": inits} if inits else {}),
                **spec,
            },
        }
        return self.create("pods", body)

    def shell(self, name: str, script: str, **spec: Any) -> dict[str, Any]:
        """A pod of one container that runs a shell script; it is not started again unless asked for."""
        container = spec.pop("container", {})
        return self.run(name, {"command": ["sh", "-c", script], **container}, **{"restartPolicy": "Never", **spec})

    def get(self, name: str) -> dict[str, Any]:
        status, raw = self.world.request("GET", f"{self.core}/pods/{name}")
        assert status == 200, raw
        found: dict[str, Any] = json.loads(raw)
        return found

    def gone(self, name: str) -> bool:
        return self.world.request("GET", f"{self.core}/pods/{name}")[0] == 404

    def until_gone(self, name: str) -> None:
        eventually(lambda: self.gone(name))

    def delete(self, name: str, **options: Any) -> None:
        status, raw = self.world.request("DELETE", f"{self.core}/pods/{name}", options or None)
        assert status in (200, 202), raw

    def log(self, name: str, query: str = "") -> str:
        status, raw = self.world.request("GET", f"{self.core}/pods/{name}/log?{query}")
        assert status == 200, raw
        return raw.decode()

    def until(self, name: str, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The pod once something holds of it."""
        return eventually(lambda: self.get(name), holds)

    def ended(self, name: str) -> dict[str, Any]:
        return self.until(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))

    def running(self, name: str) -> dict[str, Any]:
        return self.until(name, lambda pod: state(pod).get("running"))

    def events(self, name: str) -> dict[str, str]:
        """Reason -> message of the pod's events."""
        _, raw = self.world.request("GET", f"{self.core}/events?fieldSelector=involvedObject.name%3D{name}")
        return {event["reason"]: event["message"] for event in json.loads(raw)["items"]}


def eventually(look: Callable[[], Any], holds: Callable[[Any], Any] = bool) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not holds(found := look()):
        assert time.monotonic() < deadline, f"did not happen; last seen: {found!r}"[:3000]
        time.sleep(0.02)
    return found


def state(pod: dict[str, Any], number: int = 0) -> dict[str, Any]:
    statuses = pod["status"].get("containerStatuses") or []
    found: dict[str, Any] = statuses[number]["state"] if len(statuses) > number else {}
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("node"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def pods(world: World) -> Iterator[Pods]:
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    status, raw = world.request("POST", "/api/v1/namespaces", body)
    assert status == 201, raw
    found = Pods(world, namespace)
    yield found
    with contextlib.suppress(AssertionError):
        world.request("DELETE", f"{found.core}/pods", {"gracePeriodSeconds": 0})


@pytest.fixture
def pod_state() -> Callable[..., dict[str, Any]]:
    return state


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return eventually
