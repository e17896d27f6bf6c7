"""What follows a failed attempt: the same target after a pause, another target, or the end.

Same target: what may pass soon, as ``retryOnErrors`` says, with full jitter; a ``Retry-After`` is obeyed if it is not
longer than ``maxDelay``. Another target: what this one would only repeat, and silence. The end: what any target would
say, because it is about the request.

Source: the platform's contract, LLMRoute retry and failover; full jitter as in "Exponential Backoff And Jitter" (AWS).
"""

import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from tensorfusion.policy.routing.asks import Failure, Outcome, blames_target
from tensorfusion.policy.routing.route import NEVER_RETRIED, RetryRules

EXTRA_PERCENT = 20
EXTRA_ALWAYS = 10
_BUDGET_SECONDS = 10


class Next(Enum):
    """What may be tried."""

    SAME = "same"
    OTHER = "other"
    LARGER = "larger"
    """Another target with a larger declared context."""
    END = "end"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows, after how many seconds, and why."""

    next: Next
    reason: str
    delay: float = 0.0


def judge(rules: RetryRules, outcome: Outcome, *, retries: int, wall: float, random: float) -> Verdict:
    """What may follow a failure on a target that was already asked again ``retries`` times.

    ``wall`` is the time in Unix seconds, for a Retry-After that is a date; ``random`` is in [0, 1).
    """
    why = str(outcome)
    match outcome.failure:
        case None:
            return Verdict(Next.END, "it was answered")
        case Failure.CANCELLED:
            return Verdict(Next.END, "the client left")
        case Failure.CONTENT_FILTER:
            return Verdict(Next.END, f"{why}: the answer is returned as it is")
        case Failure.CONTEXT_LENGTH:
            return Verdict(Next.LARGER, why)
        case Failure.SILENT | Failure.FIRST_TOKEN | Failure.STALL:
            return Verdict(Next.OTHER, f"{why}: who is silent is not asked again")
        case Failure.STATUS if outcome.status in NEVER_RETRIED and outcome.status not in (401, 402, 403, 404, 413):
            return Verdict(Next.END, f"{why}: the request itself is refused")
    if may_pass(rules, outcome) and retries < rules.max_retries:
        asked = retry_after(outcome.retry_after, wall) if rules.honours_retry_after else None
        if asked is None:
            return Verdict(Next.SAME, why, backoff(rules, retries, random))
        if asked <= rules.max_delay:
            return Verdict(Next.SAME, f"{why}, asks to come back in {asked:g}s", asked)
        return Verdict(Next.OTHER, f"{why}, asks to come back in {asked:g}s, longer than maxDelay")
    if blames_target(outcome) or outcome.status in NEVER_RETRIED or outcome.status in rules.statuses:
        return Verdict(Next.OTHER, why)
    return Verdict(Next.END, f"{why}: the request itself is refused")


def may_pass(rules: RetryRules, outcome: Outcome) -> bool:
    """Whether the same target may do better in a moment."""
    if outcome.failure is Failure.STATUS:
        return outcome.status in rules.statuses and outcome.status not in NEVER_RETRIED
    if outcome.failure is Failure.CONNECT:
        return rules.connect
    return rules.reset  # reset, or malformed: an answer that broke


def backoff(rules: RetryRules, retries: int, random: float) -> float:
    """A pause in seconds: anything from 0 to the bound, which grows with each retry (full jitter)."""
    try:
        grown = rules.initial_delay * rules.multiplier**retries
    except OverflowError:
        grown = rules.max_delay if rules.initial_delay else 0.0
    return random * min(grown, rules.max_delay)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY, _MONTH, _TIME = "[A-Z][a-z]{2}", "(?P<month>[A-Z][a-z]{2})", r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"{_DAY}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT",
        rf"[A-Z][a-z]{{5,8}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)


def retry_after(text: str, wall: float) -> float | None:
    """A Retry-After in seconds from now, never below 0; None where there is none, or none that can be read.

    Source: RFC 9110, sections 10.2.3 and 5.6.7: a number of seconds, or a date in one of three forms.
    """
    text = text.strip()
    if not text:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    found = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    moment = None if found is None else _moment(found, wall)
    return None if moment is None else max(0.0, moment - wall)


def _moment(found: re.Match[str], wall: float) -> float | None:
    """The Unix seconds of a date. Of a year with two digits it is the latest that is not 50 years ahead."""
    year = int(found["year"])
    try:
        if len(found["year"]) == 2:
            present = datetime.fromtimestamp(wall, UTC).year
            year += present - present % 100
            year -= 100 if year > present + 50 else 0
        month = _MONTHS.index(found["month"]) + 1
        # A leap second is the second before it: this calendar has none.
        second = min(int(found["second"]), 59)
        moment = datetime(year, month, int(found["day"]), int(found["hour"]), int(found["minute"]), second, tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.timestamp()


class RetryBudget:
    """How many further attempts a route may make: 20 % of its requests of the last 10 s, and 10 more.

    So an outage is not made worse: when everything fails, what arrives at the targets is at most a fifth more than what
    clients send. Counted by whole seconds, so the last 9 to 10 s.
    """

    __slots__ = ("_extra", "_requests", "_seconds")

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        self._requests = 0
        self._extra = 0

    def request(self, now: float) -> None:
        """A request begins."""
        self._second(now)[1] += 1
        self._requests += 1

    def take(self, now: float) -> bool:
        """Whether one more attempt may be made; counts it if so."""
        second = self._second(now)
        if 100 * (self._extra + 1 - EXTRA_ALWAYS) > EXTRA_PERCENT * self._requests:
            return False
        second[2] += 1
        self._extra += 1
        return True

    def _second(self, now: float) -> list[int]:
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:  # what is too old went when it began
            return self._seconds[-1]
        while self._seconds and self._seconds[0][0] <= second - _BUDGET_SECONDS:
            _, requests, extra = self._seconds.popleft()
            self._requests -= requests
            self._extra -= extra
        self._seconds.append([second, 0, 0])
        return self._seconds[-1]
