"""A regular expression as a tree, and how many ways a matcher that goes back could take through it.

Reads what ``re2.patterns`` writes: RE2's expressions in a small part of Python's language, in which every character
stands for itself or as a code, every set is plain, and no group captures.
"""

import re
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest

DEEPEST = 50
_TOKEN = re.compile(
    r"(?P<place>\(\?:\\A\)|\(\?:\\Z\)|\(\?m:\^\)|\(\?m:\$\)|\(\?a:\\b\)|\(\?!\(\?a:\\b\)\))"
    r"|(?P<character>\(\?s:\.\)|\[[^\]]*\]|\\U[0-9a-f]{8}|[0-9A-Za-z])"
    r"|(?P<open>\(\?i?:)|(?P<close>\))|(?P<or>\|)"
    r"|(?P<repeat>[*+?]|\{(?P<least>[0-9]+)(?P<comma>,(?P<most>[0-9]*))?\})\??"
)


@dataclass(frozen=True, slots=True)
class Character:
    """One character that ``pattern`` matches."""

    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two characters, as Python writes it: the beginning, the end, of a line, of a word, or neither."""

    kind: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; none is the empty text."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of them."""

    options: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """At least so often, at most so often (None: without end)."""

    part: "Node"
    least: int
    most: int | None


Node = Character | Place | Sequence | Choice | Repeat


def read(written: str) -> Node:
    """The tree of an expression as ``re2.patterns`` writes it.

    Raises:
        InvalidRequest: groups stand too deep in each other.
    """
    found, end = _Reader(written).choice(0, folded=False)
    if end != len(written):
        raise AssertionError(f"not written by re2.patterns: {written!r} at {end}")
    return found


class _Reader:
    def __init__(self, written: str) -> None:
        self.written = written
        self.depth = 0

    def choice(self, at: int, *, folded: bool) -> tuple[Node, int]:
        """What stands up to the end of the group or of the expression."""
        options: list[Node] = []
        parts: list[Node] = []
        while token := _TOKEN.match(self.written, at):
            kind, at = token.lastgroup, token.end()
            if token["character"]:
                parts.append(Character(re.compile(token["character"], re.IGNORECASE if folded else 0)))
            elif token["place"]:
                parts.append(Place(token["place"]))
            elif token["repeat"]:
                parts[-1] = Repeat(parts[-1], *_bounds(token))
            elif token["open"]:
                inner, at = self.group(at, folded=folded or "i" in token["open"])
                parts.append(inner)
            elif kind == "or":
                options.append(Sequence(tuple(parts)))
                parts = []
            else:
                at = token.start()
                break
        options.append(Sequence(tuple(parts)))
        return (options[0] if len(options) == 1 else Choice(tuple(options))), at

    def group(self, at: int, *, folded: bool) -> tuple[Node, int]:
        self.depth += 1
        if self.depth > DEEPEST:
            raise InvalidRequest(f"wanted groups at most {DEEPEST} deep in each other")
        found, end = self.choice(at, folded=folded)
        self.depth -= 1
        return found, end + 1


def _bounds(token: re.Match[str]) -> tuple[int, int | None]:
    if not token["least"]:
        sign = token["repeat"][0]
        return int(sign == "+"), 1 if sign == "?" else None
    least = int(token["least"])
    return least, least if not token["comma"] else int(token["most"]) if token["most"] else None


def ways(node: Node, length: int) -> float:
    """An upper bound of the ways through the expression over a text of that length, for one place to begin."""
    match node:
        case Character() | Place():
            return 1.0
        case Sequence(parts):
            found = 1.0
            for part in parts:
                found *= ways(part, length)
            return found
        case Choice(options):
            return sum(ways(option, length) for option in options)
        case Repeat(part, least, most):
            longest = length if most is None else min(most, length)
            each = ways(part, length)
            counts = max(1, longest - least + 1)
            return counts * each**longest if each == 1.0 or longest * (each - 1) < 30 else float("inf")


def begins_at_the_beginning(node: Node) -> bool:
    """Whether it can match at the beginning of a text only."""
    match node:
        case Place(kind):
            return kind == r"(?:\A)"
        case Sequence(parts):
            return bool(parts) and begins_at_the_beginning(parts[0])
        case Choice(options):
            return all(begins_at_the_beginning(option) for option in options)
        case _:
            return False
