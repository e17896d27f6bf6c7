"""Status roll-ups, coalesced: each object at most once a second, all of them within a budget, the newest value wins.

A roll-up must never compete with placing pods; under load it lags, and catches up when there is room.
"""

import asyncio
from collections import OrderedDict

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, InvalidRequest, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import Resource
from tensorfusion.runtime.budget import Budget
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import WRITES

_RATE, _BURST = 40.0, 40.0
_PER_OBJECT = 1.0
_ATTEMPTS = 5

log = get_logger(__name__)

Target = tuple[Resource, Key, str]


class StatusWriter:
    """``submit`` never waits; ``run`` writes within the budget, urgent ones first."""

    def __init__(self, client: Api, *, clock: Clock, rate: float = _RATE, burst: float = _BURST) -> None:
        self._client = client
        self._clock = clock
        self._budget = Budget(clock, rate=rate, burst=burst)
        self._urgent: OrderedDict[Target, Raw] = OrderedDict()
        self._pending: OrderedDict[Target, Raw] = OrderedDict()
        self._last: dict[Target, float] = {}
        self._failures: dict[Target, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._pending)

    def submit(
        self, resource: Resource, key: Key, patch: Raw, *, subresource: str = "status", urgent: bool = False
    ) -> None:
        """Write a merge patch later; a patch of the same object that still waits is replaced by this one."""
        target = (resource, key, subresource)
        if urgent or target in self._urgent:
            self._pending.pop(target, None)
            self._urgent[target] = patch
        else:
            self._pending[target] = patch
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            target = self._next_due()
            if target is None:
                await self._rest()
                continue
            await self._budget.wait()
            patch = self._urgent.pop(target, None) or self._pending.pop(target, None)
            if patch is not None:
                await self._write(target, patch)

    async def flush(self) -> None:
        """Write everything that waits, regardless of budgets."""
        for waiting in (self._urgent, self._pending):
            while waiting:
                target, patch = waiting.popitem(last=False)
                await self._write(target, patch)

    def _next_due(self) -> Target | None:
        now = self._clock.monotonic()
        for waiting in (self._urgent, self._pending):
            for target in waiting:
                if now - self._last.get(target, float("-inf")) >= _PER_OBJECT:
                    return target
        return None

    async def _rest(self) -> None:
        self._wake.clear()
        if not len(self):
            if len(self._last) > 10_000:
                self._last.clear()
            await self._wake.wait()
        else:
            await self._clock.sleep(_PER_OBJECT / 10)

    async def _write(self, target: Target, patch: Raw) -> None:
        resource, key, subresource = target
        self._last[target] = self._clock.monotonic()
        try:
            await self._client.patch(resource, key.name, patch, namespace=key.namespace, subresource=subresource)
        except NotFound:
            self._failures.pop(target, None)
            WRITES.labels("gone").inc()
        except (ApiError, InvalidRequest) as error:
            failures = self._failures.get(target, 0) + 1
            WRITES.labels("error").inc()
            if error.retryable and failures < _ATTEMPTS and target not in self._pending and target not in self._urgent:
                self._failures[target] = failures
                self._pending[target] = patch
            else:
                self._failures.pop(target, None)
                log.warning("status not written", resource=resource.id, key=key, error=error)
        else:
            self._failures.pop(target, None)
            WRITES.labels("ok").inc()
