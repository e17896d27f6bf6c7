"""The servers that behaviours are tried on: the embedded one, or a real control plane from a folder of programs."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import yaml

from asking import Address
from tensorfusion.clock import SystemClock
from tensorfusion.embedded.controllers.install import install_controllers
from tensorfusion.embedded.server import Settings
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.control_plane import control_plane
from tensorfusion.testing.running_api import RunningApi

EMBEDDED, REAL = "embedded", "real"


@contextlib.contextmanager
def server(name: str, folder: Path) -> Iterator[Address]:
    """``embedded``, ``real`` (the programs in KUBEBUILDER_ASSETS), or a folder of such programs."""
    if name == EMBEDDED:
        with embedded(folder) as found:
            yield found
        return
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) if name == REAL else Path(name)
    with control_plane(assets, folder, controller_manager=True) as plane:
        yield _address(plane.server, plane.kubeconfig, folder / "ca.crt", folder)


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Address]:
    """The embedded server in this process, so that defects can be put into it, with its controllers beside it."""
    running = RunningApi(Settings(folder / "data"), SystemClock())
    try:
        controllers = asyncio.run_coroutine_threadsafe(_control(running.kubeconfig), running.loop)
        url = f"https://127.0.0.1:{running.server.port}"
        yield _address(url, running.kubeconfig, folder / "data" / "pki" / "ca.crt", folder)
        controllers.cancel()
        with contextlib.suppress(CancelledError, TimeoutError):
            controllers.result(10)
    finally:
        running.stop()


async def _control(kubeconfig: Path) -> None:
    """The controllers of built-in kinds, as kube-controller-manager runs them beside a real server."""
    clock = SystemClock()
    async with Client(load_kubeconfig(kubeconfig)) as client:
        manager = Manager(client, clock=clock)
        install_controllers(client, manager, clock=clock)
        await manager.run()


def _address(url: str, kubeconfig: Path, authority: Path, folder: Path) -> Address:
    users = yaml.safe_load(kubeconfig.read_text())["users"]
    return Address(url, authority, kubeconfig, users[0]["user"]["token"], folder)
