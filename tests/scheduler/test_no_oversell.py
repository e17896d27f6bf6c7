"""Whatever happens in whatever order: no device over capacity, no pod bound twice, and the books are the live pods."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import Conflict, Forbidden, ServerError
from tensorfusion.model.resources import GPUS, PODS

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(1, 9), st.integers(1, 2)),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("finish"), st.integers(0, 30)),
        st.tuples(st.just("fail"), st.sampled_from(["lost-reply", "lost", "conflict", "forbidden", "unreadable"])),
        st.tuples(st.just("settle"), st.sampled_from([0.0, 0.1, 1.0, 12.0])),
        st.tuples(st.just("watch"), st.sampled_from(["lag", "catch-up", "drop", "expire", "close"])),
        st.tuples(st.just("lead"), st.booleans()),
        st.tuples(st.just("device"), st.sampled_from(["lose", "return"])),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


async def play(world: Any, actions: list[tuple[Any, ...]]) -> None:
    world.fleet(nodes=2, devices=2, tflops="20", vram="8Gi")
    await world.start()
    made = 0
    lost: dict[str, Any] = {}
    for action, *details in actions:
        names = [pod["metadata"]["name"] for pod in world.api.objects(PODS)]
        if action == "create":
            tflops, count = details
            world.worker(f"p{made:02}", tflops=str(tflops), vram="1Gi", count=count)
            made += 1
        elif action == "delete" and names:
            world.delete(names[details[0] % len(names)])
        elif action == "finish" and names:
            world.finish(names[details[0] % len(names)])
        elif action == "fail":
            fail(world, details[0])
        elif action == "settle":
            await world.settle(details[0])
        elif action == "watch":
            watch(world, details[0])
        elif action == "lead":
            world.office.leading = details[0]
            world.office.epoch += 1
        elif action == "device":
            device(world, details[0], lost)
        elif action == "restart":
            await world.stop()
            await world.start(type(world.office)(epoch=world.office.epoch + 1))
        world.check()
    world.api.recover()
    world.api.catch_up()
    for back in list(lost):
        device(world, "return", {back: lost.pop(back)})
    if not world.office.leading:
        world.office.leading, world.office.epoch = True, world.office.epoch + 1
    await world.settle(400)
    world.check()
    world.check_books()
    assert not world.service.book.assumed
    once(world)


def fail(world: Any, how: str) -> None:
    if how == "unreadable":
        world.api.fail("get", PODS, times=2)
        return
    errors = {"conflict": Conflict("modified"), "forbidden": Forbidden("no"), "lost": ServerError("broken")}
    world.api.fail("bind", error=errors.get(how), reply_lost=how == "lost-reply")


def watch(world: Any, how: str) -> None:
    {
        "lag": world.api.lag,
        "catch-up": world.api.catch_up,
        "drop": world.api.drop_watches,
        "expire": world.api.expire,
        "close": world.api.close_watches,
    }[how]()


def device(world: Any, how: str, lost: dict[str, Any]) -> None:
    if how == "lose" and not lost:
        gpu = world.api.object(GPUS, "g0-0")
        lost["g0-0"] = {"metadata": {"name": "g0-0", "labels": gpu["metadata"]["labels"]}, "status": gpu["status"]}
        world.api.remove(GPUS, "g0-0")
    elif how == "return" and lost:
        world.api.seed(GPUS, lost.pop("g0-0"))


def once(world: Any) -> None:
    """Every pod's history has at most one change from no node to a node, and the node stays."""
    bound = Counter()
    for entry in world.api._world.history:  # the fake's own journal
        if entry.resource != PODS.id or entry.old is None or entry.deleted:
            continue
        before, after = (pod.get("spec", {}).get("nodeName", "") for pod in (entry.old, entry.new))
        assert not before or before == after
        if after and not before:
            bound[entry.new["metadata"]["uid"]] += 1
    assert all(count == 1 for count in bound.values())


@settings(
    max_examples=part_of(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(ACTIONS)
def test_random_interleavings_never_oversell(make_world: Any, actions: list[tuple[Any, ...]]) -> None:
    async def once_through() -> None:
        world = make_world()
        try:
            await play(world, actions)
        finally:
            await world.stop()

    asyncio.run(once_through())
