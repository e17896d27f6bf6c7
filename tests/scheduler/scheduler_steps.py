"""What tests of gangs and preemption do again and again: small steps in a world, and looks at it."""

from typing import Any

from tensorfusion.model import keys
from tensorfusion.model.resources import POD_DISRUPTION_BUDGETS, PODS


def evicted(world: Any) -> list[str]:
    return [call.name for call in world.api.calls if call.verb == "evict"]


def nominated(world: Any, name: str, namespace: str = "default") -> str:
    return str(world.pod(name, namespace).get("status", {}).get("nominatedNodeName") or "")


def budget(world: Any, name: str, allowed: int, **labels: str) -> None:
    body = {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}},
        "status": {"disruptionsAllowed": allowed},
    }
    world.api.seed(POD_DISRUPTION_BUDGETS, body, namespace="default")


def no_hold_left(world: Any) -> None:
    assert not world.service.state.nominated
    assert not world.service.preemptor.nominations
    world.check()
    world.check_books()


def stamps(required: int, desired: int | None = None, group: str = "default/train", **more: str) -> dict[str, str]:
    return {
        keys.GANG_REQUIRED_MEMBERS: str(required),
        keys.GANG_DESIRED_MEMBERS: str(desired or required),
        keys.GANG_GROUP_KEY: group,
        **{f"{keys.DOMAIN}/gang-{key}": value for key, value in more.items()},
    }


def gang(
    world: Any, count: int, required: int | None = None, *, name: str = "m", wishes: Any = None, **more: str
) -> list[str]:
    """Members of one gang, each on a whole device."""
    notes = stamps(required or count, count, **more)
    names = [f"{name}{number}" for number in range(count)]
    for one in names:
        world.worker(one, **{"tflops": "100", "annotations": notes, **(wishes or {})})
    return names


def bound(world: Any, names: list[str]) -> list[str]:
    return [name for name in names if world.node_of(name)]


def end(world: Any) -> None:
    """The kubelet's part: pods that were told to end have ended."""
    for pod in world.api.objects(PODS):
        if pod["metadata"].get("deletionTimestamp"):
            world.delete(pod["metadata"]["name"])
