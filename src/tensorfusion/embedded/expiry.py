"""Events go an hour after they were last written, and the oldest of too many before; without that, a cluster where much
happens only ever grows.

No event's time is looked at, and nothing is kept for each: revisions grow with time, so it is enough to remember which
one was the newest at each pass. What was not written since that of an hour ago goes. A restart forgets the passes, and
what was there before it stays an hour more.

Source: the storage of events in kube-apiserver 1.34 (``--event-ttl``), by behaviour: no admission takes part. The bound
on their number is ours: a busy hour would fill one machine's memory with them.
"""

import asyncio
from collections import deque
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import decode_object, make_record
from tensorfusion.embedded.pace import Pace
from tensorfusion.embedded.store import Record, RevisionMismatch, Store
from tensorfusion.errors import StoreUnwritable
from tensorfusion.model.resources import EVENTS
from tensorfusion.telemetry.logs import get_logger

KEPT_SECONDS: Final = 3600.0
PASS_SECONDS: Final = 60.0
MOST: Final = 20_000
"""Events that stay behind a pass, the newest ones."""

_TOGETHER = 64
"""Removals that share a commit."""

log = get_logger(__name__)


class EventExpiry:
    """Runs beside the API in the same process."""

    def __init__(self, store: Store, kinds: Kinds, *, clock: Clock) -> None:
        self._store = store
        self._fields = kinds.by_id(EVENTS.id).fields
        self._clock = clock
        self._passes: deque[tuple[float, int]] = deque()  # when, and the newest revision of then
        self._old = 0  # events up to this revision are over

    async def run(self) -> None:
        """A pass a minute until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(PASS_SECONDS)

    async def look(self) -> None:
        """Remove what was last written an hour ago or earlier, and the oldest of what is too much."""
        now = self._clock.monotonic()
        while self._passes and self._passes[0][0] <= now - KEPT_SECONDS:
            self._old = self._passes.popleft()[1]
        self._passes.append((now, self._store.revision))
        over, pace = [], Pace()
        oldest_kept = self._oldest_kept()
        for record in self._store.scan(EVENTS.id):
            await pace.step()
            if record.revision < oldest_kept:
                over.append(record)
        for start in range(0, len(over), _TOGETHER):
            outcomes = await asyncio.gather(*map(self._remove, over[start : start + _TOGETHER]))
            if not all(outcomes):
                return  # the disk refuses: the next pass tries again

    def _oldest_kept(self) -> int:
        """The revision of the oldest event that stays."""
        too_many = self._store.count(EVENTS.id) - MOST
        if too_many <= 0:
            return self._old + 1
        revisions = sorted(record.revision for record in self._store.scan(EVENTS.id))
        return max(revisions[too_many], self._old + 1)

    async def _remove(self, record: Record) -> bool:
        obj = decode_object(record.data)

        def make(revision: int) -> Record:
            return make_record(record.key, obj, revision, self._fields, record.managed)

        try:
            await self._store.remove(record.key, expected=record.revision, make=make)
        except RevisionMismatch:  # written or deleted meanwhile
            return True
        except StoreUnwritable as error:
            log.warning("old event not removed", key=str(record.key), error=str(error))
            return False
        return True
