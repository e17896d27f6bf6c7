"""What the rules of a definition may cost: each one for all values at its place, and all of them together.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation.
"""

from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import FORBIDDEN, forbidden
from tensorfusion.model.meta import Raw

RULE_LIMIT = 10_000_000
DEFINITION_LIMIT = 100_000_000
# From this part of the limit on a rule is named among those to blame, of which the most expensive are listed.
_NAMED_FROM = DEFINITION_LIMIT // 100
_NAMED = 4
_LARGEST = (1 << 64) - 1
_BLAMED = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


class RuleCosts:
    """The costs of one schema's rules. Single rules of a schema that stays as it was are not refused."""

    def __init__(self, *, unchanged: bool) -> None:
        self._unchanged = unchanged
        self._total = 0
        self._named: list[tuple[int, Path]] = []

    def add(self, what: str, cost: int, path: Path, problems: list[Problem]) -> None:
        """Count what one expression may cost."""
        if cost > RULE_LIMIT and not self._unchanged:
            text = _exceeded(f"estimated {what} cost", cost, RULE_LIMIT)
            problems.append(Problem(path, forbidden(text), FORBIDDEN))
        self._total = min(self._total + cost, _LARGEST)
        if cost >= _NAMED_FROM:
            self._named.append((cost, path))

    def check_total(self, path: Path, problems: list[Problem]) -> None:
        if self._total <= DEFINITION_LIMIT:
            return
        dearest = sorted(self._named, key=lambda named: -named[0])[:_NAMED]
        problems += [Problem(place, forbidden(_BLAMED), FORBIDDEN) for _, place in dearest]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        problems.append(Problem(path, forbidden(_exceeded(what, self._total, DEFINITION_LIMIT)), FORBIDDEN))


def for_all(cost: int, copies: int) -> int:
    """What a rule costs for so many values at its place."""
    return min(cost * copies, _LARGEST)


def copies_below(schema: Raw, copies: int | None) -> int | None:
    """How many values there can be of what lies in a list, map or object of which there are ``copies``.

    None: the schema sets no limit.
    """
    if copies is None:
        return None
    kind = schema.get("type")
    limit: int | None = 1
    if kind == "object" and schema.get("additionalProperties") is not None:
        limit = schema.get("maxProperties")
    elif kind == "array":
        limit = schema.get("maxItems")
    return None if limit is None else min(copies * max(limit, 0), _LARGEST)


def _exceeded(what: str, cost: int, limit: int) -> str:
    times = cost / limit
    factor = "more than 100x" if times > 100 else f"{times:.6f}x" if times < 1.5 else f"{times:.1f}x"
    return f"{what} exceeds budget by factor of {factor} {_ADVICE}"
