"""The one reason that a waiting pod counts under, its words, and the gauge of waiting pods by reason.

Apart from the reports because these count pods: a pod has one reason here, whatever else stands in its message. It is
that of the last filter its closest candidates met, or what keeps it from being decided at all.
"""

import asyncio
from collections import Counter

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduler import meters
from tensorfusion.scheduler.gang_holds import HeldForGang
from tensorfusion.scheduler.gangs import GangIncomplete
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.shards import WaitsForOwner
from tensorfusion.scheduling.diagnosis import Unschedulable, main_reason
from tensorfusion.scheduling.gangs import GangUnschedulable
from tensorfusion.scheduling.ledger import NotHoldable
from tensorfusion.scheduling.reasons import WORDS, NodeReason
from tensorfusion.scheduling.state import State

_PART = 2_000
_OTHER_WORDS = {
    "not-decided": "not decided yet",
    "nominated": "waiting for evicted pods to leave its place",
    "quota": "over the namespace's quota",
    "gang-incomplete": "waiting for the other members of its gang to be created",
    "held-for-gang": "waiting for an older gang of its pool",
    "gang": "in a gang that does not fit as a whole",
    "gated": "held by a scheduling gate",
    "invalid": "asking for something that cannot be read",
    "other": "refused for another reason",
}
REASON_WORDS = {**{str(reason): words for reason, words in WORDS.items()}, **_OTHER_WORDS}


def reason_of(failure: NotFit | QuotaExceeded | NotHoldable | None) -> str:
    """The one reason that a pod with this failure counts under."""
    if failure is None:
        return "not-decided"
    if isinstance(failure, GangUnschedulable):
        return reason_of(failure.cause) if failure.cause is not None else "gang"
    if isinstance(failure, QuotaExceeded):
        return "quota"
    if isinstance(failure, GangIncomplete):
        return "gang-incomplete"
    if isinstance(failure, HeldForGang):
        return "held-for-gang"
    if isinstance(failure, WaitsForOwner):
        return str(NodeReason.OTHER_OWNER)
    return str(main_reason(failure.diagnosis)) if isinstance(failure, Unschedulable) else "other"


def waits_for(state: State, uid: str, failure: NotFit | QuotaExceeded | None) -> str:
    """What a queued pod waits for."""
    return "nominated" if uid in state.nominated else reason_of(failure)


class WaitGauge:
    """Sets the gauge; reasons that nobody waits for any more go to zero."""

    def __init__(self, book: PodBook, state: State) -> None:
        self._book = book
        self._state = state
        self._told: set[str] = set()

    async def measure(self) -> None:
        """Count the waiting pods; gives way to the loop in between."""
        found: Counter[str] = Counter()
        entries = list(self._book.queue.waiting())
        for start in range(0, len(entries), _PART):
            part = entries[start : start + _PART]
            found.update(waits_for(self._state, entry.uid, entry.failure) for entry in part)
            await asyncio.sleep(0)
        found["invalid"] += len(self._book.unreadable)
        self._told |= {reason for reason, count in found.items() if count}
        for reason in sorted(self._told):
            meters.PENDING_BY_REASON.labels(reason).set(found[reason])
