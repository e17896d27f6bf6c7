"""Text to tokens.

Source: CEL language definition, "Lexical syntax".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tensorfusion.cel.errors import CompileError
from tensorfusion.cel.values import LARGEST_INT, LARGEST_UINT, SMALLEST_INT, Uint


class TokenKind(StrEnum):
    NUMBER = "number"
    UINT = "unsigned number"
    DOUBLE = "double"
    TEXT = "string"
    BYTES = "bytes"
    NAME = "name"
    SYMBOL = "symbol"
    END = "<EOF>"


@dataclass(frozen=True, slots=True)
class Token:
    kind: TokenKind
    text: str
    at: int


class SyntaxProblem(CompileError):
    """A message and the place it is about; the environment adds the picture of the source."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


_ESCAPE = r"\\(?:[abfnrtv\"'\\?`]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
_QUOTED = "|".join(
    [
        r'[rR]""".*?"""',
        r"[rR]'''.*?'''",
        r'[rR]"[^"\n\r]*"',
        r"[rR]'[^'\n\r]*'",
        rf'"""(?:{_ESCAPE}|[^\\])*?"""',
        rf"'''(?:{_ESCAPE}|[^\\])*?'''",
        rf'"(?:{_ESCAPE}|[^\\"\n\r])*"',
        rf"'(?:{_ESCAPE}|[^\\'\n\r])*'",
    ]
)
_TOKEN = re.compile(
    rf"""(?P<space>(?:[\t \r\n\f]|//[^\n]*)+)
    |(?P<bytes>[bB](?:{_QUOTED}))
    |(?P<string>{_QUOTED})
    |(?P<double>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
    |(?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU])
    |(?P<number>0x[0-9a-fA-F]+|[0-9]+)
    |(?P<quoted>`[A-Za-z0-9_./ -]+`)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<symbol>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{{}}])""",
    re.VERBOSE | re.DOTALL,
)
_KINDS = {
    "bytes": TokenKind.BYTES,
    "string": TokenKind.TEXT,
    "double": TokenKind.DOUBLE,
    "uint": TokenKind.UINT,
    "number": TokenKind.NUMBER,
    "name": TokenKind.NAME,
    "symbol": TokenKind.SYMBOL,
}
_PLAIN_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_ESCAPED = re.compile(_ESCAPE)
_HEX = 16


def tokens(source: str, start: int = 0) -> list[Token]:
    """All tokens from a place on, the last of kind END.

    Raises:
        SyntaxProblem: a character that begins no token, or a string that does not end.
    """
    found: list[Token] = []
    at = start
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise SyntaxProblem(f"Syntax error: token recognition error at: '{_unrecognised(source, at)}'", at)
        if match.lastgroup == "quoted":
            raise SyntaxProblem("unsupported syntax: '`'", at)
        kind = _KINDS.get(str(match.lastgroup))
        if kind is not None:
            found.append(Token(kind, match.group(), at))
        at = match.end()
    found.append(Token(TokenKind.END, "<EOF>", len(source)))
    return found


def _unrecognised(source: str, at: int) -> str:
    """What a reader should look at: one character, or the string that does not end up to its line's end."""
    if source[at] not in "\"'":
        return source[at]
    return source[at:].split("\n", 1)[0]


def number(token: Token, *, negative: bool = False) -> int:
    """Raises: SyntaxProblem where it does not fit 64 bits."""
    value = _whole(token.text) * (-1 if negative else 1)
    if not SMALLEST_INT <= value <= LARGEST_INT:
        raise SyntaxProblem("invalid int literal", token.at)
    return value


def unsigned(token: Token) -> Uint:
    """Raises: SyntaxProblem where it does not fit 64 bits."""
    value = _whole(token.text[:-1])
    if value > LARGEST_UINT:
        raise SyntaxProblem("invalid uint literal", token.at)
    return Uint(value)


def _whole(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else int(text)


def double(token: Token, *, negative: bool = False) -> float:
    """Raises: SyntaxProblem where it is too large."""
    value = float(token.text)
    if value in (float("inf"), float("-inf")):
        raise SyntaxProblem("invalid double literal", token.at)
    return -value if negative else value


def text(token: Token) -> str:
    """What a string literal says.

    Raises:
        SyntaxProblem: an escape that names no character.
    """
    body, raw = _body(token.text)
    if raw:
        return body

    def character(match: re.Match[str]) -> str:
        point = _code_point(match.group())
        if isinstance(point, str):
            return point
        if 0xD800 <= point <= 0xDFFF or point > 0x10FFFF:
            raise SyntaxProblem("invalid unicode code point", token.at)
        return chr(point)

    return _ESCAPED.sub(character, body)


def byte_string(token: Token) -> bytes:
    """What a bytes literal says; ``\\x`` and octal escapes are bytes, not code points.

    Raises:
        SyntaxProblem: an escape that bytes do not have.
    """
    body, raw = _body(token.text[1:])
    if raw:
        return body.encode()
    parts: list[bytes] = []
    at = 0
    for match in _ESCAPED.finditer(body):
        escape = match.group()
        if escape[1] in "uU":
            raise SyntaxProblem("unable to unescape string", token.at)
        parts.append(body[at : match.start()].encode())
        point = _code_point(escape)
        parts.append(point.encode() if isinstance(point, str) else bytes([point]))
        at = match.end()
    parts.append(body[at:].encode())
    return b"".join(parts)


def _body(literal: str) -> tuple[str, bool]:
    """The text between the quotes, with lines ending in newlines, and whether escapes stand for themselves."""
    raw = literal[0] in "rR"
    if raw:
        literal = literal[1:]
    quotes = 3 if len(literal) >= 6 and literal[:3] in ('"""', "'''") else 1
    return literal[quotes:-quotes].replace("\r\n", "\n").replace("\r", "\n"), raw


def _code_point(escape: str) -> int | str:
    """The number an escape gives, or the character it names."""
    letter = escape[1]
    if letter in "xXuU":
        return int(escape[2:], _HEX)
    if letter in "0123":
        return int(escape[1:], 8)
    return _PLAIN_ESCAPES.get(letter, letter)


# Any: the value of a literal.
LITERALS: dict[TokenKind, Callable[[Token], Any]] = {
    TokenKind.NUMBER: number,
    TokenKind.UINT: unsigned,
    TokenKind.DOUBLE: double,
    TokenKind.TEXT: text,
    TokenKind.BYTES: byte_string,
}
