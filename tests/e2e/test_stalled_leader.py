"""A leader that is stopped after deciding and wakes up later cannot oversell: its Binding is refused.

The first scheduler's Binding is held back on its way and the process is stopped; the second takes over and fills the
device; then the Binding arrives and the process goes on. The check of the result shares no code with the product.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from checker import oversold
from cluster import eventually
from processes import HoldingProxy, api_server, components, proxied_accounts, upstream_of
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model.resources import GPUS, LEASES, PODS
from test_road import gpu_pod

T = TypeVar("T")
L4 = {"tflops_request": "100", "vram_request": "20Gi", "gpu_model": "L4"}


def test_a_binding_from_before_a_takeover_is_refused(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    listen = tmp_path / "proxy.sock"
    with api_server(tmp_path, real=request.config.getoption("--real")) as parts:

        def run(work: Callable[[Client], Awaitable[T]]) -> T:
            async def session() -> T:
                async with Client(load_kubeconfig(parts.kubeconfig)) as client:
                    return await work(client)

            return asyncio.run(session())

        def pods() -> list[dict[str, Any]]:
            return run(lambda client: client.list(PODS, dict, namespace="default")).items

        def place(name: str) -> None:
            run(lambda client: client.create(PODS, gpu_pod(name, **L4), namespace="default"))

        def holder() -> str:
            lease = run(lambda client: client.get(LEASES, dict, keys.LEADER_LEASE, namespace=keys.SYSTEM_NAMESPACE))
            return str(lease["spec"]["holderIdentity"])

        upstream = upstream_of(parts, keys.CONTROLLER_ACCOUNT)
        with components(parts, "webhook,operator,nodes", "rest"), HoldingProxy(upstream, listen) as proxy:
            through = proxied_accounts(parts, listen)
            with components(parts, "scheduler", "first", accounts=through) as first:
                eventually(lambda: holder() == "first")
                eventually(
                    lambda: (
                        sum(g["status"]["phase"] == "Running" for g in run(lambda c: c.list(GPUS, dict)).items) == 14
                    )
                )
                proxy.hold = True
                place("decided")
                eventually(lambda: proxy.holding)
                os.kill(first.pid, signal.SIGSTOP)
                with components(parts, "scheduler", "second"):
                    eventually(lambda: holder() == "second")
                    place("filler-0")
                    place("filler-1")
                    eventually(lambda: sum(bool(pod["spec"].get("nodeName")) for pod in pods()) >= 2)
                    proxy.release()
                    eventually(lambda: proxy.answers != [])
                    os.kill(first.pid, signal.SIGCONT)
                    assert all(400 <= status < 500 for status in proxy.answers)
                    eventually(lambda: sum(pod["status"].get("phase") == "Running" for pod in pods()) == 2)
        assert oversold(run(lambda client: client.list(GPUS, dict)).items, pods()) == []
        assert sum(bool(pod["spec"].get("nodeName")) for pod in pods()) == 2
