"""Values as text, the way error messages, ``format()`` and conversions show them."""

from tensorfusion.cel.moments import duration_text, timestamp_text
from tensorfusion.cel.numbers import double_text
from tensorfusion.cel.types import Kind, Type
from tensorfusion.cel.values import NOTHING, Duration, Some, Timestamp, Uint, Value, keys_of

_NAMES = {
    Kind.NULL: "null_type",
    Kind.TIMESTAMP: "google.protobuf.Timestamp",
    Kind.DURATION: "google.protobuf.Duration",
}
_ESCAPES = {
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


def type_name(found: Type) -> str:
    """The name of a type without what it holds: ``list`` for a ``list(int)``. This is what ``type(x)`` prints."""
    return found.name or _NAMES.get(found.kind, found.kind.value)


def quoted(text: str) -> str:
    """A text in double quotes, with everything escaped that does not print.

    Source: strconv.Quote of Go.
    """
    return '"' + "".join(_ESCAPES.get(letter) or _printable(letter) for letter in text) + '"'


def display(value: Value) -> str:
    """A value of any type as error messages show it. Nothing reads it back: strings stand without quotes."""
    kind = type(value)
    if kind is bool:
        return "true" if value else "false"
    if kind in (int, Uint):
        return str(int(value))
    if kind is float:
        return double_text(value)
    if value is None:
        return "0"
    if kind is bytes:
        return f"[{' '.join(map(str, value))}]"
    if isinstance(value, list):
        return f"[{', '.join(map(display, value))}]"
    if isinstance(value, dict):
        entries = zip(keys_of(value), value.values(), strict=True)
        return "{" + ", ".join(f"{display(key)}: {display(held)}" for key, held in entries) + "}"
    if kind is Some or value is NOTHING:
        return f"optional({display(value.value)})" if kind is Some else "optional.none()"
    if kind is Type:
        return type_name(value)
    if kind is Timestamp:
        return timestamp_text(value)
    return duration_text(value) if kind is Duration else str(value)


def _printable(letter: str) -> str:
    if letter.isprintable():
        return letter
    code = ord(letter)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
