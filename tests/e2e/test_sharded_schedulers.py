"""Two schedulers share the pools: each places on its own, quotas hold over both, and a stalled or killed one is replaced.

The check of the result shares no code with the product.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from checker import oversold
from cluster import eventually, run_program
from processes import HoldingProxy, Parts, api_server, components, proxied_accounts, upstream_of
from tensorfusion.errors import NotFound
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.policy.shards import COMMON, choices, shard_lease, tied
from test_road import gpu_pod

T = TypeVar("T")
SHARED = "--shard-by-pool"
NODES = {"one": ("a100-0", "h100-0"), "two": ("l4-0",)}
"""The nodes of the pools that each scheduler is to have."""


@dataclass(frozen=True)
class Fleet:
    """The API under test, and a pool for each scheduler."""

    parts: Parts
    pools: dict[str, str]

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        async def session() -> T:
            async with Client(load_kubeconfig(self.parts.kubeconfig)) as client:
                return await work(client)

        return asyncio.run(session())

    def place(self, name: str, pool: str, namespace: str = "default", **wishes: str) -> None:
        body = gpu_pod(name, gpupool=pool, **{"tflops_request": "10", "vram_request": "1Gi", **wishes})
        self.run(lambda client: client.create(r.PODS, body, namespace=namespace))

    def pods(self, namespace: str = "") -> list[dict[str, Any]]:
        return self.run(lambda client: client.list(r.PODS, dict, namespace=namespace)).items

    def bound(self, *names: str, namespace: str = "default") -> list[str]:
        return [
            pod["metadata"]["name"]
            for pod in self.pods(namespace)
            if pod["spec"].get("nodeName") and (not names or pod["metadata"]["name"] in names)
        ]

    def said(self, who: str) -> set[str]:
        """The pools of a scheduler, as ``tensorfusion status`` has them."""
        folder = self.parts.root / "elsewhere"  # beside the embedded API's own folder, where status looks for processes
        folder.mkdir(exist_ok=True)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_bytes(self.parts.kubeconfig.read_bytes())
        done = run_program(["status"], {"KUBECONFIG": str(kubeconfig)})
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"places   {who}: "))
        return set(line.partition(": ")[2].split(", "))

    def owner(self, pool: str) -> str:
        name, namespace = shard_lease(pool), keys.SYSTEM_NAMESPACE
        try:
            lease = self.run(lambda client: client.get(r.LEASES, dict, name, namespace=namespace))
        except NotFound:  # nobody has tried for the shard yet
            return ""
        return str(lease["spec"]["holderIdentity"])

    def shard_of(self, name: str) -> str:
        pod = self.run(lambda client: client.get(r.PODS, dict, name, namespace="default"))
        return str(pod["metadata"]["annotations"][keys.SCHEDULER_SHARD]).partition("/")[2]


def owner_by_plan(pair: dict[str, str]) -> dict[str, str]:
    plan = choices(tied([COMMON, *pair.values()], ()), NODES)
    return {shard: order[0] for shard, order in plan.items()}


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Everything but schedulers runs, and every device is in the pool of its node."""
    pairs = ({"one": f"pool-{number}", "two": f"pool-{number + 1}"} for number in range(100))
    pools = next(pair for pair in pairs if all(owner_by_plan(pair)[pool] == who for who, pool in pair.items()))
    with contextlib.ExitStack() as stack:
        parts = stack.enter_context(api_server(tmp_path, real=request.config.getoption("--real")))
        made = Fleet(parts, pools)
        for who, nodes in NODES.items():
            expression = {"key": keys.HOSTNAME_LABEL, "operator": "In", "values": list(nodes)}
            selector = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
            body = {
                "apiVersion": r.GPU_POOLS.api_version,
                "kind": r.GPU_POOLS.kind,
                "metadata": {"name": pools[who]},
                "spec": {"nodeManagerConfig": {"nodeSelector": selector}},
            }
            made.run(lambda client, body=body: client.create(r.GPU_POOLS, body))
        stack.enter_context(components(parts, "webhook,operator,nodes", "rest"))

        def placed() -> int:
            gpus = made.run(lambda client: client.list(r.GPUS, dict)).items
            mine = [gpu for gpu in gpus if gpu["metadata"].get("labels", {}).get(keys.GPU_POOL) in pools.values()]
            return sum(gpu["status"].get("phase") == "Running" for gpu in mine)

        eventually(placed, until=lambda found: found == 14)
        yield made


