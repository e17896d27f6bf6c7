"""``GET /v1/usage`` and ``GET /v1/logs``: what requests used, and their records, for whoever may see them.

Times are Unix seconds, with or without a fraction. What a caller sends is read strictly: a misspelled parameter is an
error and not a wider answer.

Source: the platform's contract, 3.1 and 3.8.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from tensorfusion.gateway.faults import JSON, Fault, invalid
from tensorfusion.gateway.handling import parameters
from tensorfusion.gateway.keys.secret import PREFIX
from tensorfusion.gateway.pages import Page
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.usage.questions import Period, View, Wanted, records, usage, view_of
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.timeseries.errors import DatabaseError
from tensorfusion.timeseries.reader import Reader

USAGE: Final = b"/v1/usage"
LOGS: Final = b"/v1/logs"
MOST_RECORDS: Final = 1000
_RECORDS: Final = 100
_DAY_NS: Final = 86_400_000_000_000
_SECONDS: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?", re.ASCII)
_LAST_SECOND: Final = 4_102_444_800
"""2100-01-01."""
_LONGEST_KEY_NAME: Final = 30
"""Characters behind the prefix up to which something may be a key's name and no key."""
_encoder: Final = msgspec.json.Encoder()
log = get_logger(__name__)


class UsagePages:
    """``now`` is the time in ns since 1970; ``reader`` is None where no store is configured."""

    def __init__(self, reader: Reader | None, *, now: Callable[[], int]) -> None:
        self._reader = reader
        self._now = now

    async def usage(self, query: bytes, key: Key) -> Page:
        """Sums of a period. Raises Fault, KeyRefused."""
        given = parameters(query, ("api_key", "start", "end"))
        reader, view, period = self._ready(), _view(key, given), self._period(given)
        try:
            return _page(await usage(reader, view, period, now=self._now()))
        except DatabaseError as error:
            raise unanswered(error) from error

    async def logs(self, query: bytes, key: Key) -> Page:
        """Records of requests, the newest first. Raises Fault, KeyRefused."""
        given = parameters(query, ("api_key", "start", "end", "model", "status", "limit", "request_id"))
        reader, view, period = self._ready(), _view(key, given), self._period(given)
        wanted = Wanted(given.get("model", ""), _statuses(given.get("status", "")), given.get("request_id", ""))
        limit = _limit(given.get("limit", ""))
        try:
            found = await records(reader, view, period, wanted, limit=limit + 1)
        except DatabaseError as error:
            raise unanswered(error) from error
        return _page({"object": "list", "data": found[:limit], "has_more": len(found) > limit})

    def _ready(self) -> Reader:
        if self._reader is None:
            raise no_store()
        return self._reader

    def _period(self, given: Mapping[str, str]) -> Period:
        end = _time(given, "end", self._now())
        start = _time(given, "start", max(end - _DAY_NS, 0))
        if start >= end:
            raise invalid(f"start: wanted a time before end, found {start // 10**9} and {end // 10**9}", param="start")
        return Period(start, end)


def _view(key: Key, given: Mapping[str, str]) -> View:
    """Raises ScopeMissing, Fault."""
    view = view_of(key)
    name = given.get("api_key")
    if name is None:
        return view
    if name.startswith(PREFIX) and len(name) > len(PREFIX) + _LONGEST_KEY_NAME:
        raise invalid(
            "api_key: this looks like a key itself: wanted its name, such as team-red/chat-ui, because addresses are "
            "written down in many places",
            param="api_key",
        )
    if not view.namespace and "/" not in name:
        raise invalid(f"api_key: wanted NAMESPACE/NAME, found {name[:64]!r}", param="api_key")
    return view.of_key(name)


def _time(given: Mapping[str, str], name: str, otherwise: int) -> int:
    """ns since 1970."""
    text = given.get(name)
    if text is None:
        return otherwise
    found = _SECONDS.fullmatch(text)
    if found is not None and int(found[1]) <= _LAST_SECOND:
        return int(found[1]) * 10**9 + int((found[2] or "0").ljust(9, "0"))
    raise invalid(f"{name}: wanted Unix seconds, such as 1767225600, found {text[:32]!r}", param=name)


def _statuses(text: str) -> tuple[int, int] | None:
    """``200``, or ``4xx`` for all from 400 to 499."""
    if not text:
        return None
    if len(text) == 3 and text.isascii() and text[0] in "12345":
        if text.isdigit():
            return int(text), int(text)
        if text[1:].lower() == "xx":
            return int(text[0]) * 100, int(text[0]) * 100 + 99
    raise invalid(f"status: wanted one such as 429, or 5xx, found {text[:32]!r}", param="status")


def _limit(text: str) -> int:
    if not text:
        return _RECORDS
    if text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST_RECORDS:
        return int(text)
    raise invalid(f"limit: wanted 1 to {MOST_RECORDS}, found {text[:32]!r}", param="limit")


def no_store() -> Fault:
    """None is configured."""
    return Fault(
        404,
        "invalid_request_error",
        "this gateway keeps no records that could be asked for: set metrics in its configuration",
        code="no_metrics_store",
    )


def unanswered(error: DatabaseError) -> Fault:
    """Why is for whoever runs the gateway."""
    log.warning("a question to the metrics database has no answer", error=str(error))
    return Fault(
        503,
        "internal_error",
        "the store of records does not answer: try again later",
        code="metrics_unavailable",
        fields=((b"Retry-After", b"5"),),
    )


def _page(body: object) -> Page:
    return 200, (JSON,), _encoder.encode(body)
