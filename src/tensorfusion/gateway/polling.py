"""Asking replicas how much they have to do, at most once a second, and only where there is a choice to make.

Asked are the replicas of targets that have several and were used a moment ago. One that has no such page is asked again
half a minute later. An answer counts for three seconds (``upstreams.TOLD_SECONDS``).
"""

import asyncio
import dataclasses
from time import monotonic
from typing import Final

from tensorfusion.gateway.state import State
from tensorfusion.gateway.upstreams import Replica, Upstream
from tensorfusion.policy.routing.replicas import told_by
from tensorfusion.wire.errors import WireError
from tensorfusion.wire.pool import Pool

EVERY_SECONDS: Final = 1.0
USED_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 1.0
_MOST: Final = 4 << 20
_AT_ONCE: Final = 16
_API: Final = "/v1"
_TELLING: Final = frozenset({"self-hosted", "custom", "vllm", "sglang"})
"""Providers that run model servers with metrics."""


async def poll(state: State) -> None:
    """Ask each replica once that is worth it."""
    now = monotonic()
    wanted: dict[Replica, None] = {}
    for route in state.routes.by_key.values():
        for target in route.targets:
            upstream = state.upstreams.of(route, target)
            if _in_use(upstream, now):
                wanted.update((replica, None) for replica in upstream.replicas if now >= replica.silent_until)
    if not wanted:
        return
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(replica: Replica) -> None:
        async with places:
            await _ask(replica)

    async with asyncio.TaskGroup() as group:
        for replica in wanted:
            group.create_task(ask(replica))


def _in_use(upstream: Upstream, now: float) -> bool:
    return (
        len(upstream.replicas) > 1
        and upstream.target.provider in _TELLING
        and any(now - replica.used_at < USED_SECONDS for replica in upstream.replicas)
    )


async def _ask(replica: Replica) -> None:
    own = replica.requests
    try:
        answer = await _pool_beside(replica).request(
            "GET", "/metrics", fields={}, seconds=_PATIENCE_SECONDS, most=_MOST
        )
    except (WireError, TimeoutError):
        return  # what it told before grows old by itself
    told = told_by(answer.body) if answer.status == 200 else None
    if told is None:
        replica.silent_until = monotonic() + SILENT_SECONDS
        return
    replica.tell(max(told.requests - max(own, replica.requests), 0), told.full, monotonic())


def _pool_beside(replica: Replica) -> Pool:
    """A server tells of itself beside its API, not below it: ``/metrics`` where that is ``/v1``."""
    origin = replica.pool.origin
    if not origin.prefix.endswith(_API):
        return replica.pool
    if replica.beside is None:
        replica.beside = Pool(dataclasses.replace(origin, prefix=origin.prefix.removesuffix(_API)))
    return replica.beside
