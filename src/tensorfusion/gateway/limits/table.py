"""Counters in memory that processes share: all of a request's limits at once, or none; given back; found after a death.

**A counter** is a record of eight words: the two of its name, a moment for requests and one for tokens (see ``rules``),
requests in flight, tokens they reserved, and what a token costs. Requests are counted when they are let in. Tokens are
reserved then, which does not decay, and turn into what was really used when the request ends: so what a request did not
use is free again exactly, and what it used beyond is a debt.

**Bounds.** With ``depth`` of a bucket and ``rate`` as they are configured, of any stretch of time ``t``, whatever
workers die or restart in it: at most ``depth + rate * t`` requests are let in; at most ``depth + rate * t`` tokens are
counted as used, and beyond that only what requests took above their own estimates; never more than ``max_concurrent``
requests of living workers are in flight. One minute's worth is the usual depth, so a minute may bring twice the rate,
once. A file that is removed, or the machine's restart, gives each counter its depth once more.

**Whose it is.** A worker notes in entries of its own, one for each counter, how many requests it has in flight there
and their tokens. The sum over the entries of the living is what the record says. Of a worker that died its requests in
flight are taken off, and their tokens are counted as used: nobody knows better, and dying must not pay.

**Death in the middle.** Every store is one word, and they come in such an order that whatever part of them was done
never leaves a counter with more room than it should have: what is charged comes before what is given back. What has to
agree (records and entries) is added up anew by ``recover``, which who takes the lock next runs.

**Room.** A counter can lie in 32 places, given by its name. A full one that holds nothing is as good as none: its place
goes to who needs one. Where all 32 are busy, the request is refused.
"""

from collections.abc import Sequence
from typing import Final

from tensorfusion.gateway.limits.page import (
    ENTRIES,
    ENTRIES_AT,
    ENTRY_WORDS,
    MOST_WORKERS,
    RECORD_WORDS,
    RECORDS_AT,
    RECOVERED,
    USED,
    WAYS,
    Page,
)
from tensorfusion.gateway.limits.rules import TICKS_PER_SECOND, Charge
from tensorfusion.gateway.limits.verdict import RateLimited, Step, Verdict, What, refusal

_SET_WORDS: Final = WAYS * RECORD_WORDS
_LOOK: Final = TICKS_PER_SECOND // 20
_ENDLESS: Final = 1 << 62
"""No moment is later: nine years of ticks."""

# Words of a record.
HIGH, LOW, REQUESTS, TOKENS, COUNT, RESERVED, UNIT = range(7)
# Words of an entry.
RECORD, HELD, HELD_TOKENS = range(3)


