"""A whole cluster under test, embedded or real, behind one face: what a user has, a kubeconfig and an HTTP address."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from tensorfusion.cli.folder import Folder
from tensorfusion.errors import Forbidden, NotFound, Unauthorized
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import Connection, load_kubeconfig
from tensorfusion.model.keys import DOMAIN, RUN, RUN_PROCESS
from tensorfusion.model.resources import CLUSTER_ROLES, GPUS, NODES, PODS, Resource

T = TypeVar("T")
PATIENCE = 30.0

FLEET = {
    "nodes": [
        {"name": "a100-0", "cpu": 64, "memory": "512Gi", "gpus": {"model": "A100_SXM_80G", "count": 8}},
        {"name": "h100-0", "cpu": 64, "memory": "512Gi", "gpus": {"model": "H100_SXM", "count": 4}},
        {"name": "l4-0", "cpu": 32, "memory": "128Gi", "gpus": {"model": "L4", "count": 2}},
        {"name": "cpu-0", "cpu": 32, "memory": "128Gi"},
    ]
}


@dataclass(frozen=True)
class Cluster:
    """What a user of the cluster has."""

    kubeconfig: Path
    http: str
    folder: Folder
    real: bool

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Run a coroutine with an admin client."""

        async def session() -> T:
            async with Client(load_kubeconfig(self.kubeconfig)) as client:
                return await work(client)

        return asyncio.run(session())

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl."""
        program = kubectl_program()
        assert program is not None
        done = subprocess.run(
            [program, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            env={**os.environ, "HOME": str(self.folder.root)},
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done

    def program(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``tensorfusion`` against this cluster; within this process, where starting Python costs nothing."""
        done = run_program(arguments, {"KUBECONFIG": str(self.kubeconfig)})
        if check:
            assert done.returncode == 0, f"tensorfusion {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.http}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: str, content_type: str = "application/yaml") -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.http}{path}", data=body.encode(), headers={"Content-Type": content_type}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())


