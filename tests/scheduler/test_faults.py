"""A fault that nobody expects, in one part of the scheduler: the others go on, and nothing is held for nobody."""

from collections.abc import Callable
from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model.meta import Key
from tensorfusion.scheduler import preemptor

STAMPS = {
    keys.GANG_REQUIRED_MEMBERS: "2",
    keys.GANG_DESIRED_MEMBERS: "2",
    keys.GANG_GROUP_KEY: "default/train",
}


class Fault:
    """Raises where the real thing would answer, as long as it is there."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.there = True
        self.met = 0

    def __call__(self, *args: Any, **more: Any) -> Any:
        if self.there:
            self.met += 1
            raise KeyError("odd")
        return self._real(*args, **more)


def faulty(monkeypatch: Any, owner: Any, name: str) -> Fault:
    fault = Fault(getattr(owner, name))
    monkeypatch.setattr(owner, name, fault)
    return fault


@pytest.mark.parametrize(
    ("part", "step"),
    [
        ("preemptor", "step"),
        ("gangs", "catch_up"),
        ("gangs", "tick"),
        ("gangs", "take"),
        ("gangs", "hear"),
        ("_resizes", "step"),
        ("records", "add"),
    ],
)
async def test_a_fault_in_one_part_stops_no_decision(world: Any, monkeypatch: Any, part: str, step: str) -> None:
    world.fleet(nodes=5)
    world.worker("runs", tflops="100")
    world.worker("ends", tflops="100")
    world.worker("waits", vram="900Gi")
    await world.start()
    fault = faulty(monkeypatch, getattr(world.service, part), step)
    world.service.book.wishes[world.pod("runs")["metadata"]["uid"]] = Key("default", "runs")
    world.finish("ends")
    for name in ("m0", "m1"):
        world.worker(name, tflops="100", annotations=STAMPS)
    world.worker("single", tflops="100")
    await world.settle(5)
    assert fault.met
    assert world.node_of("single")
    fault.there = False
    await world.settle(15)
    assert world.node_of("m0")
    assert world.node_of("m1")
    world.worker("late", tflops="100")
    await world.settle(2)
    assert world.node_of("late")
    world.check()
    world.check_books()


async def test_a_nominated_pod_whose_decision_fails_keeps_its_place_while_it_waits(
    world: Any, monkeypatch: Any
) -> None:
    world.fleet(vram="8Gi")
    world.worker("low", vram="8Gi")
    await world.start()
    high = world.worker("high", vram="8Gi", priority=10)
    await world.settle()
    fault = faulty(monkeypatch, preemptor, "decide")
    world.service.book.queue.activate(high["metadata"]["uid"])
    await world.settle(2)
    assert fault.met
    assert len(world.service.state.nominated) == 1
    world.delete("low")
    await world.settle(2)
    assert not world.service.state.nominated
    fault.there = False
    await world.settle(15)
    assert world.node_of("high") == "n0"
    world.check()
    world.check_books()
