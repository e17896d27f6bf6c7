"""Worlds for tests of defragmentation: replicas on devices here and there, a budget, a pool with a window."""

from typing import Any

from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_POOLS, NODES, POD_DISRUPTION_BUDGETS, PODS
from tensorfusion.scheduler import defrag

OPENS = 120
"""Seconds after the start at which the first window opens; pods are old enough by then."""


def pool(world: Any, *, template: str = "", **fields: Any) -> None:
    settings = {"enabled": True, "schedule": "*/2 * * * *", "timezone": "UTC", "maxDuration": "1m", **fields}
    spec = {"nodeManagerConfig": {"nodeCompaction": {"defrag": settings}}, "schedulingConfigTemplate": template}
    world.api.seed(GPU_POOLS, {"metadata": {"name": "main"}, "spec": spec})


def machine(world: Any, number: int, devices: int = 4) -> None:
    world.node(f"n{number}")
    for index in range(devices):
        world.gpu(f"g{number}-{index}", f"n{number}", index=index)


def owned(world: Any, name: str, owner: str = "web", node: str = "", **wishes: Any) -> None:
    """A replica of a ReplicaSet, in a half of a device; bound to a node's device already where one is named."""
    notes = dict(wishes.pop("annotations", {}))
    if node:
        notes[keys.GPU_IDS] = node.replace("n", "g")
        wishes["nodeName"] = node.split("-")[0]
    wanted = {"tflops": "50", "vram": "8Gi", "labels": {"app": owner}, "annotations": notes, **wishes}
    world.worker(name, **wanted)
    reference = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": owner,
        "uid": f"uid-{owner}",
        "controller": True,
    }
    world.api.change(PODS, name, {"metadata": {"ownerReferences": [reference]}}, namespace="default")


def budget(world: Any, allowed: int = 9, name: str = "web", **labels: str) -> None:
    selector = {"matchLabels": labels or {"app": "web"}}
    body = {"metadata": {"name": name}, "spec": {"selector": selector}, "status": {"disruptionsAllowed": allowed}}
    world.api.seed(POD_DISRUPTION_BUDGETS, body, namespace="default")


async def scattered(world: Any, **fields: Any) -> None:
    """n0 has one half device in use; n1 two halves on two devices."""
    pool(world, **fields)
    for number in range(2):
        machine(world, number)
    owned(world, "a", node="n0-0")
    owned(world, "b", node="n1-0")
    owned(world, "c", node="n1-1")
    budget(world)
    await world.start()


async def window(world: Any) -> None:
    """Until the first look in the first window is over."""
    await world.settle(OPENS + defrag.EVERY)


def node(world: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = world.api.object(NODES, name)["metadata"]
    return found


def is_source(world: Any, name: str) -> bool:
    return node(world, name)["labels"].get(keys.DEFRAG_SOURCE) == "true"


def nothing_kept(world: Any) -> None:
    assert not world.service.defrag.places.by_uid
    assert not world.service.state.nominated
    world.check()
    world.check_books()
