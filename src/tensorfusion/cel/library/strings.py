"""Functions of strings beyond the standard ones: the strings extension, version 2.

Places in a string are counted in characters, wherever they stand.

Source: cel-go ext/strings.go.
"""

from collections.abc import Callable, Sequence

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Cost, Function, Implementation, Library, Overload
from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.library.formatting import format_text
from tensorfusion.cel.texts import display
from tensorfusion.cel.types import DYN, INT, STRING, Type, list_of
from tensorfusion.cel.values import Value

_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {lower: upper for upper, lower in _LOWER.items()}
# What Go calls white space; Python strips four more characters.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_QUOTED = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def _character_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, wanted: str, start: int = 0) -> int:
    if not wanted:
        return start
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    return text.find(wanted, start)


def _last_index_of(text: str, wanted: str, start: int | None = None) -> int:
    if not wanted:
        return len(text) if start is None else start
    if start is None:
        return text.rfind(wanted)
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    if start >= len(text):
        return -1
    return text.rfind(wanted, 0, start + len(wanted))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    letters = list(text)
    if 0 < count < len(letters):
        return [*letters[: count - 1], "".join(letters[count - 1 :])]
    return letters


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if end is not None and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for index in (start, stop):
        if not 0 <= index <= len(text):
            raise EvaluationError(f"index out of range: {index}")
    return text[start:stop]


def _join(items: Sequence[Value], separator: str = "") -> str:
    for item in items:
        if type(item) is not str:
            raise EvaluationError(f"join: invalid input: {display(item)}")
    return separator.join(items)


def _quote(text: str) -> str:
    return f'"{text.translate(_QUOTED)}"'


def _members(name: str, cost: Cost | None, *found: tuple[str, tuple[Type, ...], Type, Implementation]) -> Function:
    overloads = (
        Overload(identifier, parameters, result, implementation, member=True, cost=cost)
        for identifier, parameters, result, implementation in found
    )
    return Function(name, tuple(overloads))


def _on_string(name: str, implementation: Callable[[str], str], identifier: str) -> Function:
    return _members(name, costs.over_first(), (identifier, (STRING,), STRING, implementation))


_STRINGS = list_of(STRING)

STRINGS: Library = (
    _members("charAt", None, ("string_char_at_int", (STRING, INT), STRING, _character_at)),
    _members(
        "indexOf",
        costs.deep_first,
        ("string_index_of_string", (STRING, STRING), INT, _index_of),
        ("string_index_of_string_int", (STRING, STRING, INT), INT, _index_of),
    ),
    _members(
        "lastIndexOf",
        costs.deep_first,
        ("string_last_index_of_string", (STRING, STRING), INT, _last_index_of),
        ("string_last_index_of_string_int", (STRING, STRING, INT), INT, _last_index_of),
    ),
    _members(
        "replace",
        costs.over_first(2),
        ("string_replace_string_string", (STRING, STRING, STRING), STRING, _replace),
        ("string_replace_string_string_int", (STRING, STRING, STRING, INT), STRING, _replace),
    ),
    _members(
        "split",
        costs.over_first(2),
        ("string_split_string", (STRING, STRING), _STRINGS, _split),
        ("string_split_string_int", (STRING, STRING, INT), _STRINGS, _split),
    ),
    _members(
        "substring",
        costs.over_first(),
        ("string_substring_int", (STRING, INT), STRING, _substring),
        ("string_substring_int_int", (STRING, INT, INT), STRING, _substring),
    ),
    _members(
        "join",
        costs.over_result(2),
        ("list_join", (_STRINGS,), STRING, _join),
        ("list_join_string", (_STRINGS, STRING), STRING, _join),
    ),
    _on_string("lowerAscii", lambda text: text.translate(_LOWER), "string_lower_ascii"),
    _on_string("upperAscii", lambda text: text.translate(_UPPER), "string_upper_ascii"),
    _on_string("trim", lambda text: text.strip(_SPACE), "string_trim"),
    _members("format", costs.over_first(), ("string_format", (STRING, list_of(DYN)), STRING, format_text)),
    Function("strings.quote", (Overload("strings_quote", (STRING,), STRING, _quote, cost=costs.over_first()),)),
)
