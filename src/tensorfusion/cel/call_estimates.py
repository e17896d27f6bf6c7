"""What calls cost at least and at most beyond their arguments, and the sizes of their results.

Apart from the walk, because it is a table: one entry for each function whose cost is not 1. The figures decide which
definitions a cluster takes, so they are those of a real server where it errs, too.

Source: cel-go checker/cost.go, ext/lists.go, ext/sets.go; apiserver pkg/cel/library/cost.go.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.cel.declarations import Overload
from tensorfusion.cel.macros import SORT_BY_KEYS
from tensorfusion.cel.ranges import LARGEST, ONE, UNKNOWN, Range, exactly
from tensorfusion.cel.syntax import Literal, Node
from tensorfusion.cel.types import Kind, Type

_LETTER, _PATTERN_LETTER = 0.1, 0.25
# The longest pattern of a named format.
_FORMAT_PATTERN = 128
_LIST_COST = 11
# Bytes of an address.
_ADDRESS = Range(4, 16)
_TEXTS = frozenset({Kind.STRING, Kind.BYTES})


@dataclass(frozen=True, slots=True)
class Operand:
    """An argument, or what a function is called on."""

    node: Node
    type: Type
    path: Sequence[str]
    size: Range | None

    @property
    def known(self) -> Range:
        return UNKNOWN if self.size is None else self.size


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call costs, and the size of what it gives; None: not known by the call alone."""

    cost: Range
    size: Range | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """One overload of a call with its arguments."""

    function: str
    overload: Overload
    target: Operand | None
    arguments: Sequence[Operand]
    sizes_at: Callable[[Sequence[str]], Range | None]

    @property
    def parameters(self) -> Sequence[Kind]:
        return [one.kind for one in self.overload.parameters]

    def elements(self, items: Operand) -> Range:
        """The sizes of what a list holds."""
        found = self.sizes_at([*items.path, "@items"]) if items.path else None
        return UNKNOWN if found is None else found


# None: the overload costs 1.
Estimate = Callable[[Invocation], Outcome | None]


def outcome_of(invocation: Invocation) -> Outcome:
    estimate = _ESTIMATES.get(invocation.function)
    found = estimate(invocation) if estimate else None
    return Outcome(ONE) if found is None else found


def _target(invocation: Invocation) -> Operand:
    """What a member is called on; the first argument of a plain function."""
    return invocation.target or invocation.arguments[0]


def _once(invocation: Invocation) -> Outcome:
    return Outcome(_target(invocation).known.scaled(_LETTER))


def _once_of_same_size(invocation: Invocation) -> Outcome:
    size = _target(invocation).known
    return Outcome(size.scaled(_LETTER), size)


def _twice(invocation: Invocation) -> Outcome:
    return Outcome(_target(invocation).known.scaled(2 * _LETTER))


def _walk(invocation: Invocation) -> Outcome | None:
    """Every element once; texts letter by letter."""
    if invocation.target is None:
        return None
    size = invocation.target.known
    if not invocation.target.type.parameters:
        return Outcome(size.scaled(_LETTER))
    each = ONE
    if invocation.target.type.parameters[0].kind in _TEXTS:
        each = each.plus(invocation.elements(invocation.target).scaled(_LETTER))
    return Outcome(size.times(each))


def _replace(invocation: Invocation) -> Outcome:
    size, (old, new) = _target(invocation).known, (one.known for one in invocation.arguments[:2])
    most_times, most_kept = _replaced(size.most, old.least, grows=new.most > old.least)
    least_times, least_kept = _replaced(size.least, old.most, grows=old.most > new.least)
    result = Range(least_times, most_times).times(new).plus(Range(least_kept, most_kept))
    return Outcome(size.scaled(2 * _LETTER), result)


def _replaced(size: int, old: int, *, grows: bool) -> tuple[int, int]:
    """How often something of size ``old`` is replaced, and how much of a text stays."""
    if old == 0:
        return min(size + 1, LARGEST), size
    if not grows:
        return 0, size
    times = math.ceil(float(size) / float(old))
    # What the real server's machines make of a number that is too large.
    return (times if times <= LARGEST else 1 << 63), 0


