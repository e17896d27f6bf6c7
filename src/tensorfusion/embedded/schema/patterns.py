"""Patterns of schemas are written for RE2; this makes them Python's without changing what they match.

Two differences matter in practice: ``$`` in RE2 is the very end, and ``\\z`` is written ``\\Z``. What Python cannot
compile is refused when the definition is installed.
"""

import re
from functools import lru_cache


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern as Python's ``re``; use ``search``.

    Raises:
        re.error: it is not a pattern that can be used here.
    """
    if len(pattern) > 10_000:
        raise re.error("longer than 10000 characters")
    return re.compile(_translated(pattern), re.ASCII)


def _translated(pattern: str) -> str:
    parts: list[str] = []
    in_class = False
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\" and at + 1 < len(pattern):
            pair = pattern[at : at + 2]
            parts.append(r"\Z" if pair == r"\z" and not in_class else pair)
            at += 2
            continue
        if in_class:
            in_class = letter != "]"
        elif letter == "[":
            in_class = True
            if pattern[at + 1 : at + 2] == "]" or pattern[at + 1 : at + 3] == "^]":  # a first ] is a member
                size = 2 if pattern[at + 1] == "]" else 3
                parts.append(pattern[at : at + size])
                at += size
                continue
        parts.append(r"\Z" if letter == "$" and not in_class else letter)
        at += 1
    return "".join(parts)
