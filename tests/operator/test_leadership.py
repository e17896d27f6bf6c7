"""Only a leader writes; a new one starts from everything that is there."""

import asyncio

from tensorfusion.model import resources as r
from tensorfusion.model.meta import Key
from tensorfusion.operator.leadership import LeaderOnly, Leadership
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.testing.clock import VirtualClock


async def test_a_follower_writes_nothing_and_catches_up_when_it_wins(cluster) -> None:
    await cluster.ready_machine("m1")
    cluster.leading = False
    await cluster.passes(1)
    cluster.writes()
    cluster.machine("m2")
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    cluster.pool("mine")
    await cluster.passes(10)
    assert cluster.writes() == []
    cluster.leading = True
    await cluster.passes(5)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "90"
    assert cluster.pool_of("m2") == "mine"
    assert cluster.find(r.TENSOR_FUSION_WORKLOADS, "w", namespace="team") is not None


async def test_a_leadership_that_was_lost_and_won_between_two_looks_loses_no_change(cluster) -> None:
    await cluster.ready_machine("m1")
    await cluster.passes(1)
    cluster.leading = False
    cluster.pod("w")
    cluster.place("w", "gpu-m1-0")
    cluster.machine("m2")
    await cluster.clock.advance(0.01)
    cluster.leading = True
    await cluster.passes(5)
    assert cluster.status(r.GPUS, "gpu-m1-0")["available"]["tflops"] == "90"
    assert cluster.pool_of("m2") == "default"


class Noted:
    """A reconciler that notes its keys."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    async def reconcile(self, key: Key) -> Result:
        self.keys.append(key)
        return DONE


async def test_a_key_that_was_dropped_is_asked_for_again_though_no_look_saw_the_loss() -> None:
    clock, leading, started = VirtualClock(), [True], []
    leadership = Leadership(lambda: leading[0], clock=clock)
    leadership.on_gain(lambda: started.append(clock.monotonic()))
    noted = Noted()
    guarded = LeaderOnly(leadership, noted)
    looking = asyncio.ensure_future(leadership.run())
    await clock.advance(0.1)
    await guarded.reconcile(Key("", "a"))
    leading[0] = False
    await guarded.reconcile(Key("", "b"))
    leading[0] = True
    await guarded.reconcile(Key("", "c"))
    assert noted.keys == [Key("", "a")]
    await clock.advance(1)
    assert len(started) == 2
    await guarded.reconcile(Key("", "d"))
    assert noted.keys == [Key("", "a"), Key("", "d")]
    looking.cancel()
