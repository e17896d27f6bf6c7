"""What is wrong with a JSON text, in the words of Go's scanner: clients and people match on them.

Only a text that could not be decoded comes here, and only if it is short: this is slow.

Source: encoding/json, by behaviour.
"""

from typing import NoReturn

MOST_SCANNED = 64 << 10
_END = "unexpected end of JSON input"
_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_SHOWN = 30
_ENVELOPE = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_KINDS = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}


def complaint(body: bytes) -> str:
    """The first thing that is wrong; empty if Go would find nothing. For texts of at most ``MOST_SCANNED`` bytes."""
    try:
        _Scanner(body).document()
    except _Wrong as wrong:
        return str(wrong)
    except RecursionError:
        return "exceeded max depth"
    return ""


def of_another_type(value: object, wanted: str = _ENVELOPE) -> str:
    """What Go says of a value that does not go into a type; an object, if no type is named."""
    return f"json: cannot unmarshal {_KINDS.get(type(value), 'object')} into Go value of type {wanted}"


def summary(body: bytes) -> str:
    """The beginning of a body as errors show it: objects as they are, anything else in hexadecimal."""
    if not body:
        return "<empty>"
    text = body[:_SHOWN].decode("utf-8", "replace") if body[:1] == b"{" else body[:_SHOWN].hex()
    return text if len(body) <= _SHOWN else f"{text} ..."


class _Wrong(ValueError):
    pass


class _Scanner:
    """At its end a text is followed by a space: what that breaks is said, and else that the text ends too early."""

    def __init__(self, body: bytes) -> None:
        self._text = body + b" "
        self._at = 0

    def document(self) -> None:
        self._value()
        while self._at < len(self._text):
            if self._text[self._at] not in _SPACE:
                self._refuse("after top-level value")
            self._at += 1

    @property
    def _here(self) -> int:
        if self._at >= len(self._text):
            raise _Wrong(_END)
        return self._text[self._at]

    def _refuse(self, where: str) -> NoReturn:
        letter = chr(self._here)
        shown = {"'": "\\'", '"': '"', "\\": "\\\\"}.get(letter) or (
            letter if letter.isprintable() else repr(letter)[1:-1]
        )
        raise _Wrong(f"invalid character '{shown}' {where}")

    def _next(self) -> int:
        """The next letter that is no space."""
        while self._here in _SPACE:
            self._at += 1
        return self._here

    def _value(self) -> None:
        first = self._next()
        if first == ord("{"):
            self._object()
        elif first == ord("["):
            self._array()
        elif first == ord('"'):
            self._string()
        elif first in _LITERALS:
            self._literal(_LITERALS[first])
        elif first == ord("-") or first in _DIGITS:
            self._number()
        else:
            self._refuse("looking for beginning of value")

    def _object(self) -> None:
        self._at += 1
        if self._next() == ord("}"):
            self._at += 1
            return
        while True:
            if self._next() != ord('"'):
                self._refuse("looking for beginning of object key string")
            self._string()
            if self._next() != ord(":"):
                self._refuse("after object key")
            self._at += 1
            self._value()
            if self._ends(ord("}"), "after object key:value pair"):
                return

    def _array(self) -> None:
        self._at += 1
        if self._next() == ord("]"):
            self._at += 1
            return
        while True:
            self._value()
            if self._ends(ord("]"), "after array element"):
                return

    def _ends(self, last: int, where: str) -> bool:
        """Past a comma or the end."""
        found = self._next()
        if found not in (ord(","), last):
            self._refuse(where)
        self._at += 1
        return found == last

    def _string(self) -> None:
        self._at += 1
        while self._here != ord('"'):
            if self._here == ord("\\"):
                self._escape()
            elif self._here < ord(" "):
                self._refuse("in string literal")
            else:
                self._at += 1
        self._at += 1

    def _escape(self) -> None:
        self._at += 1
        if self._here == ord("u"):
            for _ in range(4):
                self._at += 1
                if self._here not in _HEX:
                    self._refuse("in \\u hexadecimal character escape")
        elif self._here not in b'bfnrt\\/"':
            self._refuse("in string escape code")
        self._at += 1

    def _literal(self, word: bytes) -> None:
        for letter in word:
            if self._here != letter:
                self._refuse(f"in literal {word.decode()} (expecting '{chr(letter)}')")
            self._at += 1

    def _number(self) -> None:
        if self._here == ord("-"):
            self._at += 1
        if self._here == ord("0"):
            self._at += 1
        else:
            self._digits("in numeric literal")
        if self._here == ord("."):
            self._at += 1
            self._digits("after decimal point in numeric literal")
        if self._here in b"eE":
            self._at += 1
            if self._here in b"+-":
                self._at += 1
            self._digits("in exponent of numeric literal")

    def _digits(self, where: str) -> None:
        if self._here not in _DIGITS:
            self._refuse(where)
        while self._here in _DIGITS:
            self._at += 1
