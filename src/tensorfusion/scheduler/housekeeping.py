"""What a scheduler does every few seconds beside its loop: it flushes, doubts and measures.

Apart from the service because it decides nothing and nothing waits for it.
"""

from tensorfusion.clock import Clock
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.binder import Binder
from tensorfusion.scheduler.borrowed import BorrowedGauges
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.preemptor import Preemptor
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.reports import Reports
from tensorfusion.scheduler.waits import WaitGauge
from tensorfusion.scheduling.state import State

EVERY = 5.0
RESIDENTS_A_ROUND = 2_000
"""Pods that a round of housekeeping writes down for searches for victims; the first search catches up with the rest."""
UNCONFIRMED_AFTER = 30.0
"""Seconds after which a successful Binding that the watch does not show is looked up."""


class Housekeeping:
    """Looks after one scheduler's queue, Bindings and gauges."""

    def __init__(
        self,
        state: State,
        book: PodBook,
        binder: Binder,
        preemptor: Preemptor,
        *,
        clock: Clock,
        reports: Reports,
    ) -> None:
        self._state = state
        self._book = book
        self._binder = binder
        self._preemptor = preemptor
        self._clock = clock
        self._reports = reports
        self._waits = WaitGauge(book, state)
        self._borrowed = BorrowedGauges(state)

    async def run(self) -> None:
        """Flush what has waited too long, look for Bindings that the watch never showed, and measure."""
        while True:
            await self._clock.sleep(EVERY)
            now = self._clock.monotonic()
            self._book.queue.flush(now)
            self._reports.tell_newer()
            for assumption in self._book.assumed.values():
                if assumption.answered_at is not None and now - assumption.answered_at >= UNCONFIRMED_AFTER:
                    assumption.answered_at = now
                    self._binder.doubt(assumption.binding)
            for place in (Place.ACTIVE, Place.BACKOFF, Place.WAITING):
                meters.PENDING.labels(place.name.lower()).set(self._book.queue.depth(place))
            await self._waits.measure()
            self._borrowed.measure()
            self._state.residents.sync(RESIDENTS_A_ROUND)
            meters.NOMINATED.set(len(self._preemptor.nominations))
            meters.ASSUMED.set(len(self._book.assumed))
            meters.IN_DOUBT.set(self._binder.in_doubt)
            meters.OVERCOMMITTED.set(len(self._state.overcommitted()))