class Table:
    """The counters of a page, as one worker uses them. Not for threads."""

    def __init__(self, page: Page) -> None:
        """Take a worker's place in the page, whose lock is held.

        Raises:
            ConfigError: there is none left; the page is closed.
        """
        self.page = page
        self._words = page.words
        self._looked = 0
        self._mask = page.records // WAYS - 1
        self._entries: dict[int, int] = {}
        """Where in this worker's entries a record is noted."""
        if page.mark():
            self._recover()
        try:
            page.enter(self._reclaim)
        except BaseException:
            page.abandon()
            page.close()
            raise
        start = ENTRIES_AT + page.worker * ENTRIES * ENTRY_WORDS
        self._free = list(range(start + (ENTRIES - 1) * ENTRY_WORDS, start - 1, -ENTRY_WORDS))
        page.release()

    def take(self, charges: Sequence[Charge], tokens: int) -> Verdict:
        """Count a request on all of its counters.

        Raises:
            RateLimited: one has no room; nothing is counted.
            PageBusy: the page is not free.
        """
        page = self.page
        if page.acquire():
            self._recover()
        try:
            verdict = self._take_or_look(charges, tokens)
        except RateLimited:
            page.release()
            raise
        except BaseException:
            page.abandon()
            raise
        page.release()
        return verdict

    def _take_or_look(self, charges: Sequence[Charge], tokens: int) -> Verdict:
        try:
            return self._take(charges, tokens)
        except RateLimited as refusal:
            if refusal.what is What.REQUESTS or not self._look_for_dead():
                raise
            return self._take(charges, tokens)  # what stood in the way was a dead worker's

    def _take(self, charges: Sequence[Charge], tokens: int) -> Verdict:
        words = self._words
        now = self.page.now()
        steps: list[Step] = []
        for charge in charges:
            at = charge.place
            if words[at + LOW] != charge.low or words[at] != charge.high or at < RECORDS_AT:
                at = self._find(charge, now, steps)
            rule = charge.rule
            requests = owed = 0  # with this request
            if unit := rule.request_unit:
                full = words[at + REQUESTS]
                requests = full - now + unit if full > now else unit
            if unit := rule.token_unit:
                full = words[at + TOKENS]
                owed = (full - now if full > now else 0) + (words[at + RESERVED] + tokens) * unit
            step = at, rule, requests, owed
            if (
                requests > rule.request_depth
                or owed > rule.token_depth
                or (rule.max_concurrent and words[at + COUNT] >= rule.max_concurrent)
            ):
                raise _refusal(charge, step, tokens)
            steps.append(step)
        if len(self._free) < len(steps):
            raise _no_room(charges[0])
        for at, rule, requests, _ in steps:
            if rule.request_unit:
                words[at + REQUESTS] = now + requests
            if rule.holds:
                self._hold(at, tokens, rule.token_unit)
        return Verdict(steps)

    def give_back(self, charges: Sequence[Charge], reserved: int, tokens: int) -> None:
        """Turn what a request reserved into what it used.

        Raises:
            PageBusy: the page is not free; nothing is given back.
        """
        page = self.page
        if page.acquire():
            self._recover()
        words = self._words
        try:
            now = page.now()
            for charge in charges:
                if charge.rule.holds:
                    at = charge.place
                    if words[at + LOW] != charge.low or words[at] != charge.high or at < RECORDS_AT:
                        at = self._find(charge, now, ())
                    self._drop(at, reserved, tokens, charge.rule.token_unit, now)
        except BaseException:
            page.abandon()
            raise
        page.release()

    def tend(self) -> int:
        """Give back what dead workers held; how many there were. Once a second is often enough.

        Raises:
            PageBusy: the page is not free.
        """
        page = self.page
        if page.acquire():
            self._recover()
        try:
            found = self._reclaim_dead()
        except BaseException:
            page.abandon()
            raise
        page.release()
        return found

    def close(self) -> None:
        """Give the worker's place back, with whatever is still held, and close the page."""
        page = self.page
        if page.acquire():
            self._recover()
        self._reclaim(page.worker)
        page.leave()
        if self._owes_nothing():
            page.remove()
        page.release()
        self._words.release()
        page.close()

    # -- with the lock -------------------------------------------------------------------------------------------

    def _find(self, charge: Charge, now: int, steps: Sequence[Step]) -> int:
        """Where the counter is, or may be from now on: not in a place that ``steps`` are about to use.

        Raises:
            RateLimited: all its places are other busy counters'.
        """
        words = self._words
        high, low = charge.high, charge.low
        first = low & self._mask
        free = 0
        for number in (first, (first ^ (high & self._mask or 1)) & self._mask):
            start = RECORDS_AT + number * _SET_WORDS
            for at in range(start, start + _SET_WORDS, RECORD_WORDS):
                found = words[at]
                if found == high and words[at + LOW] == low:
                    charge.place = at
                    return at
                if not free and (not found or self._is_idle(at, now)) and all(at != used for used, _, _, _ in steps):
                    free = at
        if not free:
            raise _no_room(charge)
        words[free + HIGH] = 0  # nobody's, while it changes
        for word in (REQUESTS, TOKENS, UNIT):
            words[free + word] = 0
        words[free + LOW] = low
        words[free + HIGH] = high
        charge.place = free
        return free

    def _is_idle(self, at: int, now: int) -> bool:
        words = self._words
        return (
            words[at + REQUESTS] <= now
            and words[at + TOKENS] <= now
            and not words[at + COUNT]
            and not words[at + RESERVED]
        )

    def _hold(self, at: int, tokens: int, unit: int) -> None:
        words = self._words
        entry = self._entries.get(at)
        if entry is None:
            entry = self._entries[at] = self._free.pop()
            words[entry + HELD] = 1
            words[entry + HELD_TOKENS] = tokens
            words[entry + RECORD] = at  # from here on it counts
        else:
            words[entry + HELD_TOKENS] += tokens
            words[entry + HELD] += 1
        words[at + UNIT] = unit
        words[at + RESERVED] += tokens
        words[at + COUNT] += 1

    def _drop(self, at: int, reserved: int, tokens: int, unit: int, now: int) -> None:
        words = self._words
        if unit and tokens:
            self._charge(at, tokens * unit, now)
        entry = self._entries.get(at)
        if entry is None:
            return  # held before this worker was taken for dead, and given back then
        if words[entry + HELD] > 1:
            words[entry + HELD] -= 1
            words[entry + HELD_TOKENS] -= reserved
        else:
            words[entry + RECORD] = 0
            del self._entries[at]
            self._free.append(entry)
        words[at + RESERVED] -= reserved
        words[at + COUNT] -= 1

    def _charge(self, at: int, ticks: int, now: int) -> None:
        words = self._words
        full = words[at + TOKENS]
        full = full + ticks if full > now else now + ticks
        words[at + TOKENS] = full if full < _ENDLESS else _ENDLESS  # noqa: FURB136 - a call costs more than the rest

    def _look_for_dead(self) -> int:
        """As ``_reclaim_dead``, but not with every refusal of a flood."""
        now = self.page.now()
        if now - self._looked < _LOOK:
            return 0
        self._looked = now
        return self._reclaim_dead()

    def _reclaim_dead(self) -> int:
        dead = self.page.dead()
        for worker in dead:
            self._reclaim(worker)
        return len(dead)

    def _reclaim(self, worker: int) -> None:
        """Count what a worker had reserved as used, take its requests off, and free its place."""
        words = self._words
        now = self.page.now()
        for entry in self._entries_of(worker):
            at, held, tokens = (words[entry + word] for word in (RECORD, HELD, HELD_TOKENS))
            if words[at + UNIT] and tokens:
                self._charge(at, tokens * words[at + UNIT], now)
            words[entry + RECORD] = 0
            words[at + RESERVED] -= tokens
            words[at + COUNT] -= held
        words[self.page.worker_at(worker) + USED] = 0

    def _recover(self) -> None:
        """Add up anew, from the entries, what the records say: somebody died while he wrote."""
        words = self._words
        counted: dict[int, tuple[int, int]] = {}
        for worker in range(MOST_WORKERS):
            if words[self.page.worker_at(worker) + USED]:
                for entry in self._entries_of(worker):
                    at, held, tokens = (words[entry + word] for word in (RECORD, HELD, HELD_TOKENS))
                    before = counted.get(at, (0, 0))
                    counted[at] = before[0] + held, before[1] + tokens
        for word in (COUNT, RESERVED):
            for place, found in enumerate(self.page.words[RECORDS_AT + word :: RECORD_WORDS].tolist()):
                if found and (at := RECORDS_AT + place * RECORD_WORDS) not in counted:
                    words[at + word] = 0
        for at, (held, tokens) in counted.items():
            words[at + COUNT], words[at + RESERVED] = held, tokens
        words[RECOVERED] += 1

    def _owes_nothing(self) -> bool:
        """Every counter is full: a new file would say the same."""
        now = self.page.now()
        most = {REQUESTS: now, TOKENS: now, COUNT: 0, RESERVED: 0}
        records = self.page.words[RECORDS_AT:]
        return all(max(records[word::RECORD_WORDS].tolist()) <= bound for word, bound in most.items())

    def _entries_of(self, worker: int) -> list[int]:
        """Where a worker's entries are that hold something."""
        start = ENTRIES_AT + worker * ENTRIES * ENTRY_WORDS
        held = self.page.words[start : start + ENTRIES * ENTRY_WORDS : ENTRY_WORDS].tolist()
        return [start + place * ENTRY_WORDS for place, record in enumerate(held) if record]


def _refusal(charge: Charge, step: Step, tokens: int) -> RateLimited:
    """Why a request has no room. ``step`` is what would be owed with it."""
    at, rule, requests, owed = step
    verdict = Verdict(((at, rule, requests - rule.request_unit, owed - tokens * rule.token_unit),))
    if requests > rule.request_depth:
        return refusal(What.REQUESTS, charge, tokens, verdict, wait=requests - rule.request_depth)
    if owed > rule.token_depth:
        return refusal(What.TOKENS, charge, tokens, verdict, wait=owed - rule.token_depth)
    return refusal(What.CONCURRENT, charge, tokens, verdict, wait=TICKS_PER_SECOND)


def _no_room(charge: Charge) -> RateLimited:
    return refusal(What.ROOM, charge, 0, Verdict(), wait=TICKS_PER_SECOND)
