"""A new key, and a new text for one: what is written of each, whoever asks for it and wherever it is kept."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tensorfusion.clock import timestamp
from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.gateway.keys.record import parse_time
from tensorfusion.gateway.keys.secret import Secret
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.llm_key import MOST_PREVIOUS, KeyScope

Json = dict[str, Any]  # Any: JSON
OVERLAP: Final = "24h"
"""How long a key that was replaced stays good beside the new one, unless somebody says otherwise."""


def made(fields: Mapping[str, Any], secret: Secret, now: datetime) -> Json:
    """A new key as it is written: ``fields`` are its name and those of its spec; what is empty is left out."""
    key = {
        "hash": secret.digest().hex(),
        "prefix": secret.shown,
        "scopes": [KeyScope.INFER.value],
        "createdAt": timestamp(now),
    }
    given = {field: value for field, value in fields.items() if value}
    return {"name": given.pop("name"), **key, **given}


def rotated(key: Json, secret: Secret, now: datetime, until: str) -> Json:
    """A key with a new text; the one before is good until then, or with an empty ``until`` not at all.

    Raises:
        ConfigError: its text is kept elsewhere, or as many as there can be are good beside it.
    """
    if "hash" not in key:
        raise ConfigError(f"key {id_of(key)}: its text lies in keyFrom: change it there")
    still_good = [one for one in key.get("previous", ()) if parse_time(str(one["until"]), "previous") > now]
    if until:
        still_good.insert(0, {"hash": key["hash"], "until": until, "prefix": key.get("prefix", "")})
    if len(still_good) > MOST_PREVIOUS:
        raise ConfigError(
            f"key {id_of(key)}: {MOST_PREVIOUS} earlier keys are good beside it, the most there can be: end them "
            f"with `tensorfusion gateway keys revoke {key['name']} --previous`"
        )
    changed = {**key, "hash": secret.digest().hex(), "prefix": secret.shown, "previous": still_good}
    return {field: value for field, value in changed.items() if field != "previous" or value}


def end_of(text: str, now: datetime, at: str) -> str:
    """A duration from now on, or a moment, as RFC 3339; ``at`` is how messages name the place.

    Raises:
        ConfigError: neither, or in the past.
    """
    try:
        end = now + timedelta(microseconds=parse_duration(text) // 1000)
    except (InvalidRequest, OverflowError):
        end = parse_time(text, at)
    if end <= now:
        raise ConfigError(f"{at}: wanted a moment in the future, found {text[:64]!r}")
    return timestamp(end)


def id_of(key: Json) -> str:
    """``namespace/name``."""
    return f"{key['namespace']}/{key['name']}"
