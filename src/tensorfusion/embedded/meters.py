"""What the API process says of itself, under the names that a kube-apiserver uses, so that its dashboards fit.

On the path of every request: two dict lookups. Only kinds that are served become labels; requests for anything else,
and those that were refused before that was known, count with an empty resource.

Source: Kubernetes Metrics Reference (apiserver_*); ``tensorfusion_store_*`` are ours.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import cast

from prometheus_client.core import Metric

from tensorfusion.embedded.store import Store
from tensorfusion.embedded.targets import Target
from tensorfusion.telemetry.metrics import REGISTRY
from tensorfusion.telemetry.tallies import Living, Tally, TimingTally, gauge_family

_OF_REQUEST = ("verb", "group", "version", "resource", "subresource")
_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

REQUESTS = Tally("apiserver_request", "Requests, by their answers.", (*_OF_REQUEST, "code"), registry=REGISTRY)
REQUEST_SECONDS = TimingTally(
    "apiserver_request_duration_seconds",
    "Time until the answer was ready; watches and tunnels are not in it.",
    _OF_REQUEST,
    bounds=_SECONDS,
    registry=REGISTRY,
)
WEBHOOK_SECONDS = TimingTally(
    "apiserver_admission_webhook_admission_duration_seconds",
    "Time of one call of an admission webhook.",
    ("name", "operation", "rejected", "type"),
    bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 25.0),
    registry=REGISTRY,
)
WEBHOOK_FAILURES = Tally(
    "tensorfusion_webhook_failures",
    "Admission webhooks that could not be asked, or did not answer usably.",
    ("name", "ignored"),
    registry=REGISTRY,
)
TERMINATED_WATCHERS = Tally(
    "apiserver_terminated_watchers",
    "Watches that were ended because their clients read too slowly.",
    ("group", "resource"),
    registry=REGISTRY,
)

_streams: dict[tuple[str, ...], float] = {}


def _labels(target: Target | None, method: str) -> tuple[str, str, str, str, str]:
    if target is None:
        return (method if method in _METHODS else "OTHER", "", "", "", "")
    return (_VERBS.get(target.verb, "OTHER"), target.group, target.version, target.resource, target.subresource)


def note_request(target: Target | None, method: str, status: int, *, seconds: float | None) -> None:
    """Count one request. ``target`` only where its kind is served; ``seconds`` None for what has no natural end."""
    labels = _labels(target, method)
    REQUESTS.add((*labels, str(status)))
    if seconds is not None:
        REQUEST_SECONDS.observe(labels, seconds)


@contextlib.contextmanager
def long_running(target: Target | None) -> Iterator[None]:
    """Count a watch or a log as long as it goes on."""
    labels = _labels(target, "GET")
    _streams[labels] = _streams.get(labels, 0) + 1
    try:
        yield
    finally:
        _streams[labels] -= 1


def _stores(found: Iterable[object]) -> Iterator[Metric]:
    objects: dict[tuple[str, ...], float] = {}
    revisions: dict[tuple[str, ...], float] = {}
    lags: dict[tuple[str, ...], float] = {}
    for store in cast("Iterable[Store]", found):  # only stores register here
        for resource in store.resources():
            objects[(resource,)] = objects.get((resource,), 0) + store.count(resource)
        revisions[()] = max(revisions.get((), 0), store.revision)
        lags[()] = max(lags.get((), 0), store.lag)
    yield gauge_family("apiserver_storage_objects", "Objects in the store.", ("resource",), objects)
    yield gauge_family("tensorfusion_store_revision", "The newest resource version.", (), revisions)
    yield gauge_family("tensorfusion_store_watch_depth", "Events that the slowest watch has still to see.", (), lags)
    yield gauge_family("apiserver_longrunning_requests", "Watches and logs that go on.", _OF_REQUEST, dict(_streams))


STORES = Living(_stores, registry=REGISTRY)
