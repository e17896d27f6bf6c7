"""Label and field selectors of a query, compiled once to a predicate on stored records.

Records carry their labels and their selectable fields beside the data, so that no object is decoded, unless it was
stored before its kind had such a field.

Source: apimachinery labels.Parse and fields.ParseSelector.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from tensorfusion.embedded.schema.names import label_value, qualified_name
from tensorfusion.embedded.store import Record
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw

Predicate = Callable[[Record], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|<|>|[^\s=!,()<>]+)")
_IDENTIFIER = re.compile(r"[^=!,()<>]+")
_BAD_VALUE = re.compile(r"(?:[^\\=]|\\[\\,=])*(=|\\(?:[^\\,=]|$))")
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_LONGEST = 16_384
UNKNOWN_FIELD = "field label not supported: {}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector; ``operator`` is one of ``in``, ``notin``, ``exists``, ``!``, ``gt``, ``lt``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and _compare(value, next(iter(self.values)), self.operator)


class LabelTerms:
    """A parsed label selector: all requirements hold."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: Sequence[Requirement]) -> None:
        self.requirements = tuple(requirements)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)


@lru_cache(maxsize=512)
def parse_labels(text: str) -> LabelTerms:
    """``a=b,c in (d,e),!f`` as terms.

    Raises:
        BadRequest: it does not parse; the message names what was found and what was expected.
    """
    if len(text) > _LONGEST:
        raise BadRequest(f"labelSelector: is {len(text)} characters long; at most {_LONGEST} are accepted")
    tokens = _tokens(text)
    requirements: list[Requirement] = []
    at = 0
    while at < len(tokens):
        if tokens[at] != "!" and not _IDENTIFIER.fullmatch(tokens[at]):
            raise BadRequest(f"found '{tokens[at]}', expected: !, identifier, or 'end of string'")
        requirement, at = _requirement(tokens, at)
        requirements.append(requirement)
        if at < len(tokens):
            if tokens[at] != ",":
                raise BadRequest(f"found '{tokens[at]}', expected: ',' or 'end of string'")
            at += 1
            if at == len(tokens) or tokens[at] == ",":
                raise BadRequest(f"found '{tokens[at] if at < len(tokens) else ''}', expected: identifier after ','")
    return LabelTerms(requirements)


def from_object(selector: Raw | None) -> LabelTerms:
    """A metav1.LabelSelector object as terms; None and ``{}`` match everything."""
    if not selector:
        return LabelTerms(())
    requirements = [
        Requirement(key, "in", frozenset((value,))) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    requirements += [
        Requirement(term["key"], words[term["operator"]], frozenset(term.get("values") or ()))
        for term in selector.get("matchExpressions") or ()
    ]
    return LabelTerms(requirements)


@lru_cache(maxsize=512)
def parse_fields(text: str) -> tuple[tuple[str, str, bool], ...]:
    r"""``a=b,c!=d`` as (field, value, wanted equal) terms; ``\`` escapes ``,`` ``=`` and itself in values.

    Raises:
        BadRequest: a term has no operator or a bad escape.
    """
    if len(text) > _LONGEST:
        raise BadRequest(f"fieldSelector: is {len(text)} characters long; at most {_LONGEST} are accepted")
    terms = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        found = re.search(r"!=|==|=", part)
        if found is None:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{part}'")
        term = (part[: found.start()], _unescaped(part[found.end() :]), found.group() != "!=")
        if term[:2] != ("", ""):
            terms.append(term)
    return tuple(terms)


def _unescaped(value: str) -> str:
    bad = _BAD_VALUE.match(value)
    if bad is not None and bad[1] == "=":
        raise BadRequest(f"invalid field selector: unescaped character in value: {ord('=')}")
    if bad is not None:
        raise BadRequest(f"invalid field selector: invalid escape sequence: {bad[1]}")
    return re.sub(r"\\([\\,=])", r"\1", value)


def predicate(
    labels: str,
    fields: str,
    known: frozenset[str],
    stored: Mapping[str, str] = MappingProxyType({}),
    unknown: str = UNKNOWN_FIELD,
    *,
    computed: Callable[[Record], Mapping[str, str]] = lambda _: {},
) -> Predicate | None:
    """A test for records, None when everything matches.

    ``known`` names the kind's selectable fields; ``stored`` maps those to the names in the records, where they differ.
    ``unknown`` says in the kind's own words that it does not know a field. ``computed`` gives the fields (as in the
    records) of a record that lacks one: it was stored before objects could be selected by it.

    Raises:
        BadRequest: a selector does not parse or names a field that cannot be selected by.
    """
    terms = parse_labels(labels) if labels else None
    tests = parse_fields(fields) if fields else ()
    for field, _, _ in tests:
        if field not in known:
            raise BadRequest(unknown.format(field))
    if stored:
        tests = tuple((stored.get(field, field), value, equal) for field, value, equal in tests)
    if terms is not None and not terms.requirements:
        terms = None
    if not tests:
        return None if terms is None else (lambda record: terms.matches(record.labels))

    def holds(record: Record) -> bool:
        if terms is not None and not terms.matches(record.labels):
            return False
        return all((_field(record, field, computed) == value) is equal for field, value, equal in tests)

    return holds


def _field(record: Record, field: str, computed: Callable[[Record], Mapping[str, str]]) -> str:
    if field == "metadata.name":
        return record.key.name
    if field == "metadata.namespace":
        return record.key.namespace
    value = record.fields.get(field)
    return computed(record).get(field, "") if value is None else value


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadRequest(f"unable to parse requirement: found '{text[at:]}', expected: identifier")
        tokens.append(match.group(1))
        at = match.end()
    return tokens


def _requirement(tokens: list[str], at: int) -> tuple[Requirement, int]:
    if tokens[at] == "!":
        return Requirement(_key(tokens, at + 1), "!"), at + 2
    key = _key(tokens, at)
    at += 1
    if at == len(tokens) or tokens[at] == ",":
        return Requirement(key, "exists"), at
    operator = tokens[at]
    if operator in ("=", "==", "!="):
        value, at = _value(tokens, at + 1, key)
        return Requirement(key, "notin" if operator == "!=" else "in", frozenset((value,))), at
    if operator in ("<", ">"):
        value, at = _value(tokens, at + 1, key)
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise BadRequest(
                f"unable to parse requirement: values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the "
                "value must be an integer"
            )
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset((value,))), at
    if operator in ("in", "notin"):
        values, at = _set(tokens, at + 1, key)
        return Requirement(key, operator, values), at
    raise BadRequest(f"unable to parse requirement: found '{operator}', expected: {_OPERATORS}")


