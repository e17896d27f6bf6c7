"""``/debug/state``: what a control process holds in memory, for administrators who wonder why it does what it does.

Numbers and names only, never an object's content. Takes a token with the right to the path, as the metrics do not: the
names of pods and the texts of errors are not everybody's.
"""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tensorfusion.cli.memory import pss_bytes
from tensorfusion.errors import ApiError
from tensorfusion.runtime.lease import LeaderElector
from tensorfusion.runtime.meters import QUEUES, WATCHES, QueueFigures, WatchFigures
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduler.shards import Shards
from tensorfusion.telemetry.logs import recent_errors

State = dict[str, Any]  # Any: printed as JSON
_NAMES = 50


def debug_route(
    identity: str,
    electors: Sequence[LeaderElector],
    scheduler: Callable[[], SchedulerService | None],
    *,
    authorize: Callable[[Request], Awaitable[None]],
) -> Route:
    """The route, for a Starlette application."""
    started = time.monotonic()

    async def state(request: Request) -> Response:
        try:
            await authorize(request)
        except ApiError as error:
            return JSONResponse({"error": str(error)}, error.status_code)
        found: State = {
            "identity": identity,
            "pid": os.getpid(),
            "upSeconds": round(time.monotonic() - started),
            "memoryBytes": pss_bytes([os.getpid()]),
            "leadership": {
                elector.name: {"leading": elector.is_leader(), "epoch": elector.epoch} for elector in electors
            },
            "caches": _caches(),
            "queues": _queues(),
            "recentErrors": recent_errors(),
        }
        service = scheduler()
        if service is not None:
            found["scheduler"] = _scheduler(service)
        return JSONResponse(found)

    return Route("/debug/state", state, methods=["GET"])


def _caches() -> State:
    found: State = {}
    for watch in cast("list[WatchFigures]", list(WATCHES)):  # only informers register there
        entry = found.setdefault(watch.resource, {"objects": 0, "events": 0, "restarts": 0, "ageSeconds": None})
        entry["objects"] += watch.size
        entry["events"] += watch.events
        entry["restarts"] += watch.restarts
        if watch.age is not None:
            entry["ageSeconds"] = round(max(entry["ageSeconds"] or 0.0, watch.age), 1)
    return dict(sorted(found.items()))


def _queues() -> State:
    found: State = {}
    for queue in cast("list[QueueFigures]", list(QUEUES)):  # only queues register there
        entry = found.setdefault(queue.name, {"depth": 0, "working": 0, "adds": 0, "retries": 0})
        entry["depth"] += len(queue)
        entry["working"] += queue.working
        entry["adds"] += queue.adds
        entry["retries"] += queue.retries
    return dict(sorted(found.items()))


def _scheduler(service: SchedulerService) -> State:
    state, queue = service.state, service.book.queue
    allocations = state.allocations
    per_pool: dict[str, int] = {}
    for allocation in allocations.values():
        request = allocation.pod.request
        if request is not None:
            per_pool[request.pool] = per_pool.get(request.pool, 0) + 1
    shards = service.shards
    waiting = sorted(str(entry.facts.namespace + "/" + entry.facts.name) for entry in queue.waiting())
    return {
        "deciding": service.deciding,
        **({} if shards is None else {"shards": _shards(shards)}),
        "schedulerNames": sorted(service.scheduler_names),
        "configuration": {
            "profiles": list(service.configuration.names),
            "problem": service.configuration.problem,
            "withoutEffect": list(service.configuration.notes),
        },
        "pending": {place.name.lower(): queue.depth(place) for place in (Place.ACTIVE, Place.BACKOFF, Place.WAITING)},
        "waiting": waiting[:_NAMES],
        "assumed": len(service.book.assumed),
        "ledger": {
            "nodes": len(state.fleet.nodes.records),
            "devices": len(state.fleet.devices),
            "allocations": len(allocations),
            "sharesByPool": dict(sorted(per_pool.items())),
            "overcommittedDevices": [device.name for device in state.overcommitted()][:_NAMES],
        },
        "decisions": service.records.figures(),
    }


def _shards(shards: Shards) -> State:
    """Which pools this scheduler places on, and who on the others; the empty name is what belongs to no pool."""
    return {
        "mine": shards.mine,
        "owners": shards.owners(),
        "together": {"holding": shards.regime.is_leader(), "epoch": shards.regime.epoch},
        "epochs": {one.name: one.epoch for one in shards.electors},
    }
