"""Under progressive migration a node is tainted while it holds shares, and only then."""

import asyncio
from typing import Any

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.operator.install import install
from tensorfusion.runtime.manager import Manager

OTHER = {"key": "other", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}
OURS = {"key": f"{keys.DOMAIN}/used-by", "value": "tensor-fusion", "effect": "PreferNoSchedule"}
OLD = {**OURS, "effect": "NoSchedule"}


def taints(cluster: Any) -> Any:
    return cluster.api.object(r.NODES, "m1")["spec"].get("taints", [])


async def start_over(cluster: Any, *, progressive: bool) -> None:
    await cluster.stop()
    manager = Manager(cluster.api, clock=cluster.clock)
    install(manager, is_leader=lambda: True, progressive=progressive)
    cluster.managers.append(manager)
    cluster.running.append(asyncio.ensure_future(manager.run()))
    await cluster.passes(1)


async def test_the_taint_comes_with_the_first_share_and_goes_with_the_last(cluster) -> None:
    await start_over(cluster, progressive=True)
    await cluster.ready_machine("m1")
    cluster.api.change(r.NODES, "m1", {"spec": {"taints": [OTHER, OLD]}})
    await cluster.passes(2)
    assert taints(cluster) == [OTHER]
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(2)
    assert taints(cluster) == [OTHER, OURS]
    cluster.api.change(r.NODES, "m1", {"spec": {"taints": None}})
    await cluster.passes(2)
    assert taints(cluster) == [OURS]
    cluster.api.remove(r.PODS, "w", namespace="team")
    await cluster.passes(2)
    assert taints(cluster) == []


async def test_without_the_setting_no_node_is_tainted(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    await cluster.passes(2)
    assert taints(cluster) == []