def _split(invocation: Invocation) -> Outcome:
    size = _target(invocation).known
    most = size.most
    if len(invocation.arguments) > 1:
        limit = _whole_number(invocation.arguments[1])
        most = most if limit is None else limit & LARGEST
    return Outcome(size.scaled(2 * _LETTER), Range(0, most))


def _whole_number(operand: Operand) -> int | None:
    """An int that is written in the expression itself."""
    node = operand.node
    return node.value if isinstance(node, Literal) and type(node.value) is int else None


def _join(invocation: Invocation) -> Outcome:
    target = _target(invocation)
    items = target.known
    size = items.times(invocation.elements(target)) if target.type.parameters else exactly(0)
    if invocation.arguments:
        between = Range(max(items.least - 1, 0), max(items.most - 1, 0))
        size = size.plus(invocation.arguments[0].known.times(between))
    return Outcome(size.scaled(_LETTER), size)


def _find(invocation: Invocation) -> Outcome:
    size = _target(invocation).known
    return Outcome(_searching(size, invocation.arguments[0].known), Range(0, size.most))


def _matches(invocation: Invocation) -> Outcome | None:
    if invocation.target is None:
        return None
    return Outcome(_searching(invocation.target.known, invocation.arguments[0].known))


def _searching(text: Range, pattern: Range) -> Range:
    return text.plus(ONE).scaled(_LETTER).times(pattern.scaled(_PATTERN_LETTER))


def _contains(invocation: Invocation) -> Outcome:
    text, part = _target(invocation).known, invocation.arguments[0].known
    return Outcome(text.scaled(_LETTER).times(part.scaled(_LETTER)))


def _argument_once(invocation: Invocation) -> Outcome:
    return Outcome(invocation.arguments[0].known.scaled(_LETTER))


def _address(invocation: Invocation) -> Outcome | None:
    return None if invocation.target else _once(invocation)


def _contains_address(invocation: Invocation) -> Outcome:
    return Outcome(_ADDRESS.plus(_ADDRESS).scaled(_LETTER).plus(_parsed(invocation)))


def _contains_block(invocation: Invocation) -> Outcome:
    masked = _ADDRESS.scaled(_LETTER).plus(ONE)
    return Outcome(_ADDRESS.plus(_ADDRESS).scaled(_LETTER).plus(masked).plus(_parsed(invocation)))


def _parsed(invocation: Invocation) -> Range:
    """The cost of reading an address that is given as a text."""
    written = invocation.parameters[1] is Kind.STRING
    return invocation.arguments[0].known.scaled(_LETTER) if written else exactly(0)


def _validate(invocation: Invocation) -> Outcome:
    text = invocation.arguments[0].known
    return Outcome(text.scaled(_LETTER).scaled(_FORMAT_PATTERN * _PATTERN_LETTER))


def _to_bytes(invocation: Invocation) -> Outcome | None:
    if invocation.parameters[0] is not Kind.STRING:
        return None
    size = invocation.arguments[0].known
    return Outcome(size.scaled(_LETTER), Range(size.least, (size.most * 4) & LARGEST))


