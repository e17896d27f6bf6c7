"""Counting on hot paths, and reading what lives: the two things for which the library's own objects cost too much.

A ``Tally`` is one dict lookup and one bisection an observation, without locks: everything that counts runs on one event
loop. What has a size at any moment - queues, caches, watches - is not counted along but asked when somebody scrapes.

Labels are bounded: beyond ``most`` label sets the rest count together under ``other``.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from weakref import WeakSet

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_MOST = 2000
OTHER = "other"


class Tally(Collector):
    """A counter by label values. Name it as it is scraped, without ``_total``."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry, most: int = _MOST
    ) -> None:
        self._name, self._text, self._labels, self._most = name, text, tuple(labels), most
        self._counts: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def add(self, values: tuple[str, ...], amount: float = 1) -> None:
        """Count ``amount`` more under these label values."""
        try:
            self._counts[values] += amount
        except KeyError:
            if len(self._counts) >= self._most:
                values = (OTHER,) * len(self._labels)
            self._counts[values] = self._counts.get(values, 0) + amount

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        yield family

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, labels=self._labels)


class Timings:
    """Durations in buckets; ``bounds`` are the shared upper bounds in seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Note one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as the text format wants it."""
        cumulated, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            cumulated += count
            found.append((bound, float(cumulated)))
        return found


class TimingTally(Collector):
    """A histogram of seconds by label values."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
        most: int = _MOST,
    ) -> None:
        self._name, self._text, self._labels, self._most = name, text, tuple(labels), most
        self._bounds = tuple(bounds)
        self._timings: dict[tuple[str, ...], Timings] = {}
        registry.register(self)

    def observe(self, values: tuple[str, ...], seconds: float) -> None:
        """Note one duration under these label values."""
        timings = self._timings.get(values)
        if timings is None:
            if len(self._timings) >= self._most:
                values = (OTHER,) * len(self._labels)
            timings = self._timings.setdefault(values, Timings(self._bounds))
        timings.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, timings in self._timings.items():
            family.add_metric(values, buckets=timings.buckets(), sum_value=timings.total)
        yield family

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._name, self._text, labels=self._labels)


Families = Callable[[Iterable[object]], Iterator[Metric]]


class Living(Collector):
    """Metrics of the objects of one kind that are alive when somebody scrapes. Objects register when they are made."""

    def __init__(self, families: Families, *, registry: CollectorRegistry) -> None:
        self._families = families
        self._objects: WeakSet[object] = WeakSet()
        registry.register(self)

    def add(self, found: object) -> None:
        """Count an object from now on, as long as it lives."""
        self._objects.add(found)

    def __iter__(self) -> Iterator[object]:
        return iter(list(self._objects))

    def collect(self) -> Iterator[Metric]:
        yield from self._families(list(self._objects))

    def describe(self) -> Iterator[Metric]:
        yield from self._families([])


def gauge_family(name: str, text: str, labels: Sequence[str], values: dict[tuple[str, ...], float]) -> Metric:
    """A gauge with its values."""
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def counter_family(name: str, text: str, labels: Sequence[str], values: dict[tuple[str, ...], float]) -> Metric:
    """A counter with its values."""
    family = CounterMetricFamily(name, text, labels=list(labels))
    for key, value in values.items():
        family.add_metric(key, value)
    return family
