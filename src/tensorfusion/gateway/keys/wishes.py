"""What somebody wants a key to be, as JSON: read strictly, checked whole, and never with a hash in it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.keys.making import end_of
from tensorfusion.gateway.keys.record import parse_money
from tensorfusion.model.llm_key import KeyBudget, KeyScope
from tensorfusion.model.llm_route import RateLimit
from tensorfusion.model.rules import Part, Rules
from tensorfusion.model.strict import convert

Json = dict[str, Any]  # Any: JSON

_MOST_GLOBS: Final = 256
_MOST_WORDS: Final = 64
_LONGEST: Final = 256
_MOST_BYTES: Final = 8 << 10
_MOST: Final = (1 << 31) - 1
_MOST_TOKENS: Final = (1 << 53) - 1


class KeyWish(Part, frozen=True):
    """The fields of a key that its maker says."""

    user: Annotated[str, Rules("Whose it is; the name of the key where unset.")] = ""
    scopes: Annotated[tuple[KeyScope, ...], Rules("What it is good for.")] = (KeyScope.INFER,)
    models: Annotated[tuple[str, ...], Rules("Models it may ask, with * and ?.")] = ()
    routes: Annotated[tuple[str, ...], Rules("Routes it may take, NAME or NAMESPACE/NAME, with * and ?.")] = ()
    rate_limit: Annotated[RateLimit | None, Rules("How much it may ask.")] = msgspec.field(
        default=None, name="rateLimit"
    )
    budget: Annotated[KeyBudget | None, Rules("What it may cost.")] = None
    expires_at: Annotated[str, Rules("When it ends: a time, or 90d.")] = msgspec.field(default="", name="expiresAt")
    disabled: Annotated[bool, Rules("Refused as if it did not exist.")] = False
    metadata: Annotated[dict[str, str], Rules("Words for people and bills.")] = msgspec.field(default_factory=dict)
    labels: Annotated[dict[str, str], Rules("For routes that select callers by labels.")] = msgspec.field(
        default_factory=dict
    )


FIELDS: Final = tuple(field.encode_name for field in msgspec.structs.fields(KeyWish))


def read_wish(document: Mapping[str, Any], now: datetime) -> Json:
    """The fields that are said, as they are written of a key; what is null is not said.

    Raises:
        ConfigError: a field that there is not, or a value that cannot be.
    """
    given = _said(document)
    wish = convert(given, KeyWish, "")
    _check(wish)
    if "expiresAt" in given:
        given["expiresAt"] = end_of(wish.expires_at, now, "expiresAt")
    return given


def merged(key: Json, patch: Mapping[str, Any], now: datetime) -> Json:
    """A key with some fields changed: null takes one away, objects are merged. Source: RFC 7396.

    Raises:
        ConfigError: a field that there is not, or a value that cannot be.
    """
    wish = read_wish(patch, now)
    end = {"expiresAt": wish["expiresAt"]} if "expiresAt" in wish else {}
    changed = _merge({field: value for field, value in key.items() if field in FIELDS}, {**patch, **end})
    _check(convert(changed, KeyWish, ""))
    kept = {field: value for field, value in key.items() if field not in FIELDS}
    return {**kept, **{field: value for field, value in changed.items() if value not in ({}, [], "", False)}}


def _merge(old: Json, patch: Mapping[str, Any]) -> Json:
    found = dict(old)
    for field, value in patch.items():
        if value is None:
            found.pop(field, None)
        elif isinstance(value, dict):
            before = found.get(field)
            found[field] = _merge(before if isinstance(before, dict) else {}, value)
        else:
            found[field] = value
    return found


def _said(document: Mapping[str, Any]) -> Json:
    return {
        field: _said(value) if isinstance(value, dict) else value
        for field, value in document.items()
        if value is not None
    }


def _check(wish: KeyWish) -> None:
    """Raises ConfigError."""
    size = len(msgspec.json.encode(wish))
    if size > _MOST_BYTES:
        raise ConfigError(
            f"wanted a key of at most {_MOST_BYTES} bytes, found {size}: use * and ? in models and routes"
        )
    if not wish.scopes:
        raise ConfigError("scopes: wanted at least one, found none: disable a key that is to be good for nothing")
    _check_word("user", wish.user)
    for field, globs in (("models", wish.models), ("routes", wish.routes)):
        if len(globs) > _MOST_GLOBS:
            raise ConfigError(f"{field}: wanted at most {_MOST_GLOBS}, found {len(globs)}")
        for place, glob in enumerate(globs):
            if not glob:
                raise ConfigError(f"{field}[{place}]: wanted a name, with * and ? in it, found nothing")
            _check_word(f"{field}[{place}]", glob)
    for field, words in (("metadata", wish.metadata), ("labels", wish.labels)):
        if len(words) > _MOST_WORDS:
            raise ConfigError(f"{field}: wanted at most {_MOST_WORDS}, found {len(words)}")
        for name, word in words.items():
            _check_word(f"{field}: the name", name)
            _check_word(f"{field}.{name}", word)
    if wish.rate_limit is not None:
        limit = wish.rate_limit
        for field, amount, most in (
            ("requestsPerMinute", limit.requests_per_minute, _MOST),
            ("tokensPerMinute", limit.tokens_per_minute, _MOST_TOKENS),
            ("maxConcurrent", limit.max_concurrent, _MOST),
            ("burst", limit.burst, _MOST),
        ):
            if not 0 <= (amount or 0) <= most:
                raise ConfigError(f"rateLimit.{field}: wanted 0 to {most}, found {amount}")
    if wish.budget is not None:
        parse_money(wish.budget.daily, "budget.daily")
        parse_money(wish.budget.monthly, "budget.monthly")


def _check_word(at: str, word: str) -> None:
    if len(word) > _LONGEST or not word.isprintable():
        raise ConfigError(f"{at}: wanted at most {_LONGEST} printable characters, found others")
