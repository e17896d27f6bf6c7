"""What the runtime says of itself: every work queue, and every watch.

Queues and informers note plain numbers; the metrics are made from them when somebody scrapes. Several of one name, such
as two informers of one kind, count together.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, cast

from prometheus_client.core import HistogramMetricFamily, Metric

from tensorfusion.telemetry.metrics import REGISTRY
from tensorfusion.telemetry.tallies import Living, Timings, counter_family, gauge_family

WORK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0)


class QueueFigures(Protocol):
    """The numbers of one work queue."""

    name: str
    adds: int
    retries: int
    work: Timings

    def __len__(self) -> int: ...

    @property
    def working(self) -> int: ...


class Figures:
    """The numbers of a queue that is no ``WorkQueue``; its owner notes them. Lives as long as its owner holds it."""

    def __init__(self, name: str, *, size: Callable[[], int], working: Callable[[], int] = lambda: 0) -> None:
        self.name = name
        self.adds = 0
        self.retries = 0
        self.work = Timings(WORK_SECONDS)
        self._size = size
        self._working = working
        QUEUES.add(self)

    def __len__(self) -> int:
        return self._size()

    @property
    def working(self) -> int:
        return self._working()


class WatchFigures(Protocol):
    """The numbers of one informer."""

    events: int
    restarts: int

    @property
    def resource(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def age(self) -> float | None: ...


def _queues(found: Iterable[object]) -> Iterator[Metric]:
    depth: dict[tuple[str, ...], float] = {}
    working: dict[tuple[str, ...], float] = {}
    adds: dict[tuple[str, ...], float] = {}
    retries: dict[tuple[str, ...], float] = {}
    timings: dict[tuple[str, ...], Timings] = {}
    for queue in cast("Iterable[QueueFigures]", found):  # only queues register here
        key = (queue.name,)
        depth[key] = depth.get(key, 0) + len(queue)
        working[key] = working.get(key, 0) + queue.working
        adds[key] = adds.get(key, 0) + queue.adds
        retries[key] = retries.get(key, 0) + queue.retries
        merged = timings.setdefault(key, Timings(WORK_SECONDS))
        merged.total += queue.work.total
        merged.counts = [one + other for one, other in zip(merged.counts, queue.work.counts, strict=True)]
    label = ("queue",)
    yield gauge_family("tensorfusion_queue_depth", "Keys that wait.", label, depth)
    yield gauge_family("tensorfusion_queue_working", "Keys that are being worked on.", label, working)
    yield counter_family("tensorfusion_queue_adds", "Keys that were added.", label, adds)
    yield counter_family("tensorfusion_queue_retries", "Keys that were added again after a failure.", label, retries)
    seconds = HistogramMetricFamily("tensorfusion_queue_work_seconds", "Time of the work on one key.", labels=label)
    for name, merged in timings.items():
        seconds.add_metric(name, buckets=merged.buckets(), sum_value=merged.total)
    yield seconds


def _watches(found: Iterable[object]) -> Iterator[Metric]:
    events: dict[tuple[str, ...], float] = {}
    restarts: dict[tuple[str, ...], float] = {}
    sizes: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for watch in cast("Iterable[WatchFigures]", found):  # only informers register here
        key = (watch.resource,)
        events[key] = events.get(key, 0) + watch.events
        restarts[key] = restarts.get(key, 0) + watch.restarts
        sizes[key] = sizes.get(key, 0) + watch.size
        age = watch.age
        if age is not None:
            ages[key] = max(ages.get(key, 0.0), age)
    label = ("resource",)
    yield counter_family("tensorfusion_watch_events", "Events that watches brought.", label, events)
    yield counter_family("tensorfusion_watch_restarts", "Watches that had to be started again.", label, restarts)
    yield gauge_family("tensorfusion_watch_age_seconds", "Since a watch last brought anything.", label, ages)
    yield gauge_family("tensorfusion_cached_objects", "Objects in the informers' caches.", label, sizes)


QUEUES = Living(_queues, registry=REGISTRY)
WATCHES = Living(_watches, registry=REGISTRY)
