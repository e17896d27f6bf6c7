"""What queues and informers say of themselves."""

from tensorfusion.model.core import Node
from tensorfusion.model.resources import NODES
from tensorfusion.runtime.informer import Informer
from tensorfusion.runtime.queue import WorkQueue
from tensorfusion.telemetry.metrics import REGISTRY
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_a_queue_counts_adds_retries_depth_and_the_time_of_its_work() -> None:
    clock = VirtualClock()
    queue: WorkQueue[str] = WorkQueue(clock, name="test-of-meters")
    for key in ("a", "b", "b", "c"):
        queue.add(key)
    key = await queue.get()
    assert sample("tensorfusion_queue_depth", queue="test-of-meters") == 2
    assert sample("tensorfusion_queue_working", queue="test-of-meters") == 1
    await clock.advance(0.2)
    queue.retry(key)
    queue.done(key)
    assert sample("tensorfusion_queue_adds_total", queue="test-of-meters") == 5
    assert sample("tensorfusion_queue_retries_total", queue="test-of-meters") == 1
    assert sample("tensorfusion_queue_work_seconds_count", queue="test-of-meters") == 1
    assert sample("tensorfusion_queue_work_seconds_bucket", queue="test-of-meters", le="0.1") == 0
    assert sample("tensorfusion_queue_work_seconds_bucket", queue="test-of-meters", le="0.5") == 1


async def test_an_informer_counts_what_its_watch_brings_and_how_old_that_is() -> None:
    import asyncio

    clock = VirtualClock()
    api = FakeApi(clock)
    api.seed(NODES, {"metadata": {"name": "a"}})
    informer = Informer(api, NODES, Node, clock=clock)
    assert informer.age is None
    task = asyncio.ensure_future(informer.run())
    await informer.synced()
    await clock.settle()
    assert (informer.size, informer.events, informer.age) == (1, 0, 0.0)
    api.seed(NODES, {"metadata": {"name": "b"}})
    await clock.settle()
    assert (informer.size, informer.events) == (2, 1)
    await clock.advance(3.0)
    assert informer.age == 3.0
    found = sample("tensorfusion_cached_objects", resource="nodes")
    assert found is not None
    assert found >= 2
    task.cancel()