def run_program(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What ``tensorfusion`` with these arguments prints and answers, by its own entry point."""
    from tensorfusion.cli.main import main

    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["tensorfusion", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(list(arguments), status, out.getvalue(), err.getvalue())


def kubectl_program() -> str | None:
    """The kubectl built by ``make kube-assets``, else any on the PATH."""
    built = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / "kubectl"
    return str(built) if built.exists() else shutil.which("kubectl")


def eventually(check: Callable[[], T], *, patience: float = PATIENCE, until: Callable[[T], bool] = bool) -> T:
    """Call ``check`` until its value satisfies ``until``; the last value is in the failure.

    A field that nobody has written yet (``LookupError``), or an object that nobody has made, is waited for like a value
    that is not there yet.
    """
    deadline = time.monotonic() + patience
    while True:
        seen: object
        try:
            value = seen = check()
            if until(value):
                return value
        except (LookupError, NotFound) as error:
            seen = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s; last seen: {seen!r}"[:4000])
        time.sleep(0.1)


def await_fleet(cluster: Cluster, fleet: dict[str, Any]) -> None:
    """Every node is registered and every device takes work."""
    nodes = sum(entry.get("count", 1) for entry in fleet["nodes"])
    gpus = sum(entry.get("count", 1) * entry.get("gpus", {}).get("count", 0) for entry in fleet["nodes"])

    def found() -> tuple[int, int]:
        devices = cluster.run(lambda client: client.list(GPUS, dict)).items
        machines = cluster.run(lambda client: client.list(NODES, dict, labels=f"{RUN}!={RUN_PROCESS}")).items
        return len(machines), sum(gpu.get("status", {}).get("phase") == "Running" for gpu in devices)

    eventually(found, until=lambda seen: seen == (nodes, gpus))


def await_empty(cluster: Cluster, namespace: str) -> None:
    """No pod is left in a namespace that was deleted: the next test counts on the whole fleet, and a real control plane
    empties a namespace long after its answer.
    """

    async def remaining(client: Client) -> int:
        await client.delete_collection(PODS, namespace=namespace, grace_seconds=0)
        return len((await client.list(PODS, dict, namespace=namespace)).items)

    eventually(lambda: cluster.run(remaining) == 0)


def await_rights(connection: Connection, *places: tuple[Resource, str]) -> None:
    """A new user may list each of these resources in its namespace: a real API server learns of rights from its caches,
    a moment after it has taken them.
    """

    async def ask() -> bool:
        async with Client(connection) as client:
            for resource, namespace in places:
                await client.list(resource, dict, namespace=namespace)
        return True

    def allowed() -> bool:
        try:
            return asyncio.run(ask())
        except (Forbidden, Unauthorized):
            return False

    eventually(allowed)


def await_roles(cluster: Cluster) -> None:
    """What our kinds add to the roles of namespaces has joined them: a real controller manager does that in its time."""

    def groups(role: str) -> set[str]:
        found = cluster.run(lambda client: client.get(CLUSTER_ROLES, dict, role))
        return {group for rule in found["rules"] for group in rule.get("apiGroups", ())}

    for role in ("view", "edit", "admin"):
        eventually(lambda role=role: groups(role), until=lambda found: DOMAIN in found, patience=60)  # type: ignore[misc]


@contextlib.contextmanager
def embedded_cluster(
    root: Path, *, fleet: dict[str, Any] | None = None, options: Sequence[str] = ()
) -> Iterator[Cluster]:
    """``tensorfusion up --detach`` in a folder of its own, stopped afterwards."""
    fleet_file = root / "fleet.json"
    fleet_file.write_text(json.dumps(fleet or FLEET))
    folder = Folder(root / "data")
    up = [sys.executable, "-m", "tensorfusion", "up", "--detach", "--data", str(folder.root)]
    done = subprocess.run(
        [*up, "--fleet", str(fleet_file), "--port", "0", "--http-port", "0", *options],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    try:
        assert done.returncode == 0, done.stderr or done.stdout
        address = json.loads(folder.ready_file.read_text())["http"]
        running = Cluster(folder.kubeconfig, address, folder, real=False)
        await_fleet(running, fleet or FLEET)
        yield running
    finally:
        down = [sys.executable, "-m", "tensorfusion", "down", "--data", str(folder.root)]
        subprocess.run(down, capture_output=True, timeout=90, check=False)
    assert folder.processes() == {}


@contextlib.contextmanager
def real_cluster(root: Path, *, fleet: dict[str, Any] | None = None, options: Sequence[str] = ()) -> Iterator[Cluster]:
    """A real control plane with our control process beside it, fed by the same fleet."""
    from tensorfusion.testing.control_plane import control_plane

    assets = Path(os.environ["KUBEBUILDER_ASSETS"])
    fleet_file = root / "fleet.json"
    fleet_file.write_text(json.dumps(fleet or FLEET))
    accounts = root / "accounts"
    with control_plane(assets, root / "kube", controller_manager=True) as plane:
        install = [sys.executable, "-m", "tensorfusion.cli.install", "--kubeconfig", str(plane.kubeconfig)]
        done = subprocess.run([*install, "--accounts", str(accounts)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        state = root / "control.json"
        command = [
            sys.executable,
            "-m",
            "tensorfusion",
            "control",
            "--accounts",
            str(accounts),
            "--fleet",
            str(fleet_file),
        ]
        command += [
            "--http-port",
            "0",
            "--state",
            str(state),
            "--certificates",
            str(root / "pki"),
            "--components",
            "webhook,scheduler,operator,nodes",
            "--anonymous-read",
            *options,
        ]
        with (root / "control.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:

                def started() -> bool:
                    assert process.poll() is None, (root / "control.log").read_text()[-3000:]
                    return state.exists()

                eventually(started, patience=60)
                running = Cluster(plane.kubeconfig, json.loads(state.read_text())["http"], Folder(root), real=True)
                await_fleet(running, fleet or FLEET)
                await_roles(running)
                yield running
            finally:
                process.terminate()
                process.wait(20)
