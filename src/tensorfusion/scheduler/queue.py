"""Which pod is decided next: active by priority and arrival, backing off after a failure, or waiting for an event.

Apart from the service because it is a plain data structure: no await, no clock of its own (``now`` is passed in), so
its order can be stated in tests. A waiting pod is woken only by an event that can help it (the caller's predicate),
by a change of the pod itself, or by the periodic flush that makes up for a hint we got wrong. A woken pod still
serves the rest of its backoff: a pod that fails at every event must not take the loop away from the others.

Rejected: one heap with a due time for everything. Waiting pods are many and woken in bulk, so they live in a dict.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from tensorfusion.runtime.meters import Figures

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 10.0
LONGEST_WAIT = 300.0
"""Seconds after which a waiting pod is tried again although nothing told us to."""
WAKES_COUNTED = 200_000
"""Hints times waiting pods (or gangs) beyond which all are woken instead of asking each."""

FactsT = TypeVar("FactsT")
FailureT = TypeVar("FailureT")


class Place(Enum):
    """Where an entry is; exactly one at a time."""

    ACTIVE = auto()
    BACKOFF = auto()
    WAITING = auto()
    TAKEN = auto()


@dataclass(slots=True, eq=False)
class Entry(Generic[FactsT, FailureT]):
    """One pending pod. ``attempts`` counts the decisions taken for it so far."""

    uid: str
    facts: FactsT
    priority: int
    arrival: int
    attempts: int = 0
    failed_at: float = 0.0
    place: Place = Place.ACTIVE
    failure: FailureT | None = None
    turn: int = 0
    """Where among its equals it is decided while it is active: its arrival, unless it was exchanged with another's."""
    gone: bool = False
    """It is not queued any more."""
    lane: object = None
    """Where it is kept beside the queue, by whoever exchanges turns."""
    counts: tuple[object, tuple[int, int, int]] | None = None
    """What it asks for, and what that counts for; by the same."""

    def __lt__(self, other: "Entry[FactsT, FailureT]") -> bool:
        return self.arrival < other.arrival


class Turns(Protocol[FactsT, FailureT]):
    """Who exchanges turns between pods of one priority."""

    def entered(self, entry: Entry[FactsT, FailureT]) -> None:
        """The pod is active from now on."""
        ...

    def instead(self, entry: Entry[FactsT, FailureT]) -> Entry[FactsT, FailureT]:
        """Who takes the turn that is this active pod's: itself, or another active pod of its priority."""
        ...

    def refused(self, entry: Entry[FactsT, FailureT]) -> None:
        """The pod was decided and waits."""
        ...


