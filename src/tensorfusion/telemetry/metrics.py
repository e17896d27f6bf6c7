"""Prometheus metrics: names with unit suffixes, bounded labels, one registry."""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from tensorfusion import __version__

REGISTRY = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=REGISTRY)

BUILD = Gauge("tensorfusion_build_info", "1, with the version of this program.", ["version"], registry=REGISTRY)
BUILD.labels(__version__).set(1)

RECONCILES = Counter("tensorfusion_reconciles_total", "Reconciles.", ["controller", "result"], registry=REGISTRY)
EVENTS_DROPPED = Counter("tensorfusion_events_dropped_total", "Events not written.", ["reason"], registry=REGISTRY)
WRITES = Counter("tensorfusion_status_writes_total", "Coalesced status writes.", ["result"], registry=REGISTRY)
LEADER = Gauge("tensorfusion_leader", "1 while this process leads.", ["lease"], registry=REGISTRY)


def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    """A counter of one component."""
    return Counter(name, text, labels, registry=REGISTRY)


def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """A gauge of one component."""
    return Gauge(name, text, labels, registry=REGISTRY)


def histogram(name: str, text: str, labels: tuple[str, ...] = (), *, buckets: tuple[float, ...]) -> Histogram:
    """A histogram of one component; buckets in the unit of its name."""
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


def metrics_response() -> tuple[bytes, str]:
    """The text of /metrics and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
