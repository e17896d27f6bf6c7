"""Places that were found and lost again at once: nobody looks for one without an end, and nobody gives up either."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scheduler_steps import evicted, gang, no_hold_left

from tensorfusion.scheduler.search_line import LONGEST_PAUSE, LOSSES_IN_A_ROW
from tensorfusion.scheduling.gang_preemption import GangPlan
from tensorfusion.scheduling.preemption import Plan

Wish = Callable[[Any], list[str]]
ENOUGH = 400
"""Searches at one moment after which a test is ended that would not end."""


def pod(world: Any) -> list[str]:
    world.worker("high0", tflops="100", priority=10)
    return ["high0"]


def gang_of_two(world: Any) -> list[str]:
    return gang(world, 2, name="high", wishes={"priority": 10})


class Deceived:
    """Searches that find places of which every decision says that they are none; counted by the moment."""

    def __init__(self, world: Any, monkeypatch: pytest.MonkeyPatch, *, free: bool) -> None:
        self.at: Counter[float] = Counter()
        rooms = world.service.preemptor.rooms

        def nowhere(search: Callable[..., Any]) -> Callable[..., Any]:
            def deceived(*arguments: Any) -> Any:
                now = world.clock.monotonic()
                self.at[now] += 1
                assert self.at[now] < ENOUGH, "it searches for ever, at one moment"
                found = search(*arguments)
                assert isinstance(found, Plan | GangPlan)
                return replace(found, victims=(), ending=(), displaced=() if free else ("nobody",))

            return deceived

        monkeypatch.setattr(rooms, "for_pod", nowhere(rooms.for_pod))
        monkeypatch.setattr(rooms, "for_gang", nowhere(rooms.for_gang))


@pytest.mark.parametrize("wish", [pod, gang_of_two])
@pytest.mark.parametrize("free", [False, True], ids=["nominated", "free"])
async def test_who_loses_each_place_at_once_searches_a_few_times_and_then_less_and_less(
    world, monkeypatch, wish: Wish, free: bool
) -> None:
    world.fleet(nodes=2)
    lows = [world.worker(f"low{number}", tflops="100")["metadata"]["name"] for number in range(2)]
    await world.start()
    with monkeypatch.context() as defect:
        deceived = Deceived(world, defect, free=free)
        names = wish(world)
        await world.settle(120)
        assert max(deceived.at.values()) <= LOSSES_IN_A_ROW + 1
        assert 3 <= sum(deceived.at.values()) - LOSSES_IN_A_ROW <= 20
        assert evicted(world) == []
    await world.settle(LONGEST_PAUSE + 1)
    assert sorted(evicted(world)) == lows[: len(names)]
    for name in evicted(world):
        world.delete(name)
    await world.settle(1)
    assert all(world.node_of(name) for name in names)
    no_hold_left(world)
