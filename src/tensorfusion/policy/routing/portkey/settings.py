"""The settings of a configuration and its targets: retries, statuses, weights, headers that are passed on, the cache.

Each is read by itself, whatever target it stands at, and raises InvalidConfig where it cannot be honoured.
"""

import re
from math import gcd

from tensorfusion.policy.routing.portkey.errors import InvalidConfig, kind_of
from tensorfusion.policy.routing.portkey.values import (
    Json,
    check_fields,
    object_of,
    plain,
    shown,
    text_of,
    under,
    whole_of,
)
from tensorfusion.policy.routing.route import Caching, RetryRules

MOST_ATTEMPTS = 5
_RETRIED = frozenset({429, 500, 502, 503, 504})
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
_WEIGHT_PARTS = 1_000_000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_NEVER_FORWARDED = frozenset(
    {"authorization", "api-key", "cookie", "host", "content-length", "transfer-encoding", "connection", "te", "upgrade"}
    | {"proxy-authorization", "trailer", "keep-alive", "x-api-key"}
)
_OURS = ("x-portkey-", "x-tf-")


def retry_of(found: Json, path: str) -> RetryRules:
    """When a target is asked again: also where no answer comes, if a status of 500 or above is among those stated."""
    rules = plain(object_of(found, path))
    check_fields(rules, path, ("attempts", "on_status_codes", "use_retry_after_header"))
    honours = rules.get("use_retry_after_header", False)
    if not isinstance(honours, bool):
        raise InvalidConfig(f"{path}.use_retry_after_header", f"wanted a boolean, found {kind_of(honours)}")
    statuses = statuses_of(rules.get("on_status_codes", []), f"{path}.on_status_codes") or _RETRIED
    no_answer = any(status >= 500 for status in statuses)
    return RetryRules(
        max_retries=whole_of(rules.get("attempts", 0), f"{path}.attempts", 0, MOST_ATTEMPTS),
        initial_delay=_FIRST_DELAY,
        max_delay=_LONGEST_DELAY,
        statuses=statuses,
        connect=no_answer,
        reset=no_answer,
        honours_retry_after=honours,
    )


def caching_of(found: Json, path: str) -> Caching:
    """For how long answers are kept, and how like a request must be; an hour where no time is stated."""
    rules = plain(object_of(found, path))
    check_fields(rules, path, ("mode", "max_age"))
    mode = rules.get("mode")
    if mode not in ("simple", "semantic"):
        raise InvalidConfig(f"{path}.mode", f"wanted simple or semantic, found {shown(mode)}")
    ttl = whole_of(rules["max_age"], f"{path}.max_age", 1, 31_536_000) if "max_age" in rules else 3600
    return Caching(ttl=float(ttl), threshold=1.0 if mode == "simple" else 0.95)


def headers_of(found: Json, path: str) -> tuple[str, ...]:
    """The names of headers that are passed on, in lower case."""
    if not isinstance(found, list):
        raise InvalidConfig(path, f"wanted a list of names, found {kind_of(found)}")
    names = []
    for at, one in enumerate(found):
        name = text_of(one, f"{path}[{at}]").lower()
        if not _HEADER.fullmatch(name) or name in _NEVER_FORWARDED or name.startswith(_OURS):
            raise InvalidConfig(f"{path}[{at}]", f"{name[:64]!r} is never passed on to a provider")
        names.append(name)
    return tuple(names)


def statuses_of(found: Json, path: str) -> frozenset[int]:
    """A list of HTTP statuses."""
    if not isinstance(found, list):
        raise InvalidConfig(path, f"wanted a list of HTTP statuses, found {kind_of(found)}")
    return frozenset(whole_of(one, f"{path}[{at}]", 100, 599) for at, one in enumerate(found))


def weights_of(objects: list[dict[str, Json]], path: str) -> list[int]:
    """Weights in whole parts, 1 where none is stated; what is not above 0 in sum is refused."""
    parts = []
    for at, one in enumerate(objects):
        weight = one.get("weight", 1)
        where = under(path, f"targets[{at}].weight")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1_000_000:
            raise InvalidConfig(where, f"wanted a number from 0 to 1000000, found {shown(weight)}")
        parts.append(round(weight * _WEIGHT_PARTS))
    if not any(parts):
        raise InvalidConfig(under(path, "targets"), "wanted a weight above 0, found none: nobody could be asked")
    common = gcd(*parts)
    return [part // common for part in parts]
