"""A cluster taken apart: API, components and schedulers as processes, and a proxy that can hold Bindings back."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from cluster import FLEET, eventually
from tensorfusion.cli.bundle import ACCOUNTS
from tensorfusion.kube.config import Connection, load_kubeconfig
from tensorfusion.kube.credentials import tls_context

HOP_BY_HOP = {"transfer-encoding", "connection", "content-length", "host", "content-encoding", "accept-encoding"}


@dataclass(frozen=True)
class Parts:
    """Where the parts of the cluster find each other."""

    root: Path
    kubeconfig: Path
    accounts: Path


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def api_server(root: Path, *, real: bool) -> Iterator[Parts]:
    """The API with everything installed: embedded, or a real one."""
    accounts = root / "accounts"
    accounts.mkdir()
    with contextlib.ExitStack() as stack:
        if real:
            from tensorfusion.testing.control_plane import control_plane

            assets = Path(os.environ["KUBEBUILDER_ASSETS"])
            kubeconfig = stack.enter_context(control_plane(assets, root / "kube", controller_manager=True)).kubeconfig
        else:
            data = root / "data"
            (data / "run").mkdir(parents=True)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            command = [sys.executable, "-m", "tensorfusion.embedded.api", "--data", str(data), "--port", str(port)]
            stack.enter_context(running(command, root / "api.log"))
            kubeconfig = data / "kubeconfig"
            eventually(lambda: kubeconfig.exists() and (data / "run" / "api.sock").exists())
        install = [sys.executable, "-m", "tensorfusion.cli.install", "--kubeconfig", str(kubeconfig)]

        def installed() -> bool:
            done = subprocess.run([*install, "--accounts", str(accounts)], capture_output=True, text=True, check=False)
            return done.returncode == 0

        eventually(installed)
        yield Parts(root, kubeconfig, accounts)


@contextlib.contextmanager
def components(
    parts: Parts, names: str, identity: str, *options: str, accounts: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """One control process with some components, ready."""
    state = parts.root / f"{identity}.json"
    fleet = parts.root / "fleet.json"
    fleet.write_text(json.dumps(FLEET))
    command = [sys.executable, "-m", "tensorfusion", "control", "--accounts", str(accounts or parts.accounts)]
    command += ["--certificates", str(parts.root / "pki"), "--state", str(state), "--fleet", str(fleet)]
    command += ["--http-port", "0", "--components", names, "--identity", identity, "--lease-seconds", "3", *options]
    with running(command, parts.root / f"{identity}.log") as process:

        def ready() -> bool:
            assert process.poll() is None, (parts.root / f"{identity}.log").read_text()[-2000:]
            return state.exists()

        eventually(ready, patience=60)
        yield process


class HoldingProxy:
    """Forwards everything to the API, but for Bindings while ``hold`` is set: those wait until ``release``."""

    def __init__(self, upstream: Connection, listen: Path) -> None:
        self._upstream = upstream
        self._listen = listen
        self._loop = asyncio.new_event_loop()
        self._held = threading.Event()
        self._go = asyncio.Event()
        self._answers: list[int] = []
        self.hold = False

    @property
    def holding(self) -> bool:
        """A Binding has arrived and waits."""
        return self._held.is_set()

    @property
    def answers(self) -> list[int]:
        """HTTP statuses of the Bindings that were held and then forwarded."""
        return self._answers

    def release(self) -> None:
        self.hold = False
        self._loop.call_soon_threadsafe(self._go.set)

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = self._upstream.server
        if server.startswith("unix://"):
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(server.removeprefix("unix://"), limit=0)
            self._base = "http://localhost"
        else:
            connector = aiohttp.TCPConnector(ssl=tls_context(self._upstream), limit=0)
            self._base = server
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            application = web.Application(client_max_size=8 << 20)
            application.router.add_route("*", "/{path:.*}", self._forward)
            runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1)
            await runner.setup()
            await web.UnixSite(runner, str(self._listen)).start()
            ready.set()
            await self._stop.wait()
            await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        held = self.hold and request.path.endswith("/binding")
        if held:
            self._held.set()
            await self._go.wait()
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        target = self._base + request.raw_path
        async with self._session.request(request.method, target, data=body, headers=headers) as answer:
            if held:
                self._answers.append(answer.status)
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response


def proxied_accounts(parts: Parts, listen: Path) -> Path:
    """A copy of the accounts' kubeconfigs that goes through the proxy."""
    folder = parts.root / "proxied"
    folder.mkdir()
    for account in ACCOUNTS:
        document = json.loads((parts.accounts / f"{account}.kubeconfig").read_text())
        document["clusters"][0]["cluster"] = {"server": f"unix://{listen}"}
        (folder / f"{account}.kubeconfig").write_text(json.dumps(document))
    return folder


def upstream_of(parts: Parts, account: str) -> Connection:
    return load_kubeconfig(parts.accounts / f"{account}.kubeconfig")
