"""A worker's own part of the status of routes: what it has counted, told in its report about once a second."""

from collections.abc import Callable, Iterator
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.gateway.counting import Counts
from tensorfusion.gateway.objects.reports import Reporter, RouteReport
from tensorfusion.gateway.state import State
from tensorfusion.model.llm_route import LLMRoute
from tensorfusion.model.meta import Key
from tensorfusion.runtime.cache import Cache

TELL_SECONDS: Final = 1.0


class Telling:
    """``now`` is the time of the loop, which choosers go by."""

    def __init__(
        self,
        reporter: Reporter,
        counts: Counts,
        routes: Cache[LLMRoute],
        *,
        clock: Clock,
        state: Callable[[], State],
        now: Callable[[], float],
    ) -> None:
        self._reporter = reporter
        self._counts = counts
        self._routes = routes
        self._clock = clock
        self._state = state
        self._now = now
        self._uids: dict[str, str] = {}

    async def run(self) -> None:
        """Tell until cancelled, and once more then."""
        try:
            while True:
                self.tell()
                await self._clock.sleep(TELL_SECONDS)
        finally:
            self.tell()
            self._reporter.close()

    def tell(self) -> None:
        """Tell what is counted now."""
        self._reporter.put(self._reports())

    def _reports(self) -> Iterator[RouteReport]:
        choosers = self._state().choosers
        for key, counts in list(self._counts.routes.items()):
            namespace, _, name = key.partition("/")
            found = self._routes.get(Key(namespace, name))
            uid = found.metadata.uid if found is not None else ""
            if not uid or self._uids.setdefault(key, uid) != uid:
                self._uids.pop(key, None)
                self._counts.forget(key)
                continue
            chooser = choosers.get(key)
            yield RouteReport(
                uid=uid,
                totals=counts.totals,
                seconds=counts.seconds,
                latencies=dict(counts.latencies),
                active=counts.active,
                active_at=counts.active_at,
                targets=chooser.status(self._now()) if chooser is not None else (),
            )
