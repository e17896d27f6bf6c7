"""``format()``: a text with its clauses filled in.

A value alone is written as ``string()`` converts it; inside a list or map it is written as it would stand in an
expression. Numbers of ``%f`` and ``%e`` are written the English way, whatever the machine's language.

Source: cel-go ext/formatting.go, which version 2 of the strings extension formats with.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.moments import duration_text, timestamp_text
from tensorfusion.cel.numbers import double_text, fixed_text, scientific_text
from tensorfusion.cel.syntax import CreateList, CreateMap, Node
from tensorfusion.cel.texts import quoted, type_name
from tensorfusion.cel.types import Kind, Type
from tensorfusion.cel.values import LARGEST_INT, Duration, Timestamp, Uint, Value, keys_of, type_of_value

_PRECISION = re.compile(r"\.([0-9]*)")
# Wider than any text that is of use; the padding costs memory.
_WIDEST = 1_000_000
_DEFAULT = 6
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

_Write = Callable[[Value, int | None], str]


class _Clause:
    """What one letter after ``%`` does: the types it takes, the error for others, the text it makes."""

    def __init__(self, kinds: str, complaint: str, write: _Write) -> None:
        self.kinds = frozenset(map(Kind, kinds.split()))
        self.complaint = complaint
        self.write = write

    def check(self, found: Type) -> None:
        """Raises: EvaluationError for a type that the clause does not take."""
        if found.kind not in self.kinds:
            raise EvaluationError(f"error during formatting: {self.complaint}, was given {type_name(found)}")


def format_text(text: str, values: Sequence[Value]) -> str:
    """The text with the values in place of its clauses. Values that no clause asks for are ignored.

    Raises:
        EvaluationError: a clause is none, its value is missing, or of a type it does not take.
    """
    parts: list[str] = []
    for literal, place in clauses(text, len(values)):
        parts.append(literal)
        if place is not None:
            index, clause, precision = place
            value = values[index]
            if not _is_named_number(value, clause):
                clause.check(type_of_value(value))
            parts.append(clause.write(value, precision))
    return "".join(parts)


def check_format(text: str, arguments: Sequence[Node], type_of: Callable[[Node], Type]) -> None:
    """What can be said of a call with a literal text and a literal list before it is made.

    Raises:
        FormatProblem: the call would fail.
    """
    asked = 0
    try:
        for _, place in clauses(text, len(arguments), end_first=True):
            if place is not None:
                asked += 1
                index, clause, _ = place
                _check_argument(arguments[index], clause, type_of)
    except EvaluationError as error:
        raise FormatProblem(str(error), getattr(error, "node", None)) from None
    if len(arguments) > asked:
        raise FormatProblem(
            f"too many arguments supplied to string.format (expected {asked}, got {len(arguments)})", None
        )


class FormatProblem(EvaluationError):
    """A call of ``format()`` that is wrong as written. ``node`` is the argument at fault; None: the call itself."""

    def __init__(self, message: str, node: Node | None) -> None:
        super().__init__(message)
        self.node = node


def _check_argument(node: Node, clause: _Clause, type_of: Callable[[Node], Type]) -> None:
    found = type_of(node)
    by_name = clause.write in (_fixed, _scientific) and found.kind is Kind.STRING
    if not found.is_dynamic and not by_name:
        try:
            clause.check(found)
        except EvaluationError as error:
            raise FormatProblem(str(error), node) from None
    if clause.write is _string:
        for inner in _held(node):
            _check_argument(inner, clause, type_of)


def _held(node: Node) -> Iterator[Node]:
    if isinstance(node, CreateList):
        yield from node.elements
    elif isinstance(node, CreateMap):
        for entry in node.entries:
            yield entry.key
            yield entry.value


_Place = tuple[int, _Clause, int | None]


def clauses(text: str, count: int, *, end_first: bool = False) -> Iterator[tuple[str, _Place | None]]:
    """The literal parts of a text, each with the clause that follows it: its value's index and its precision.

    ``end_first``: of a last sign without a letter and without a value, the missing letter is what is reported.
    """
    index, at = 0, 0
    while True:
        sign = text.find("%", at)
        if sign < 0:
            yield text[at:], None
            return
        literal = text[at:sign]
        if text[sign + 1 : sign + 2] == "%":
            yield literal + "%", None
            at = sign + 2
            continue
        at_end = sign + 1 == len(text)
        if index >= count and not (at_end and end_first):
            raise EvaluationError(f"index {index} out of range")
        if at_end:
            raise EvaluationError("unexpected end of string")
        clause, precision, at = _clause(text, sign + 1)
        yield literal, (index, clause, precision)
        index += 1


def _clause(text: str, at: int) -> tuple[_Clause, int | None, int]:
    precision = None
    found = _PRECISION.match(text, at)
    if found:
        at = found.end()
        problem = "could not parse formatting clause: error while parsing precision: "
        if at == len(text):
            raise EvaluationError(problem + "could not find end of precision specifier")
        digits = found[1].lstrip("0")
        if not found[1] or len(digits) > 19 or int(digits or "0") > LARGEST_INT:
            why = "value out of range" if found[1] else "invalid syntax"
            raise EvaluationError(
                f"{problem}error while converting precision to integer: strconv.Atoi: parsing {quoted(found[1])}: {why}"
            )
        precision = int(digits or "0")
    clause = _CLAUSES.get(text[at])
    if clause is None:
        shown = chr(text[at].encode("utf-8", "surrogatepass")[0])
        raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{shown}"')
    return clause, precision, at + 1


def _string(value: Value, _: int | None = None) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is float:
        return double_text(value)
    if kind is bytes:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise EvaluationError(
                "error during formatting: could not convert argument "
                '"invalid UTF-8 in bytes, cannot convert to string" to string'
            ) from None
    if kind is Duration:
        return duration_text(value)
    if kind is Timestamp:
        return timestamp_text(value)
    return _inside(value)


def _inside(value: Value) -> str:
    """A value as it would stand in an expression."""
    kind = type(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_inside, value))}]"
    if isinstance(value, dict):
        return _map(value)
    if kind is str:
        return quoted(value)
    if kind is bytes:
        return "b" + quoted(_string(value))
    if kind is float:
        text = f"{value:.6f}"
        return text if text[-1].isdigit() else quoted(double_text(value))
    if kind is Duration:
        return f"duration({quoted(duration_text(value))})"
    if kind is Timestamp:
        return f"timestamp({quoted(timestamp_text(value))})"
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if kind is Type:
        return type_name(value)
    if kind in (int, Uint):
        return str(int(value))
    raise EvaluationError(f"error during formatting: no formatting function for {type_name(type_of_value(value))}")


def _map(value: Mapping[Value, Value]) -> str:
    entries: list[tuple[str, str]] = []
    for key, held in zip(keys_of(value), value.values(), strict=True):
        if type(key) is float:
            raise EvaluationError("error during formatting: no formatting function for map key of type double")
        entries.append((_inside(key), _inside(held)))
    entries.sort(key=lambda entry: entry[0])
    return "{" + ", ".join(f"{key}:{held}" for key, held in entries) + "}"


def _is_named_number(value: Value, clause: _Clause) -> bool:
    return type(value) is str and value in _NOT_FINITE and clause.write in (_fixed, _scientific)


def _fixed(value: Value, precision: int | None) -> str:
    # The digits after the point are counted in eight bits.
    return fixed_text(_number(value), _DEFAULT if precision is None else precision % 256)


def _scientific(value: Value, width: int | None) -> str:
    """The number behind the point of the clause is a width here, not a precision."""
    return scientific_text(_number(value)).rjust(min(_DEFAULT if width is None else width, _WIDEST))


def _number(value: Value) -> float:
    return _NOT_FINITE[value] if type(value) is str else float(value)


def _decimal(value: Value, _: int | None) -> str:
    return str(int(value))


def _hexadecimal(value: Value, _: int | None) -> str:
    if type(value) is str:
        return value.encode("utf-8", "surrogatepass").hex()
    return value.hex() if type(value) is bytes else f"{int(value):x}"


_CLAUSES = {
    "s": _Clause(
        "list map int uint double bool string timestamp bytes duration type null",
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
        "timestamps",
        _string,
    ),
    "d": _Clause("int uint", "decimal clause can only be used on integers", _decimal),
    "f": _Clause("double", "fixed-point clause can only be used on doubles", _fixed),
    "e": _Clause("double", "scientific clause can only be used on doubles", _scientific),
    "b": _Clause(
        "int uint bool",
        "only integers and bools can be formatted as binary",
        lambda value, _: f"{int(value):b}",
    ),
    "o": _Clause("int uint", "octal clause can only be used on integers", lambda value, _: f"{int(value):o}"),
    "x": _Clause(
        "int uint string bytes",
        "only integers, byte buffers, and strings can be formatted as hex",
        _hexadecimal,
    ),
    "X": _Clause(
        "int uint string bytes",
        "only integers, byte buffers, and strings can be formatted as hex",
        lambda value, _: _hexadecimal(value, None).upper(),
    ),
}
