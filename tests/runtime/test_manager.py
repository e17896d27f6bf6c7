"""The manager: what starts when, what is shared, and how everything ends together."""

import asyncio

import pytest

from tensorfusion.model.core import Node, Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import NODES, PODS
from tensorfusion.runtime.controller import DONE, Controller, Result
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def api(clock: VirtualClock) -> FakeApi:
    return FakeApi(clock)


@pytest.fixture
def manager(api: FakeApi, clock: VirtualClock) -> Manager:
    return Manager(api, clock=clock)


async def test_informers_of_the_same_arguments_are_shared(manager: Manager) -> None:
    assert manager.informer(PODS, Pod) is manager.informer(PODS, Pod)
    assert manager.informer(PODS, Pod) is not manager.informer(PODS, Pod, labels="a=b")
    assert manager.informer(PODS, Pod) is not manager.informer(NODES, Node)


async def test_controllers_and_tasks_start_after_all_caches_are_filled(
    api: FakeApi, clock: VirtualClock, manager: Manager
) -> None:
    api.seed(PODS, {"metadata": {"name": "a"}})
    api.seed(NODES, {"metadata": {"name": "n"}})
    api.fail("list", NODES, times=3)
    pods, nodes = manager.informer(PODS, Pod), manager.informer(NODES, Node)
    seen: list[tuple[int, int]] = []

    class Look:
        async def reconcile(self, key: Key) -> Result:
            seen.append((len(pods.cache), len(nodes.cache)))
            return DONE

    controller = Controller("look", Look(), clock=clock)
    pods.subscribe(lambda change: controller.queue.add(change.key))
    manager.add_controller(controller)

    async def task() -> None:
        seen.append((len(pods.cache), len(nodes.cache)))

    manager.add_task("task", task)
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.run())
        await clock.settle()
        assert not seen
        assert not manager.synced.is_set()
        await clock.advance(10)
        assert seen == [(1, 1), (1, 1)]
        assert manager.synced.is_set()
        manager.stop()


async def test_stop_ends_everything_and_lets_it_clean_up(clock: VirtualClock, manager: Manager) -> None:
    ended: list[str] = []

    async def task() -> None:
        try:
            await clock.sleep(1e9)
        finally:
            await asyncio.sleep(0)
            ended.append("task")

    manager.informer(PODS, Pod)
    manager.add_task("task", task)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(manager.run())
        await manager.synced.wait()
        await clock.settle()
        manager.stop()
        await running
    assert ended == ["task"]


async def test_one_failing_task_ends_the_manager_with_its_error_and_name(clock: VirtualClock, manager: Manager) -> None:
    async def fail() -> None:
        await clock.sleep(1)
        raise ValueError("broken")

    manager.informer(PODS, Pod)
    manager.add_task("doomed", fail)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run())
            await clock.advance(2)
    group_error = caught.value.exceptions[0]
    assert isinstance(group_error, ExceptionGroup)
    (error,) = group_error.exceptions
    assert isinstance(error, ValueError)
    assert error.__notes__ == ["in the task 'doomed'"]


async def test_a_task_may_return_and_the_rest_goes_on(clock: VirtualClock, manager: Manager) -> None:
    async def short() -> None:
        return

    manager.add_task("short", short)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(manager.run())
        await clock.advance(100)
        assert not running.done()
        manager.stop()


async def test_an_informer_asked_for_later_starts_at_once(api: FakeApi, clock: VirtualClock, manager: Manager) -> None:
    api.seed(PODS, {"metadata": {"name": "a"}})
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.run())
        await manager.synced.wait()
        pods = manager.informer(PODS, Pod)
        await pods.synced()
        assert len(pods.cache) == 1
        manager.stop()
