"""Preemption under any order of events: no oversell, no eviction without cause, and in the end no hold is left."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scheduler_steps import gang

from example_counts import part_of
from tensorfusion.errors import Conflict, ServerError, TooManyRequests
from tensorfusion.model.resources import NODES, POD_DISRUPTION_BUDGETS, PODS

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 3), st.integers(2, 8), st.booleans()),
        st.tuples(st.just("create"), st.integers(0, 3), st.integers(6, 8), st.booleans()),
        st.tuples(st.just("gang"), st.integers(1, 3), st.integers(2, 3), st.sampled_from([4, 8])),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("end")),
        st.tuples(st.just("fail"), st.sampled_from(["evict", "evict-lost", "refuse", "patch", "bind", "bind-lost"])),
        st.tuples(st.just("settle"), st.sampled_from([0.0, 0.1, 1.0, 12.0, 200.0])),
        st.tuples(st.just("watch"), st.sampled_from(["lag", "catch-up", "drop", "expire"])),
        st.tuples(st.just("lead"), st.booleans()),
        st.tuples(st.just("budget"), st.integers(0, 2)),
        st.tuples(st.just("node"), st.booleans()),
        st.tuples(st.just("restart")),
    ),
    min_size=4,
    max_size=30,
)


def watch_evictions(world: Any) -> list[str]:
    """What is wrong with the evictions that are sent."""
    wrong: list[str] = []
    evict = world.api.evict

    async def watched(namespace: str, name: str, *, uid: str) -> None:
        pods = world.api.objects(PODS)
        victim = next((pod for pod in pods if pod["metadata"]["uid"] == uid), None)
        if victim is not None and not victim["metadata"].get("deletionTimestamp"):
            priority = victim["spec"]["priority"]
            above = [pod for pod in pods if not pod["spec"].get("nodeName") and pod["spec"]["priority"] > priority]
            if not any(pod.get("status", {}).get("nominatedNodeName") for pod in above):
                wrong.append(f"{name} of priority {priority} is evicted for nobody that is nominated")
        await evict(namespace, name, uid=uid)

    world.api.evict = watched
    return wrong


async def play(world: Any, actions: list[tuple[Any, ...]]) -> None:
    world.fleet(nodes=2, devices=1, tflops="100", vram="8Gi")
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}
    world.api.seed(POD_DISRUPTION_BUDGETS, {**body, "status": {"disruptionsAllowed": 1}}, namespace="default")
    for name, size, labels in (("a", 4, {"app": "web"}), ("b", 4, None), ("c", 8, None)):
        world.worker(name, tflops="1", vram=f"{size}Gi", labels=labels)
    wrong = watch_evictions(world)
    gangs: list[list[str]] = []
    await world.start()
    for number, (action, *details) in enumerate(actions):
        names = [pod["metadata"]["name"] for pod in world.api.objects(PODS)]
        if action == "create":
            priority, size, guarded = details
            labels = {"app": "web"} if guarded else None
            world.worker(f"p{number:02}", tflops="1", vram=f"{size}Gi", priority=priority, labels=labels)
        elif action == "gang":
            priority, size, vram = details
            names = gang(
                world, size, name=f"g{number:02}-", group=f"default/g{number:02}", wishes=share(priority, vram)
            )
            gangs.append(names)
        elif action == "delete" and names:
            world.delete(names[details[0] % len(names)])
        elif action == "end":
            end(world)
        elif action == "fail":
            fail(world, details[0])
        elif action == "settle":
            await world.settle(details[0])
        elif action == "watch":
            catch = {"lag": world.api.lag, "catch-up": world.api.catch_up, "drop": world.api.drop_watches}
            catch.get(details[0], world.api.expire)()
        elif action == "lead":
            world.office.leading = details[0]
            world.office.epoch += 1
        elif action == "budget":
            patch = {"status": {"disruptionsAllowed": details[0]}}
            world.api.change(POD_DISRUPTION_BUDGETS, "web", patch, namespace="default", subresource="status")
        elif action == "node":
            ready = [{"type": "Ready", "status": "True" if details[0] else "False"}]
            world.api.change(NODES, "n1", {"status": {"conditions": ready}}, subresource="status")
        elif action == "restart":
            await world.stop()
            await world.start(type(world.office)(epoch=world.office.epoch + 1))
        await world.settle(0.05)
        world.check()
        assert not wrong
    await come_to_rest(world)
    assert not wrong
    whole_or_none(world, gangs)


def share(priority: int, vram: int) -> dict[str, Any]:
    return {"priority": priority, "tflops": "1", "vram": f"{vram}Gi"}


def whole_or_none(world: Any, gangs: list[list[str]]) -> None:
    """A gang none of whose members was deleted has started as a whole, or waits as a whole."""
    there = {pod["metadata"]["name"]: bool(pod["spec"].get("nodeName")) for pod in world.api.objects(PODS)}
    for names in gangs:
        if all(name in there for name in names):
            assert len({there[name] for name in names}) == 1, {name: there[name] for name in names}


async def come_to_rest(world: Any) -> None:
    """Everything works again, and pods that are being deleted end: nobody is left nominated."""
    world.api.recover()
    world.api.catch_up()
    world.office.leading, world.office.epoch = True, world.office.epoch + 1
    for _ in range(8):
        await world.settle(60)
        end(world)
    await world.settle(30)
    assert not world.service.state.nominated
    assert not world.service.preemptor.nominations
    world.check()
    world.check_books()
    waiting = [pod for pod in world.api.objects(PODS) if not pod["spec"].get("nodeName")]
    assert all(not pod["status"].get("nominatedNodeName") for pod in waiting)


def end(world: Any) -> None:
    """The kubelet's part: pods that were told to end have ended."""
    for pod in world.api.objects(PODS):
        if pod["metadata"].get("deletionTimestamp"):
            world.delete(pod["metadata"]["name"])


def fail(world: Any, how: str) -> None:
    verb, _, lost = how.partition("-")
    if how == "refuse":
        world.api.fail("evict", error=TooManyRequests("the budget allows none"))
    elif how == "bind":
        world.api.fail("bind", error=Conflict("modified"))
    else:
        world.api.fail(verb, error=ServerError("broken", code=503), reply_lost=bool(lost))


@settings(
    max_examples=part_of(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(ACTIONS)
def test_random_interleavings_keep_every_promise(make_world: Any, actions: list[tuple[Any, ...]]) -> None:
    async def once_through() -> None:
        world = make_world()
        try:
            await play(world, actions)
        finally:
            await world.stop()

    asyncio.run(once_through())
