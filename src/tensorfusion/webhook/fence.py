"""What is known of the scheduler's leadership: the epoch that a Binding needs, and for how long that is certain.

A watch may lag or hang, so an epoch that was seen proves nothing by itself. But a Lease says when it was renewed, and
nobody takes it over before its duration has passed since then. For two thirds of that time - as long as the leader
itself acts on it - the epoch that was seen is the only one there can be; after that the Lease has to be read anew. The
last third covers clocks that differ, and Bindings that were let through and are not stored yet.

Bindings that passed are a second source: they may be ahead of the watch. A Lease that was made anew starts a new count.
"""

from datetime import datetime, timedelta

from tensorfusion.model.core import Lease

_CERTAIN = 2 / 3
"""The part of a Lease's duration for which its holder acts, and for which we take its word."""


class Fence:
    """The highest epoch of the scheduler's leadership that is known."""

    def __init__(self) -> None:
        self._lease_uid = ""
        self._epoch: int | None = None
        self._renewed: datetime | None = None
        self._certain_for = timedelta()

    @property
    def epoch(self) -> int | None:
        return self._epoch

    def is_certain(self, now: datetime) -> bool:
        """Whether no epoch later than ``epoch`` can exist yet."""
        return self._renewed is not None and now < self._renewed + self._certain_for

    def overdue(self, now: datetime) -> str | None:
        """Why nobody may act on the Lease as it was last seen; None where it is in force, or says nothing of time."""
        if self._renewed is None or self.is_certain(now):
            return None
        late = (now - self._renewed).total_seconds()
        wanted = self._certain_for.total_seconds()
        return (
            f"wanted the leader's Lease renewed within {wanted:.0f} s, found it {late:.0f} s old: "
            "the sender may no longer be the leader; decide again"
        )

    def saw_lease(self, lease: Lease | None) -> None:
        """Follow the Lease. A new object counts from its own beginning; a deleted one leaves what is known."""
        if lease is None:
            return
        spec = lease.spec
        transitions = spec.lease_transitions or 0
        if lease.metadata.uid != self._lease_uid:
            self._lease_uid, self._epoch = lease.metadata.uid, transitions
        elif self._epoch is not None and transitions < self._epoch:
            return  # a view that is older than what passed here
        else:
            self.saw_epoch(transitions)
        self._renewed = _moment(spec.renew_time)
        self._certain_for = timedelta(seconds=(spec.lease_duration_seconds or 0) * _CERTAIN)

    def saw_epoch(self, epoch: int) -> None:
        """Follow an accepted Binding."""
        self._epoch = epoch if self._epoch is None else max(self._epoch, epoch)


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
