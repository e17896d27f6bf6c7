"""Status roll-ups, coalesced: each object at most once a second, all of them within a budget, the newest value wins.

A roll-up must never compete with placing pods; under load it lags, and catches up when there is room. A patch may be
given as a function: it is called when its turn comes, so that what is written is what is true then.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import Resource
from tensorfusion.runtime.budget import Budget
from tensorfusion.runtime.meters import Figures
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import WRITES

Patch = Raw | Callable[[], Raw | None]
"""A merge patch, or what makes one when its turn comes; None then means that nothing is to be written."""

_RATE, _BURST = 40.0, 40.0
_PER_OBJECT = 1.0
_ATTEMPTS = 5
_QUEUE = 100_000

log = get_logger(__name__)

_Target = tuple[Resource, Key, str]


class StatusWriter:
    """``submit`` never waits; ``run`` writes within the budget, urgent ones first."""

    def __init__(self, client: Api, *, clock: Clock, rate: float = _RATE, burst: float = _BURST) -> None:
        self._client = client
        self._clock = clock
        self._budget = Budget(clock, rate=rate, burst=burst)
        self._urgent: OrderedDict[_Target, Patch] = OrderedDict()
        self._pending: OrderedDict[_Target, Patch] = OrderedDict()
        self._resting: OrderedDict[_Target, float] = OrderedDict()
        """Targets written less than a second ago, oldest first -> when."""
        self._failures: dict[_Target, int] = {}
        self._wake = asyncio.Event()
        self.figures = Figures("status-writer", size=self.__len__)

    def __len__(self) -> int:
        """Patches that wait to be written."""
        return len(self._urgent) + len(self._pending)

    def submit(
        self, resource: Resource, key: Key, patch: Patch, *, subresource: str = "status", urgent: bool = False
    ) -> None:
        """Write a merge patch later; a patch of the same object that still waits is replaced by this one."""
        target = (resource, key, subresource)
        if urgent:
            self._pending.pop(target, None)
        waiting = self._urgent if urgent or target in self._urgent else self._pending
        if target not in waiting and len(self) >= _QUEUE:
            WRITES.labels("dropped").inc()
            return
        self.figures.adds += target not in waiting
        waiting[target] = patch
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if self._next_due() is None:
                await self._rest()
                continue
            await self._budget.wait()
            target = self._next_due()  # an urgent one may have come meanwhile
            if target is not None:
                await self._write(target, self._take(target))

    async def flush(self) -> None:
        """Write everything that waits now, regardless of budgets; each once."""
        for target in [*self._urgent, *self._pending]:
            if target in self._urgent or target in self._pending:
                await self._write(target, self._take(target))

    def _take(self, target: _Target) -> Patch:
        return self._urgent.pop(target) if target in self._urgent else self._pending.pop(target)

    def _next_due(self) -> _Target | None:
        now = self._clock.monotonic()
        while self._resting and now - next(iter(self._resting.values())) >= _PER_OBJECT:
            self._resting.popitem(last=False)
        for waiting in (self._urgent, self._pending):
            for target in waiting:
                if target not in self._resting:
                    return target
        return None

    async def _rest(self) -> None:
        """Wait for a new patch, or until one of those that wait may be written again."""
        self._wake.clear()
        if not len(self):
            await self._wake.wait()
        else:
            await self._clock.sleep(_PER_OBJECT / 10)

    async def _write(self, target: _Target, patch: Patch) -> None:
        resource, key, subresource = target
        body = patch() if callable(patch) else patch
        if body is None:
            return
        self._resting[target] = self._clock.monotonic()
        self._resting.move_to_end(target)
        started = self._clock.monotonic()
        try:
            await self._client.patch(resource, key.name, body, namespace=key.namespace, subresource=subresource)
        except NotFound:
            self._failures.pop(target, None)
            WRITES.labels("gone").inc()
        except ApiError as error:
            self._failed(target, patch, error)
        else:
            self._failures.pop(target, None)
            WRITES.labels("ok").inc()
        finally:
            self.figures.work.observe(self._clock.monotonic() - started)

    def _failed(self, target: _Target, patch: Patch, error: ApiError) -> None:
        WRITES.labels("error").inc()
        resource, key, _ = target
        newer = target in self._pending or target in self._urgent
        failures = self._failures.get(target, 0) + 1
        if error.retryable and failures < _ATTEMPTS:
            self._failures[target] = failures
            self.figures.retries += 1
            if not newer:
                self._pending[target] = patch
        else:
            self._failures.pop(target, None)
            log.warning("status not written", resource=resource.id, key=key, error=error)
