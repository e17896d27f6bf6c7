"""Regular expressions are written for RE2; this makes them Python's without changing what they match.

A pattern is read as RE2 reads it, refused with RE2's words where RE2 refuses it, and written anew: each set as a plain
set of characters, flags only around what they apply to, all groups as groups that capture nothing.

Two things differ: Python's engine goes back where RE2's does not, so that a pattern such as ``(a+)+$`` may take long on
a long text; and the Turkish letters U+0130 and U+0131 are an ``i`` where case is ignored.

Source: RE2 syntax; error texts of Go's regexp/syntax.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby

from tensorfusion.re2.character_classes import Ranges, inverted, letter, perl_class, posix_class, unicode_class, written

_LONGEST = 10_000
_DEEPEST = 200
_MOST = 1000
_REPEAT = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}")
_NAMED = re.compile(r"\(\?P?<([^>]*)>")
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BOUNDARY = r"(?a:\b)"


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern as Python's ``re``; use ``search``.

    Raises:
        re.error: it is not a pattern of RE2, or too large.
    """
    if len(pattern) > _LONGEST:
        raise _problem("expression too large", f"{pattern[:40]}...")
    try:
        return re.compile(_Reader(pattern).read())
    except (RecursionError, OverflowError):
        raise _problem("expression nests too deeply", pattern) from None


def _problem(message: str, part: str) -> re.error:
    return re.error(f"error parsing regexp: {message}: `{part}`")


@dataclass(slots=True)
class _Piece:
    """What a repetition applies to. ``weight`` is how often its innermost part may be repeated by counts."""

    text: str
    folded: bool = False
    weight: int = 1


@dataclass(slots=True)
class _Group:
    """A group that is still open, with the flags to go back to when it closes."""

    flags: frozenset[str]
    pieces: list[_Piece] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    weight: int = 1

    def next_choice(self) -> None:
        self.weight = max([self.weight, *(piece.weight for piece in self.pieces)])
        self.finished.append(_joined(self.pieces))
        self.pieces = []


def _joined(pieces: Iterable[_Piece]) -> str:
    """The pieces in order; what ignores case stands in groups that do."""
    parts: list[str] = []
    for folded, run in groupby(pieces, key=lambda piece: piece.folded):
        text = "".join(piece.text for piece in run)
        parts.append(f"(?i:{text})" if folded else text)
    return "".join(parts)