@pytest.mark.long
def test_two_schedulers_share_the_pools_and_replace_each_other(fleet: Fleet, tmp_path: Path) -> None:
    one, two = fleet.pools["one"], fleet.pools["two"]
    listen = tmp_path / "proxy.sock"
    upstream = upstream_of(fleet.parts, keys.CONTROLLER_ACCOUNT)
    with HoldingProxy(upstream, listen) as proxy:
        through = proxied_accounts(fleet.parts, listen)
        with (
            components(fleet.parts, "scheduler", "one", SHARED) as first,
            components(fleet.parts, "scheduler", "two", SHARED, accounts=through) as second,
        ):
            eventually(lambda: (fleet.owner(one), fleet.owner(two)), until=lambda who: who == ("one", "two"))
            for number in range(4):
                fleet.place(f"w{number}", (one, two)[number % 2])
            names = [f"w{number}" for number in range(4)]
            eventually(lambda: fleet.bound(*names), until=lambda found: len(found) == 4)
            assert [fleet.shard_of(name) for name in names] == [one, two, one, two]
            assert two in fleet.said("two") and one in fleet.said("one")

            quota_is_exact(fleet, one, two)
            eventually(lambda: (fleet.owner(one), fleet.owner(two)), until=lambda who: who == ("one", "two"))

            proxy.hold = True
            fleet.place("late", two, tflops_request="100", vram_request="20Gi")
            eventually(lambda: proxy.holding)
            os.kill(second.pid, signal.SIGSTOP)
            eventually(lambda: fleet.owner(two), until=lambda who: who == "one")
            for number in range(2):
                fleet.place(f"filler-{number}", two, tflops_request="100", vram_request="20Gi")
            eventually(lambda: fleet.bound("filler-0", "filler-1"))
            proxy.release()
            eventually(lambda: proxy.answers != [])
            os.kill(second.pid, signal.SIGCONT)
            assert all(400 <= status < 500 for status in proxy.answers)

            eventually(lambda: fleet.owner(two), until=lambda who: who == "two")
            first.kill()
            fleet.place("heir", one)
            eventually(lambda: fleet.bound("heir"))
            assert fleet.owner(one) == "two"
    assert oversold(fleet.run(lambda client: client.list(r.GPUS, dict)).items, fleet.pods()) == []


def quota_is_exact(fleet: Fleet, one: str, two: str) -> None:
    """A namespace with a quota and pods in pools of both schedulers gets what it may have, and no more."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "capped"}}
    fleet.run(lambda client: client.create(r.NAMESPACES, namespace))
    quota = {
        "apiVersion": r.GPU_RESOURCE_QUOTAS.api_version,
        "kind": r.GPU_RESOURCE_QUOTAS.kind,
        "metadata": {"name": "quota"},
        "spec": {"total": {"maxWorkers": 3}},
    }
    fleet.run(lambda client: client.create(r.GPU_RESOURCE_QUOTAS, quota, namespace="capped"))
    for number in range(6):
        fleet.place(f"c{number}", (one, two)[number % 2], namespace="capped")
    eventually(lambda: fleet.bound(namespace="capped"), until=lambda found: len(found) >= 3)
    eventually(lambda: fleet.owner(one) == fleet.owner(two))
    assert len(fleet.bound(namespace="capped")) == 3
    fleet.run(lambda client: client.delete(r.GPU_RESOURCE_QUOTAS, "quota", namespace="capped"))
    eventually(lambda: fleet.bound(namespace="capped"), until=lambda found: len(found) == 6)
    for number in range(6):
        fleet.run(lambda client, name=f"c{number}": client.delete(r.PODS, name, namespace="capped", grace_seconds=0))
