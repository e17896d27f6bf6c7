"""Sets of characters that RE2's patterns name, as ranges, and how Python's ``re`` writes them.

Scripts (``\\p{Greek}``) are not known: Python's tables have none. Categories (``\\p{Lu}``) are.

Source: RE2 syntax, "character classes".
"""

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

Ranges = list[tuple[int, int]]

_DIGITS, _UPPER, _LOWER = (0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)
_LETTERS = [_UPPER, _LOWER]
_WORD = [_DIGITS, _UPPER, (0x5F, 0x5F), _LOWER]
_SPACE = [(0x9, 0xA), (0xC, 0xD), (0x20, 0x20)]
_PERL: Mapping[str, Ranges] = {"d": [_DIGITS], "s": _SPACE, "w": _WORD}
_POSIX: Mapping[str, Ranges] = {
    "alnum": [_DIGITS, *_LETTERS],
    "alpha": _LETTERS,
    "ascii": [(0x0, 0x7F)],
    "blank": [(0x9, 0x9), (0x20, 0x20)],
    "cntrl": [(0x0, 0x1F), (0x7F, 0x7F)],
    "digit": [_DIGITS],
    "graph": [(0x21, 0x7E)],
    "lower": [_LOWER],
    "print": [(0x20, 0x7E)],
    "punct": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)],
    "space": [(0x9, 0xD), (0x20, 0x20)],
    "upper": [_UPPER],
    "word": _WORD,
    "xdigit": [_DIGITS, (0x41, 0x46), (0x61, 0x66)],
}
_SEPARATORS = re.compile("[_ -]")


def perl_class(letter: str) -> Ranges | None:
    """The set of ``\\d``, ``\\s``, ``\\w`` and their opposites; None for other letters."""
    found = _PERL.get(letter.lower())
    return found if found is None or letter.islower() else inverted(found)


def posix_class(name: str) -> Ranges | None:
    """The set of ``[:name:]`` or ``[:^name:]``; None for an unknown name."""
    found = _POSIX.get(name.removeprefix("^"))
    return found if found is None or not name.startswith("^") else inverted(found)


def unicode_class(name: str) -> Ranges | None:
    """The characters of a category, such as ``L`` or ``Lu``; None for an unknown name."""
    name = _SEPARATORS.sub("", name).capitalize()
    if name == "Any":
        return [(0, sys.maxunicode)]
    if name == "Ascii":
        return _POSIX["ascii"]
    if name == "Assigned":
        return inverted(_categories()["Cn"])
    if name == "Lc":
        return sorted(_categories()["Lu"] + _categories()["Ll"] + _categories()["Lt"])
    found = [ranges for category, ranges in _categories().items() if name in (category, category[0])]
    return sorted(span for ranges in found for span in ranges) or None


def inverted(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """All characters that are not in the ranges."""
    found: Ranges = []
    free = 0
    for low, high in sorted(ranges):
        if low > free:
            found.append((free, low - 1))
        free = max(free, high + 1)
    if free <= sys.maxunicode:
        found.append((free, sys.maxunicode))
    return found


def written(ranges: Sequence[tuple[int, int]], *, negated: bool = False) -> str:
    """The set as Python's ``re`` writes it."""
    spans = ((letter(low), letter(high)) for low, high in ranges)
    body = "".join(low if low == high else f"{low}-{high}" for low, high in spans)
    if not body:  # nothing, or all but nothing
        negated, body = not negated, f"{letter(0)}-{letter(sys.maxunicode)}"
    return f"[{'^' if negated else ''}{body}]"


def letter(code: int) -> str:
    """A character as it stands in a pattern or a set."""
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\U{code:08x}"


@cache
def _categories() -> Mapping[str, Ranges]:
    """The characters of each category of two letters. Takes a third of a second, once."""
    found: dict[str, Ranges] = {}
    start, category = 0, unicodedata.category("\0")
    for code in range(1, sys.maxunicode + 2):
        following = unicodedata.category(chr(code)) if code <= sys.maxunicode else ""
        if following != category:
            found.setdefault(category, []).append((start, code - 1))
            start, category = code, following
    return found
