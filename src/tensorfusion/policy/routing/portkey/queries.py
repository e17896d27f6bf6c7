"""Conditions over ``metadata.*``, ``params.*`` and ``url.pathname``, read once and asked for each request.

All parts of a query must hold. Two things differ from Portkey: there, a part beside ``$or``, ``$and`` or ``$regex``
counts only if it comes first; and here a ``$regex`` is an RE2 expression, so that none can take long.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.routing.patterns import LONGEST_MESSAGE, BoundedPattern
from tensorfusion.policy.routing.portkey.errors import InvalidConfig, kind_of

DEEPEST = 8
MOST_PARTS = 64
Json = Any  # Any: JSON of any shape


@dataclass(frozen=True, slots=True)
class Facts:
    """What conditions look at: ``x-portkey-metadata``, the body, and the path of one request."""

    metadata: Mapping[str, Json] = field(default_factory=dict)
    params: Mapping[str, Json] = field(default_factory=dict)
    pathname: str = ""


Query = Callable[[Facts], bool]
_Test = Callable[[Json], bool]
_ABSENT = None


def read_query(found: Json, path: str, *, depth: int = 0) -> Query:
    """One query, ready to be asked.

    Raises:
        InvalidConfig: it is none; the error names the place.
    """
    if depth > DEEPEST:
        raise InvalidConfig(path, f"wanted conditions at most {DEEPEST} deep in each other")
    if not isinstance(found, dict) or not 1 <= len(found) <= MOST_PARTS:
        raise InvalidConfig(path, f"wanted an object with 1 to {MOST_PARTS} conditions, found {kind_of(found)}")
    parts = []
    for key, wanted in found.items():
        where = f"{path}.{key}"
        if key in ("$and", "$or"):
            parts.append(_logical(key, wanted, where, depth))
        elif key.startswith("$"):
            raise InvalidConfig(
                where, "wanted $and, $or, or what to look at: metadata.NAME, params.NAME or url.pathname"
            )
        else:
            parts.append(_about(_subject(key, where), _tests(wanted, where)))
    return _all(parts)


def _logical(key: str, wanted: Json, path: str, depth: int) -> Query:
    if not isinstance(wanted, list) or not 1 <= len(wanted) <= MOST_PARTS:
        raise InvalidConfig(path, f"wanted a list of 1 to {MOST_PARTS} queries, found {kind_of(wanted)}")
    queries = [read_query(one, f"{path}[{place}]", depth=depth + 1) for place, one in enumerate(wanted)]
    if key == "$and":
        return _all(queries)
    return lambda facts: any(query(facts) for query in queries)


def _all(queries: list[Query]) -> Query:
    return queries[0] if len(queries) == 1 else lambda facts: all(query(facts) for query in queries)


def _about(subject: Callable[[Facts], Json], test: _Test) -> Query:
    return lambda facts: test(subject(facts))


def _subject(key: str, path: str) -> Callable[[Facts], Json]:
    if key == "url.pathname":
        return lambda facts: facts.pathname
    where, _, rest = key.partition(".")
    names = rest.split(".")
    if where == "metadata" and rest:
        return lambda facts: facts.metadata.get(rest)
    if where == "params" and all(names):
        return lambda facts: _at(facts.params, names)
    raise InvalidConfig(path, "wanted metadata.NAME, params.NAME or url.pathname")


def _at(found: Json, names: list[str]) -> Json:
    for name in names:
        if not isinstance(found, Mapping):
            return _ABSENT
        found = found.get(name)
    return found


def _tests(wanted: Json, path: str) -> _Test:
    if not isinstance(wanted, dict):
        return _equal(wanted)
    if not wanted:
        raise InvalidConfig(path, "wanted an operator such as $eq, found none")
    tests = [_operator(name, value, f"{path}.{name}") for name, value in wanted.items()]
    return lambda found: all(test(found) for test in tests)


def _operator(name: str, wanted: Json, path: str) -> _Test:
    match name:
        case "$eq":
            return _equal(wanted)
        case "$ne":
            equal = _equal(wanted)
            return lambda found: not equal(found)
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _compare(name, wanted, path)
        case "$in" | "$nin":
            if not isinstance(wanted, list):
                raise InvalidConfig(path, f"wanted a list, found {kind_of(wanted)}")
            tests = [_equal(one) for one in wanted]
            among = name == "$in"
            return lambda found: any(test(found) for test in tests) == among
        case "$regex":
            return _matches(wanted, path)
        case _:
            raise InvalidConfig(path, "wanted one of $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $regex")


def _equal(wanted: Json) -> _Test:
    """Of the same JSON type and value: ``true`` is not 1."""
    return lambda found: isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _compare(name: str, wanted: Json, path: str) -> _Test:
    bound = _number(wanted)
    if bound is None:
        raise InvalidConfig(path, f"wanted a number, found {kind_of(wanted)}")
    least = bound

    def test(found: Json) -> bool:
        number = _number(found)
        if number is None:
            return False
        if name == "$gt":
            return number > least
        if name == "$gte":
            return number >= least
        return number < least if name == "$lt" else number <= least

    return test


def _number(value: Json) -> float | None:
    """A number, also one in a string: metadata holds strings only."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return None if isnan(found) else found


def _matches(wanted: Json, path: str) -> _Test:
    if not isinstance(wanted, str):
        raise InvalidConfig(path, f"wanted a regular expression, found {kind_of(wanted)}")
    try:
        pattern = BoundedPattern(wanted, LONGEST_MESSAGE)
    except InvalidRequest as error:
        raise InvalidConfig(path, str(error)) from error
    return lambda found: isinstance(found, str) and pattern.found_in(found)