def _key(tokens: list[str], at: int) -> str:
    found = tokens[at] if at < len(tokens) else ""
    if not _IDENTIFIER.fullmatch(found):
        raise BadRequest(f"unable to parse requirement: found '{found}', expected: identifier")
    wrong = qualified_name(found)
    if wrong:
        raise BadRequest(f'unable to parse requirement: <nil>: Invalid value: "{found}": {"; ".join(wrong)}')
    return found


def _value(tokens: list[str], at: int, key: str) -> tuple[str, int]:
    """The value of ``key`` at ``at``; a missing one is the empty string."""
    if at == len(tokens) or tokens[at] == ",":
        return "", at
    value = tokens[at]
    if value in ("(", ")", "=", "==", "!=", "!", "<", ">"):
        raise BadRequest(f"unable to parse requirement: found '{value}', expected: identifier")
    wrong = label_value(value)
    if wrong:
        raise BadRequest(f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": {"; ".join(wrong)}')
    return value, at + 1


def _set(tokens: list[str], at: int, key: str) -> tuple[frozenset[str], int]:
    if at == len(tokens) or tokens[at] != "(":
        found = tokens[at] if at < len(tokens) else ""
        raise BadRequest(f"unable to parse requirement: found '{found}' expected: '('")
    at += 1
    if at == len(tokens):
        raise BadRequest("unable to parse requirement: found '', expected: ',', ')' or identifier")
    if tokens[at] == ")":
        return frozenset({""}), at + 1
    values: set[str] = set()
    while True:
        here = tokens[at] if at < len(tokens) else ""
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if here == ",":
            if not values or following in (")", ","):
                values.add("")
            if following == ")":
                return frozenset(values), at + 2
            at += 2 if following == "," else 1  # two commas are one empty value, and want something behind them
        elif here in ("", ")"):
            raise BadRequest(f"unable to parse requirement: found '{here}', expected: ',', or identifier")
        else:
            value, at = _value(tokens, at, key)
            values.add(value)
            if following == ")":
                return frozenset(values), at + 1
            if following != ",":
                raise BadRequest(f"unable to parse requirement: found '{following}', expected: ',' or ')'")


def _compare(found: str, bound: str, operator: str) -> bool:
    if not re.fullmatch(r"-?[0-9]{1,18}", found):
        return False
    return int(found) > int(bound) if operator == "gt" else int(found) < int(bound)