def _to_string(invocation: Invocation) -> Outcome | None:
    if invocation.parameters[0] is not Kind.BYTES:
        return None
    size = invocation.arguments[0].known
    return Outcome(size.scaled(_LETTER), Range(size.least // 4, size.most))


def _quote(invocation: Invocation) -> Outcome:
    size = invocation.arguments[0].known
    return Outcome(size.scaled(_LETTER), Range((size.least + 2) & LARGEST, (size.most * 2 + 2) & LARGEST))


def _among(invocation: Invocation) -> Outcome | None:
    return Outcome(invocation.arguments[1].known) if invocation.parameters[1] is Kind.LIST else None


def _added(invocation: Invocation) -> Outcome | None:
    kind = invocation.parameters[0]
    if kind not in _TEXTS and kind is not Kind.LIST:
        return None
    size = invocation.arguments[0].known.plus(invocation.arguments[1].known)
    return Outcome(ONE if kind is Kind.LIST else size.scaled(_LETTER), size)


def _ordered(invocation: Invocation) -> Outcome | None:
    return _compared(invocation) if invocation.parameters[0] in _TEXTS else None


def _compared(invocation: Invocation) -> Outcome:
    shorter = min(one.known.most for one in invocation.arguments)
    return Outcome(Range(min(shorter, 1), shorter).scaled(_LETTER))


def _equal(invocation: Invocation) -> Outcome:
    left, right = invocation.arguments
    if left.type == right.type and left.type.kind is Kind.OPAQUE:
        longest = _LONGEST_COMPARED.get(left.type.name)
        if left.type.name == "kubernetes.URL" and right.size is not None:
            longest = right.size.most
        if longest is not None:
            return Outcome(Range(1, longest).scaled(_LETTER))
    return _compared(invocation)


# Values of these types compare at the cost of so many letters.
_LONGEST_COMPARED = {
    "net.IP": 1,
    "net.CIDR": 1,
    "kubernetes.Quantity": 1,
    "kubernetes.Semver": 1,
    "kubernetes.NamedFormat": 64,
    "kubernetes.URL": 1,
}


def _sets(factor: int) -> Estimate:
    def estimate(invocation: Invocation) -> Outcome:
        one, other = (operand.known for operand in invocation.arguments)
        return Outcome(one.times(other).scaled(factor).plus(ONE))

    return estimate


def _made(size: Range, factor: float = 1) -> Outcome:
    return Outcome(size.scaled(factor).plus(exactly(_LIST_COST)), size)


def _natural_number(operand: Operand, otherwise: int) -> int:
    found = _whole_number(operand)
    return otherwise if found is None else max(found, 0)


def _slice(invocation: Invocation) -> Outcome:
    start, end = invocation.arguments
    length = _natural_number(end, _target(invocation).known.most) - _natural_number(start, 0)
    return _made(exactly(length & LARGEST))


def _flatten(invocation: Invocation) -> Outcome:
    depth = _natural_number(invocation.arguments[0], LARGEST) if invocation.arguments else 1
    return _made(_target(invocation).known, depth)


def _distinct(invocation: Invocation) -> Outcome:
    size = _target(invocation).known
    return _made(size.times(size), 2)


def _sorted(invocation: Invocation) -> Outcome:
    """Sorting by a list of keys, or else by the elements themselves."""
    keys = invocation.arguments[0].known if invocation.arguments else _target(invocation).known
    (element,) = invocation.overload.parameters[-1].parameters
    return _made(keys.times(keys), 2 + _LETTER if element.kind in _TEXTS else 2)


def _reverse(invocation: Invocation) -> Outcome | None:
    return _made(_target(invocation).known) if invocation.parameters[0] is Kind.LIST else None


def _range(invocation: Invocation) -> Outcome:
    return _made(exactly(_natural_number(invocation.arguments[0], LARGEST)))


_ESTIMATES: Mapping[str, Estimate] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _walk),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim"), _once_of_same_size),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver", "format"), _once),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _ordered),
    **dict.fromkeys(("startsWith", "endsWith"), _argument_once),
    **dict.fromkeys(("find", "findAll"), _find),
    **dict.fromkeys(("sort", SORT_BY_KEYS), _sorted),
    "_==_": _equal,
    "_!=_": _compared,
    "_+_": _added,
    "@in": _among,
    "bytes": _to_bytes,
    "string": _to_string,
    "strings.quote": _quote,
    "contains": _contains,
    "matches": _matches,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "ip": _address,
    "ip.isCanonical": _twice,
    "containsIP": _contains_address,
    "containsCIDR": _contains_block,
    "validate": _validate,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
    "slice": _slice,
    "flatten": _flatten,
    "distinct": _distinct,
    "reverse": _reverse,
    "lists.range": _range,
}
