"""Searching with regular expressions: ``find`` and ``findAll``.

Source: apiserver pkg/cel/library/regex.go.
"""

import re
from collections.abc import Sequence

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Function, Library, Overload
from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.types import INT, STRING, list_of
from tensorfusion.cel.values import Value
from tensorfusion.re2.patterns import compile_pattern


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return compile_pattern(pattern)
    except re.error as error:
        raise EvaluationError(f"Illegal regex: {error}") from None


def _find(text: str, pattern: str) -> str:
    match = _compiled(pattern).search(text)
    return match.group() if match else ""


def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    """All matches in order, at most ``count`` of them unless it is negative.

    An empty match right behind another one is none.
    """
    compiled = _compiled(pattern)
    found: list[str] = []
    at, end = 0, -1
    while at <= len(text) and len(found) != count:
        match = compiled.search(text, at)
        if match is None:
            break
        if match.end() > at or match.start() != end:
            found.append(match.group())
        end = match.end()
        at = max(end, at + 1)
    return found


def _cost(arguments: Sequence[Value], _: Value) -> int:
    return costs.matching(costs.size_of(arguments[0]), costs.size_of(arguments[1]))


_STRINGS = list_of(STRING)

REGEX: Library = (
    Function("find", (Overload("string_find_string", (STRING, STRING), STRING, _find, member=True, cost=_cost),)),
    Function(
        "findAll",
        (
            Overload("string_find_all_string", (STRING, STRING), _STRINGS, _find_all, member=True, cost=_cost),
            Overload("string_find_all_string_int", (STRING, STRING, INT), _STRINGS, _find_all, member=True, cost=_cost),
        ),
    ),
)
