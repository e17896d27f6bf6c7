"""Take keys from a queue, reconcile them, and back off where that fails.

Source: the reconcile contract of controller-runtime: level-based, by key, terminal errors are not retried.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, Conflict, TensorFusionError
from tensorfusion.model.meta import Key
from tensorfusion.runtime.queue import WorkQueue
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import RECONCILES

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a pass came to. ``requeue_after`` seconds asks for another pass; None leaves that to the next event."""

    requeue_after: float | None = None


DONE = Result()


class Reconciler(Protocol):
    """Makes the world say what it should for one key; may be run at any time, and twice."""

    async def reconcile(self, key: Key) -> Result: ...


class Controller:
    """Runs a reconciler with a number of workers over one queue; the caller's handlers add keys to ``queue``.

    A retryable error backs off; any other of our own errors is logged and waits for the next event of its key; an
    unexpected exception is logged with its traceback and backs off. With ``refused_after``, what the API server refused
    (RBAC, an admission, a quota) is tried again after so many seconds: it may be allowed later, and no event says so.
    """

    def __init__(
        self, name: str, reconciler: Reconciler, *, clock: Clock, workers: int = 1, refused_after: float | None = None
    ) -> None:
        self.name = name
        self._refused_after = refused_after
        self.queue: WorkQueue[Key] = WorkQueue(clock, name=name)
        self._reconciler = reconciler
        self._workers = workers
        self._counts = {result: RECONCILES.labels(name, result) for result in ("ok", "error", "terminal", "exception")}

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._pass(key)
            finally:
                self.queue.done(key)

    async def _pass(self, key: Key) -> None:
        try:
            result = await self._reconciler.reconcile(key)
        except TensorFusionError as error:
            self._failed(key, error)
        except Exception:  # the edge of the loop: one key's fault must not stop the others
            self._counts["exception"].inc()
            delay = self.queue.retry(key)
            log.exception("reconcile failed unexpectedly", controller=self.name, key=key, retry_seconds=delay)
        else:
            self._counts["ok"].inc()
            log.trace("reconciled", controller=self.name, key=key)
            self.queue.forget(key)
            if result.requeue_after is not None:
                self.queue.add(key, after=result.requeue_after)

    def _failed(self, key: Key, error: TensorFusionError) -> None:
        if not error.retryable:
            self._counts["terminal"].inc()
            self.queue.forget(key)
            again = self._refused_after if isinstance(error, ApiError) else None
            if again is not None:
                self.queue.add(key, after=again)
            log.warning(
                "reconcile cannot succeed as things are",
                controller=self.name,
                key=key,
                retry_seconds=again,
                error=error,
            )
            return
        self._counts["error"].inc()
        delay = self.queue.retry(key)
        if not isinstance(error, Conflict):  # a conflict is the ordinary way to learn that a cache lags
            log.warning("reconcile failed", controller=self.name, key=key, retry_seconds=delay, error=error)