class _Reader:
    """One pattern, read from left to right."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags: frozenset[str] = frozenset()
        self.groups = [_Group(self.flags)]

    def read(self) -> str:
        # Where the repetition just read began; -1 where none was.
        repeated = -1
        while self.at < len(self.pattern):
            repeated = self._item(repeated)
        if len(self.groups) > 1:
            raise _problem("missing closing )", self.pattern)
        self.groups[0].next_choice()
        return "|".join(self.groups[0].finished)

    def _item(self, repeated: int) -> int:
        start, character = self.at, self.pattern[self.at]
        counted = _REPEAT.match(self.pattern, start) if character == "{" else None
        if counted or character in "*+?":
            self._repetition(counted, repeated)
            return start
        self.at += 1
        match character:
            case "(":
                self._open(start)
            case ")":
                self._close()
            case "|":
                self.groups[-1].next_choice()
            case "^":
                self._add("(?m:^)" if "m" in self.flags else r"(?:\A)", plain=True)
            case "$":
                self._add("(?m:$)" if "m" in self.flags else r"(?:\Z)", plain=True)
            case ".":
                self._add("(?s:.)" if "s" in self.flags else written([(10, 10)], negated=True), plain=True)
            case "[":
                self.at = start
                self._set()
            case "\\":
                self.at = start
                self._escaped()
            case _:
                self._add(letter(ord(character)))
        return -1

    def _add(self, text: str, *, plain: bool = False) -> None:
        self.groups[-1].pieces.append(_Piece(text, folded="i" in self.flags and not plain))

    def _repetition(self, counted: re.Match[str] | None, repeated: int) -> None:
        start = self.at
        self.at = counted.end() if counted else start + 1
        operator = self.pattern[start : self.at]
        least = most = -1
        if counted:
            least = int(counted[1][:9])
            most = int(counted[3][:9]) if counted[3] else -1 if counted[2] else least
            if least > _MOST or most > _MOST or 0 <= most < least:
                raise _problem("invalid repeat count", operator)
        lazy = self.pattern.startswith("?", self.at)
        self.at += lazy
        if repeated >= 0:
            raise _problem("invalid nested repetition operator", self.pattern[repeated : self.at])
        if not self.groups[-1].pieces:
            raise _problem("missing argument to repetition operator", self.pattern[start : self.at])
        piece = self.groups[-1].pieces[-1]
        if counted:
            piece.weight *= max(least if most < 0 else most, 1)
            if piece.weight > _MOST:
                raise _problem("invalid repeat count", self.pattern[start : self.at])
        piece.text += operator + ("?" if lazy != ("U" in self.flags) else "")

    def _open(self, start: int) -> None:
        if len(self.groups) > _DEEPEST:
            raise _problem("expression nests too deeply", self.pattern)
        if not self.pattern.startswith("?", self.at):
            self.groups.append(_Group(self.flags))
            return
        rest = self.pattern[start:]
        if rest.startswith(("(?<", "(?P<")) and len(rest) > rest.index("<") + 1:
            named = _NAMED.match(self.pattern, start)
            if named is None or not re.fullmatch("[A-Za-z0-9_]+", named[1]):
                raise _problem("invalid named capture", named[0] if named else rest)
            self.groups.append(_Group(self.flags))
            self.at = named.end()
            return
        self._flags(start)

    def _flags(self, start: int) -> None:
        """``(?i-s)`` or ``(?i-s:...``."""
        found = re.compile(r"\(\?[imsU]*(-[imsU]+)?[:)]").match(self.pattern, start)
        if found is None:
            wrong = re.compile(r"\(\?[imsU]*(-[imsU]*)?.?", re.DOTALL).match(self.pattern, start)
            raise _problem("invalid or unsupported Perl syntax", wrong[0] if wrong else "(?")
        on, _, off = found[0][2:-1].partition("-")
        self.at = found.end()
        if found[0].endswith(":"):
            self.groups.append(_Group(self.flags))
        self.flags = (self.flags | frozenset(on)) - frozenset(off)

    def _close(self) -> None:
        if len(self.groups) == 1:
            raise _problem("unexpected )", self.pattern)
        group = self.groups.pop()
        group.next_choice()
        self.flags = group.flags
        self.groups[-1].pieces.append(_Piece(f"(?:{'|'.join(group.finished)})", weight=group.weight))

    def _escaped(self) -> None:
        """What a backslash begins outside of a set."""
        following = self.pattern[self.at + 1 : self.at + 2]
        places = {"A": r"(?:\A)", "z": r"(?:\Z)", "b": _BOUNDARY, "B": f"(?!{_BOUNDARY})"}
        if following == "C":
            raise _problem("invalid escape sequence", r"\C")
        if following == "Q":
            literal, _, _ = self.pattern[self.at + 2 :].partition(r"\E")
            for character in literal:
                self._add(letter(ord(character)))
            self.at = min(self.at + 2 + len(literal) + 2, len(self.pattern))
        elif following and following in places:
            self.at += 2
            self._add(places[following], plain=True)
        else:
            ranges = self._named_set()
            self._add(letter(self._character("")) if ranges is None else written(ranges))

    def _set(self) -> None:
        """``[...]``."""
        start = self.at
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        ranges: Ranges = []
        first = True
        while first or not self.pattern.startswith("]", self.at):
            first = False
            named = self._named_set(posix=True)
            ranges += [self._range(self.pattern[start:])] if named is None else named
        self.at += 1
        self._add(written(ranges, negated=negated))

    def _range(self, whole: str) -> tuple[int, int]:
        start = self.at
        low = high = self._character(whole)
        if self.pattern.startswith("-", self.at) and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
            self.at += 1
            high = self._character(whole)
            if high < low:
                raise _problem("invalid character class range", self.pattern[start : self.at])
        return low, high

    def _named_set(self, *, posix: bool = False) -> Ranges | None:
        """``\\d``, ``\\p{L}`` or, within a set, ``[:alpha:]``; None where something else stands."""
        rest = self.pattern[self.at : self.at + 2]
        if posix and rest == "[:":
            end = self.pattern.find(":]", self.at + 2)
            if end < 0:
                return None
            return self._known(posix_class(self.pattern[self.at + 2 : end]), end + 2)
        if rest[:1] != "\\":
            return None
        if rest in (r"\p", r"\P"):
            return self._unicode_set(opposite=rest == r"\P")
        found = perl_class(rest[1:]) if rest[1:] else None
        self.at += 2 if found is not None else 0
        return found

    def _unicode_set(self, *, opposite: bool) -> Ranges:
        start = self.at + 2
        if start == len(self.pattern):
            raise _problem("invalid character class range", self.pattern[self.at :])
        name, end = self.pattern[start], start + 1
        if name == "{":
            end = self.pattern.find("}", start) + 1
            if not end:
                raise _problem("invalid character class range", self.pattern[self.at :])
            name = self.pattern[start + 1 : end - 1]
        if name.startswith("^"):
            name, opposite = name[1:], not opposite
        found = self._known(unicode_class(name), end)
        return inverted(found) if opposite else found

    def _known(self, found: Ranges | None, end: int) -> Ranges:
        if found is None:
            raise _problem("invalid character class range", self.pattern[self.at : end])
        self.at = end
        return found

    def _character(self, whole: str) -> int:
        """One character, plain or escaped. ``whole`` is the set it is in, for the error that the set has no end."""
        if self.at == len(self.pattern):
            raise _problem("missing closing ]", whole)
        start, character = self.at, self.pattern[self.at]
        self.at += 1
        if character != "\\":
            return ord(character)
        if self.at == len(self.pattern):
            raise _problem("trailing backslash at end of expression", "")
        found = _ESCAPE.match(self.pattern, self.at)
        if found is None:
            wrong = _WRONG_ESCAPE.match(self.pattern, self.at)
            raise _problem("invalid escape sequence", self.pattern[start : wrong.end() if wrong else self.at])
        self.at = found.end()
        octal, short, long, control, itself = found.groups()
        if control:
            return ord(_CONTROL[control])
        return int(octal, 8) if octal else ord(itself) if itself else int(short or long, 16)


# Octal numbers (a single digit would be a reference to a group), hexadecimal ones, control characters, and characters
# that are no letters or digits.
_ESCAPE = re.compile(
    r"(0[0-7]{0,2}|[1-7][0-7]{1,2})|x([0-9a-fA-F]{2})|x\{0*((?:10|[0-9a-fA-F])?[0-9a-fA-F]{1,4})\}"
    r"|([afnrtv])|([\x00-/:-@\[-`{-\x7f])"
)
# What of an escape is read until it turns out to be wrong.
_WRONG_ESCAPE = re.compile(r"x\{0*(?:10[0-9a-fA-F]{5}|(?!10)[0-9a-fA-F]{6}|[0-9a-fA-F]*.?)|x..?|.", re.DOTALL)