class PendingQueue(Generic[FactsT, FailureT]):
    """Pending pods by uid. Seconds are of the caller's monotonic clock. ``turns`` may exchange turns of equals."""

    def __init__(self, turns: Turns[FactsT, FailureT] | None = None) -> None:
        self._turns = turns
        self.figures = Figures(
            "scheduler",
            size=lambda: len(self._entries) - self._counts[Place.TAKEN],
            working=lambda: self._counts[Place.TAKEN],
        )
        self._entries: dict[str, Entry[FactsT, FailureT]] = {}
        self._active: list[tuple[int, int, Entry[FactsT, FailureT]]] = []
        self._backoff: list[tuple[float, int, Entry[FactsT, FailureT]]] = []
        self._waiting: dict[str, Entry[FactsT, FailureT]] = {}
        self._arrivals = 0
        self._counts = dict.fromkeys(Place, 0)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def get(self, uid: str) -> Entry[FactsT, FailureT] | None:
        return self._entries.get(uid)

    def depth(self, place: Place) -> int:
        """How many entries are in one place."""
        return self._counts[place]

    def put(self, uid: str, facts: FactsT, *, priority: int, now: float, changed: bool = False) -> None:
        """Add a pod, or take over a change of one that is queued: a changed pod may fit where it did not.

        ``changed`` says so where equal facts do not.
        """
        entry = self._entries.get(uid)
        if entry is None:
            self._arrivals += 1
            self.figures.adds += 1
            entry = self._entries[uid] = Entry(uid, facts, priority, self._arrivals)
            self._counts[Place.ACTIVE] += 1
            self._push_active(entry)
            return
        changed = changed or entry.facts != facts
        reordered = entry.priority != priority
        entry.facts = facts
        entry.priority = priority
        if entry.place is Place.ACTIVE and reordered:
            self._push_active(entry)
        elif entry.place is Place.WAITING and (changed or reordered):
            self._wake(entry, now)

    def remove(self, uid: str) -> None:
        """The pod is bound, finished or gone. Heap items of it are skipped when they surface."""
        entry = self._entries.pop(uid, None)
        if entry is not None:
            entry.gone = True
            self._waiting.pop(uid, None)
            self._counts[entry.place] -= 1

    def pop(self, now: float) -> Entry[FactsT, FailureT] | None:
        """Take the next pod to decide: highest priority first, then first come. None when nothing is due."""
        self._ripen(now)
        while self._active:
            negative_priority, turn, entry = heapq.heappop(self._active)
            if self._is_live(entry, Place.ACTIVE) and -negative_priority == entry.priority and turn == entry.turn:
                if self._turns is not None:
                    entry = self._exchange(entry, self._turns.instead(entry))
                self._move(entry, Place.TAKEN)
                entry.attempts += 1
                return entry
        return None

    def take(self, uid: str) -> Entry[FactsT, FailureT] | None:
        """Take a pod out of turn, wherever it waits: it is decided with another one. None where it is taken already."""
        entry = self._entries.get(uid)
        if entry is None or entry.place is Place.TAKEN:
            return None
        self._waiting.pop(uid, None)
        self._move(entry, Place.TAKEN)
        entry.attempts += 1
        return entry

    def activate(self, uid: str) -> None:
        """It is the pod's turn: whatever it waited for has happened, and it serves no backoff."""
        entry = self._entries.get(uid)
        if entry is not None and entry.place is not Place.ACTIVE:
            self._waiting.pop(uid, None)
            self._move(entry, Place.ACTIVE)
            self._push_active(entry)

    def failed(self, entry: Entry[FactsT, FailureT], failure: FailureT, *, now: float) -> None:
        """The decision said no: wait for an event that can help."""
        if self._entries.get(entry.uid) is not entry:
            return
        entry.failure = failure
        entry.failed_at = now
        self._move(entry, Place.WAITING)
        self._waiting[entry.uid] = entry
        if self._turns is not None:
            self._turns.refused(entry)

    def retry(self, uid: str, *, now: float) -> None:
        """Something else went wrong (a refused Binding): decide again after a backoff."""
        entry = self._entries.get(uid)
        if entry is not None and entry.place is Place.TAKEN:
            entry.failed_at = now
            self.figures.retries += 1
            self._back_off(entry)

    def wake(self, helps: Callable[[Entry[FactsT, FailureT]], bool], *, now: float) -> int:
        """Move the waiting pods that ``helps`` says yes to; answers how many."""
        helped = [entry for entry in self._waiting.values() if helps(entry)]
        self.figures.retries += len(helped)
        for entry in helped:
            self._wake(entry, now)
        return len(helped)

    def flush(self, now: float) -> int:
        """Wake what has waited too long; answers how many."""
        return self.wake(lambda entry: now - entry.failed_at >= LONGEST_WAIT, now=now)

    def next_due(self, now: float) -> float | None:
        """Seconds until ``pop`` can answer something without any new event; None when never."""
        self._ripen(now)
        if self._counts[Place.ACTIVE]:
            return 0.0
        while self._backoff and not self._is_live(self._backoff[0][2], Place.BACKOFF):
            heapq.heappop(self._backoff)
        return self._backoff[0][0] - now if self._backoff else None

    def entries(self) -> Iterator[Entry[FactsT, FailureT]]:
        """All of them, in the order in which they came."""
        return iter(self._entries.values())

    def waiting(self) -> Iterator[Entry[FactsT, FailureT]]:
        return iter(self._waiting.values())

    def _ripen(self, now: float) -> None:
        while self._backoff and self._backoff[0][0] <= now:
            due, _, entry = heapq.heappop(self._backoff)
            if self._is_live(entry, Place.BACKOFF) and due == self._due(entry):
                self._move(entry, Place.ACTIVE)
                self._push_active(entry)

    def _wake(self, entry: Entry[FactsT, FailureT], now: float) -> None:
        self._waiting.pop(entry.uid, None)
        if self._due(entry) > now:
            self._back_off(entry)
        else:
            self._move(entry, Place.ACTIVE)
            self._push_active(entry)

    def _back_off(self, entry: Entry[FactsT, FailureT]) -> None:
        self._move(entry, Place.BACKOFF)
        heapq.heappush(self._backoff, (self._due(entry), entry.arrival, entry))

    def _push_active(self, entry: Entry[FactsT, FailureT]) -> None:
        entry.turn = entry.arrival
        heapq.heappush(self._active, (-entry.priority, entry.arrival, entry))
        if self._turns is not None:
            self._turns.entered(entry)

    def _exchange(self, entry: Entry[FactsT, FailureT], other: Entry[FactsT, FailureT]) -> Entry[FactsT, FailureT]:
        """The other one takes this turn, which has come, and leaves its own to the entry; answers who is decided."""
        if other is not entry:
            entry.turn, other.turn = other.turn, entry.turn
            heapq.heappush(self._active, (-entry.priority, entry.turn, entry))
        return other

    def _move(self, entry: Entry[FactsT, FailureT], place: Place) -> None:
        self._counts[entry.place] -= 1
        self._counts[place] += 1
        entry.place = place

    def _is_live(self, entry: Entry[FactsT, FailureT], place: Place) -> bool:
        return entry.place is place and self._entries.get(entry.uid) is entry

    @staticmethod
    def _due(entry: Entry[FactsT, FailureT]) -> float:
        """When the backoff after the last failure ends: 1 s, 2 s, 4 s, 8 s, then 10 s."""
        doublings = min(max(entry.attempts - 1, 0), 8)
        return entry.failed_at + min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)
