"""Spans on their way to a collector: put without waiting, sent in batches; dropped, and counted, where it takes none.

No SDK: a request that is recorded leaves one value in a queue, and a task makes JSON of it. What can be lost: requests
beyond the queue's bound while the collector is slow or away, and after a few tries the batch under way.

Source: OTLP/HTTP: path, content type, which statuses are tried again, ``partialSuccess``.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.gateway.tracing.spans import Traced, export_of, spans_of
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import counter
from tensorfusion.wire.errors import WireError
from tensorfusion.wire.messages import Origin
from tensorfusion.wire.pool import Pool

SPANS: Final = counter(
    "tensorfusion_gateway_spans",
    "Spans by what became of them: sent; or lost: too many waited (dropped), the collector refused them or did not "
    "answer.",
    ("result",),
)
MOST_WAITING: Final = 4096
"""Requests."""
MOST_AT_ONCE: Final = 256
EVERY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 10.0
DRAIN_SECONDS: Final = 3.0
_PAUSES: Final = (1.0, 2.0, 4.0)
_MOST_ANSWER: Final = 1 << 20
_AGAIN: Final = frozenset((429, 502, 503, 504))
_AT_ONCE: Final = 16
"""Requests that are made JSON of without a pause."""
log = get_logger(__name__)


class _Partial(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str = 0


class _Answered(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _Partial | None = None


class Exporter:
    """Of one process. ``path`` is the collector's, ``authorization`` the value of that field, where it asks for one."""

    def __init__(self, origin: Origin, path: str, *, service: str, authorization: str, clock: Clock) -> None:
        self._pool = Pool(origin)
        self._name = str(origin)
        self._path = path
        self._service = service
        self._fields = {"Content-Type": "application/json"}
        if authorization:
            self._fields["Authorization"] = authorization
        self._clock = clock
        self._waiting: deque[Traced] = deque()
        self._failing = False

    def put(self, request: Traced) -> None:
        """Take it, without waiting."""
        if len(self._waiting) >= MOST_WAITING:
            SPANS.labels("dropped").inc(1 + len(request.tries))
        else:
            self._waiting.append(request)

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """Inside, spans are sent; behind, what was left is, as far as that does not take too long."""
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._run())
                yield
                sending.cancel()
            try:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._send_all()
            except TimeoutError:
                SPANS.labels("dropped").inc(sum(1 + len(one.tries) for one in self._waiting))
        finally:
            await self._pool.close()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EVERY_SECONDS)
            try:
                await self._send_all()
            except Exception:  # what cannot be sent must not end the gateway
                log.exception("traces could not be sent", collector=self._name)

    async def _send_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            await self._send(batch)

    async def _send(self, batch: list[Traced]) -> None:
        parts = []
        for at in range(0, len(batch), _AT_ONCE):
            parts += [span for one in batch[at : at + _AT_ONCE] for span in spans_of(one)]
            await asyncio.sleep(0)
        body = export_of((), self._service)
        body["resourceSpans"][0]["scopeSpans"][0]["spans"] = parts
        why = ""
        for pause in (*_PAUSES, None):
            try:
                answer = await self._pool.request(
                    "POST",
                    self._path,
                    fields=self._fields,
                    body=msgspec.json.encode(body),
                    seconds=ANSWER_SECONDS,
                    most=_MOST_ANSWER,
                )
            except (WireError, TimeoutError) as error:
                why = str(error) or "no answer in time"
            else:
                if answer.status < 300:
                    self._count(len(parts), _rejected(answer.body))
                    return
                why = f"HTTP {answer.status}"
                if answer.status not in _AGAIN:
                    break
            if pause is not None:
                await self._clock.sleep(pause)
        SPANS.labels("lost").inc(len(parts))
        if not self._failing:
            log.warning("traces are lost: the collector does not take them", collector=self._name, error=why)
        self._failing = True

    def _count(self, spans: int, rejected: int) -> None:
        if self._failing:
            log.info("the collector takes traces again", collector=self._name)
        self._failing = False
        rejected = min(rejected, spans)
        SPANS.labels("sent").inc(spans - rejected)
        if rejected:
            SPANS.labels("refused").inc(rejected)


def _rejected(body: bytes) -> int:
    """Spans that the collector says it did not take."""
    try:
        found = msgspec.json.decode(body, type=_Answered).partial_success
        return int(found.rejected_spans) if found is not None else 0
    except (msgspec.DecodeError, ValueError):
        return 0
