"""The nearest known word to a wrong one."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Up to three known words that are likely meant, the likeliest first."""
    spelled = {entry.lower(): entry for entry in known}
    return [spelled[found] for found in difflib.get_close_matches(word.lower(), list(spelled), n=3, cutoff=0.6)]


def did_you_mean(word: str, known: Iterable[str], *, listed: bool = True) -> str:
    """The end of an error message: what was probably meant, else (``listed``) some of what there is; may be empty."""
    words = sorted(set(known))
    likely = nearest(word, words)
    if likely:
        return f": did you mean {' or '.join(likely)}?"
    if not words or not listed:
        return ""
    shown = ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")
    return f": there are {shown}"
