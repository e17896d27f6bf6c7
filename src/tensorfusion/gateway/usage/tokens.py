"""``GET /tokens/budget/{key}`` and ``POST /tokens/usage``: what is left of budgets, and usage that went elsewhere.

Budgets are told here and kept nowhere yet: no request is refused because of one. What is used is what the store of
records has, of UTC days and months; what a program used beside the gateway counts once it has been told.

Source: the platform's contract, 3.1 and 3.2.
"""

import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.evidence import Record
from tensorfusion.gateway.faults import Fault, invalid
from tensorfusion.gateway.handling import Inquiry, Pace, missing, page_of
from tensorfusion.gateway.job import MOST_TOLD
from tensorfusion.gateway.keys.record import KeyRecord, parse_money
from tensorfusion.gateway.pages import Page
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.usage.pages import no_store, unanswered
from tensorfusion.gateway.usage.questions import Period, Spent, View, spent, view_of
from tensorfusion.gateway.usage.store import RequestStore
from tensorfusion.gateway.usage.sums import AGE, HOUR
from tensorfusion.policy.routing.money import PICO_PER_MICRO, format_usd
from tensorfusion.timeseries.errors import DatabaseError

BUDGET: Final = b"/tokens/budget"
REPORT: Final = b"/tokens/usage"
REPORTS_AT_ONCE: Final = 200
REPORTS_PER_SECOND: Final = 20
"""Of a namespace, in each worker: they wait in one queue with the records of all."""
API: Final = "reported"
"""In the place of an API, in records of what went around the gateway."""
_FIELDS: Final = (
    "key",
    "model",
    "provider",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "timestamp",
    "request_id",
    "user",
)
_LONGEST: Final = 256
_MOST_COST: Final = 1 << 62
_EARLIEST: Final = timedelta(microseconds=(AGE - HOUR) // 1000)
"""An hour is added up once, when it is a day old: what is told later would be missing in bills."""
_LATEST: Final = timedelta(minutes=5)
_NS: Final = 1_000_000_000
_ID: Final = re.compile(r"[!-~]{1,128}")
Json = dict[str, Any]  # Any: JSON


class TokenPages:
    """``store`` is None where none is configured; ``key_of`` knows the keys in force."""

    def __init__(
        self,
        store: RequestStore | None,
        *,
        key_of: Callable[[str], KeyRecord | None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._key_of = key_of
        self._now = clock.now
        self._pace = Pace(clock, at_once=REPORTS_AT_ONCE, per_second=REPORTS_PER_SECOND, what="tells of usage")

    async def budget(self, asked: Inquiry) -> Page:
        """``/tokens/budget/{key}``. Raises Fault, KeyRefused."""
        if asked.method not in ("GET", "HEAD"):
            raise asked.refuse_method("GET")
        record = self._known("/".join(asked.below), view_of(asked.key), asked.key)
        store, now = self._kept(), self._now()
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        month = day.replace(day=1)
        view = View(record.namespace, record.id)
        try:
            today = await spent(store.reader, view, Period(_ns(day), _ns(now)), now=_ns(now))
            so_far = await spent(store.reader, view, Period(_ns(month), _ns(now)), now=_ns(now))
        except DatabaseError as error:
            raise unanswered(error) from error
        next_month = (month + timedelta(days=32)).replace(day=1)
        return page_of(
            {
                "object": "budget",
                "key": record.id,
                "currency": "USD",
                "enforced": False,
                "daily": _left(record.budget.daily, today, day + timedelta(days=1)),
                "monthly": _left(record.budget.monthly, so_far, next_month),
            }
        )

    async def report(self, asked: Inquiry) -> Page:
        """``/tokens/usage``. Raises Fault, KeyRefused."""
        if asked.method != "POST" or asked.below:
            raise asked.refuse_method("POST")
        reporter = asked.administrator()
        document = asked.json()
        for name in document:
            if name not in _FIELDS:
                raise invalid(f"there is no field {name[:64]!r}: known are {', '.join(_FIELDS)}", param=name[:64])
        record = self._known(_word(document, "key"), view_of(reporter), reporter)
        store = self._kept()
        found = self._record(document, record)
        self._pace.take(record.namespace)
        if not store.offer(found):
            raise Fault(
                503,
                "internal_error",
                "the store of records takes nothing more now: tell it again later",
                code="metrics_unavailable",
                fields=((b"Retry-After", b"5"),),
            )
        told = {"object": "usage_report", "id": found.id, "key": record.id, "timestamp": found.timestamp}
        cost = format_usd(found.cost_microusd * PICO_PER_MICRO)
        tokens = {"prompt_tokens": found.prompt_tokens, "completion_tokens": found.completion_tokens}
        return page_of({**told, **tokens, "cost": cost}, 202)

    def _known(self, name: str, view: View, asks: Key) -> KeyRecord:
        """A key that the view holds, by its name. Raises Fault, KeyRefused."""
        key_id = name if "/" in name else f"{asks.namespace}/{name}"
        view.of_key(key_id)
        record = self._key_of(key_id)
        if record is None:
            raise missing("the key", code="key_not_found")
        return record

    def _kept(self) -> RequestStore:
        if self._store is None:
            raise no_store()
        return self._store

    def _record(self, document: Mapping[str, Any], key: KeyRecord) -> Record:
        """Raises Fault."""
        request_id = document.get("request_id", f"rep-{random.getrandbits(96):024x}")
        if not isinstance(request_id, str) or not _ID.fullmatch(request_id):
            raise invalid("request_id: wanted 1 to 128 characters of ASCII without spaces", param="request_id")
        return Record(
            id=request_id,
            request_id=request_id,
            timestamp=self._moment(document),
            api=API,
            status=200,
            latency_ms=0.0,
            overhead_ms=0.0,
            model=_word(document, "model"),
            provider=_word(document, "provider") if "provider" in document else "",
            prompt_tokens=_tokens(document, "prompt_tokens"),
            completion_tokens=_tokens(document, "completion_tokens"),
            cost_microusd=_cost(document),
            key_id=key.id,
            namespace=key.namespace,
            user=_word(document, "user") if "user" in document else key.user,
        )

    def _moment(self, document: Mapping[str, Any]) -> float:
        """Unix seconds."""
        now = self._now()
        least, most = (now - _EARLIEST).timestamp(), (now + _LATEST).timestamp()
        found = document.get("timestamp", now.timestamp())
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found <= most:
            raise invalid(
                "timestamp: wanted Unix seconds of the last 23 hours, found something else", param="timestamp"
            )
        return round(float(found), 3)


def _left(limit: int | None, used: Spent, resets: datetime) -> Json:
    """``limit`` in micro-dollars."""
    remaining = None if limit is None else _usd(max(limit - used.cost, 0))
    return {
        "limit": None if limit is None else _usd(limit),
        "used": _usd(used.cost),
        "remaining": remaining,
        "exceeded": limit is not None and used.cost > limit,
        "tokens": used.tokens,
        "requests": used.requests,
        "resets": timestamp(resets),
    }


def _usd(micro: int) -> str:
    return format_usd(micro * PICO_PER_MICRO)


def _ns(moment: datetime) -> int:
    """Since 1970."""
    whole = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (whole.days * 86_400 + whole.seconds) * _NS + whole.microseconds * 1000


def _word(document: Mapping[str, Any], field: str) -> str:
    found = document.get(field)
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST or not found.isprintable():
        raise invalid(
            f"{field}: wanted text of 1 to {_LONGEST} printable characters, found something else", param=field
        )
    return found


def _tokens(document: Mapping[str, Any], field: str) -> int:
    found = document.get(field, 0)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_TOLD:
        raise invalid(f"{field}: wanted a whole number from 0 to {MOST_TOLD}, found something else", param=field)
    return found


def _cost(document: Mapping[str, Any]) -> int:
    """Micro-dollars."""
    found = document.get("cost", "0")
    try:
        micro = parse_money(found, "cost") if isinstance(found, str) else None
    except ConfigError as error:
        raise invalid(str(error), param="cost") from error
    if micro is None or micro > _MOST_COST:
        raise invalid('cost: wanted dollars as text, such as "0.0125", found something else', param="cost")
    return micro
