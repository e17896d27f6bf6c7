"""Text to tokens, whatever is in it: what no token begins with is reported and left out."""

import re
from dataclasses import dataclass

from tensorfusion.cel.lexer import LITERALS, SyntaxProblem, TokenKind, number, tokens
from tensorfusion.cel.lexer import Token as WholeToken

END = "<EOF>"
NAME, QUOTED_NAME = "IDENTIFIER", "ESC_IDENTIFIER"
_KINDS = {
    TokenKind.NUMBER: "NUM_INT",
    TokenKind.UINT: "NUM_UINT",
    TokenKind.DOUBLE: "NUM_FLOAT",
    TokenKind.TEXT: "STRING",
    TokenKind.BYTES: "BYTES",
}
_WORDS = frozenset({"true", "false", "null", "in"})
_QUOTED = re.compile(r"`[A-Za-z0-9_./ -]+`")
_OPEN_NAME = re.compile(r"`[A-Za-z0-9_./ -]*")
_ESCAPES = re.compile(r"[abfnrtv\"'\\?`]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}")
# How far a wrong escape goes before it is seen to be wrong.
_BEGUN_ESCAPES = re.compile(r"[0-3][0-7]?|[xX][0-9a-fA-F]?|u[0-9a-fA-F]{0,3}|U[0-9a-fA-F]{0,7}|")
_DOUBLED = frozenset("&|=")


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is as complaints name it: ``NUM_INT``, or the symbol in its quotes."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        return self.at + len(self.text)


def all_tokens(source: str) -> tuple[list[Token], list[tuple[str, int]]]:
    """The tokens, the last of kind END, and the texts that are none, with their places."""
    found: list[Token] = []
    unread: list[tuple[str, int]] = []
    at = 0
    while at < len(source):
        try:
            rest, stop = tokens(source, at), len(source)
        except SyntaxProblem as error:
            stop = error.at
            rest = tokens(source[:stop], at)
        found += [Token(_kind(token), token.text, token.at) for token in rest[:-1]]
        at = stop
        if at < len(source):
            quoted = _QUOTED.match(source, at)
            if quoted is not None:
                found.append(Token(QUOTED_NAME, quoted.group(), at))
                at = quoted.end()
                continue
            end = _unreadable_end(source, at)
            unread.append((source[at:end], at))
            at = end
    found.append(Token(END, END, len(source)))
    return found, unread


def _kind(token: WholeToken) -> str:
    if token.kind is TokenKind.NAME:
        return f"'{token.text}'" if token.text in _WORDS else NAME
    return _KINDS.get(token.kind) or f"'{token.text}'"


def _unreadable_end(source: str, at: int) -> int:
    """Where reading goes on: behind the first character that cannot go on with what began at ``at``."""
    first = source[at]
    if first in _DOUBLED:
        return min(at + 2, len(source))
    if first == "`":
        begun = _OPEN_NAME.match(source, at)
        return min((begun.end() if begun else at) + 1, len(source))
    if first not in "\"'":
        return at + 1
    at += 1
    while at < len(source) and source[at] not in "\r\n":
        if source[at] == "\\":
            escape = _ESCAPES.match(source, at + 1)
            if escape is None:
                begun = _BEGUN_ESCAPES.match(source, at + 1)
                at = begun.end() if begun else at + 1
                break
            at = escape.end()
        else:
            at += 1
    return min(at + 1, len(source))


def shown(text: str) -> str:
    """Text in quotes, on one line."""
    for plain, written in (("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, written)
    return f"'{text}'"


def wrong_literal(token: Token, *, negative: bool) -> str:
    """What is wrong with a literal that has the right form; empty if nothing."""
    for kind, name in _KINDS.items():
        if name == token.kind:
            try:
                whole = WholeToken(kind, token.text, token.at)
                if kind is TokenKind.NUMBER:
                    number(whole, negative=negative)
                else:
                    LITERALS[kind](whole)
            except SyntaxProblem as error:
                return error.message
    return ""
