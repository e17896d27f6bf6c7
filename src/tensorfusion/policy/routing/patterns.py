"""Regular expressions that come from an object and are matched against what a caller sends.

They are read as RE2's. What is matched is bounded in length: a model name beyond ``LONGEST_MODEL`` is no model's, and
of a message only the beginning counts.
"""

import re

from tensorfusion.cel.patterns import compile_pattern
from tensorfusion.errors import InvalidRequest

LONGEST_MODEL = 256
LONGEST_MESSAGE = 4096


class BoundedPattern:
    """One expression over the first ``longest`` characters of a text."""

    __slots__ = ("_longest", "_search", "source")

    def __init__(self, source: str, longest: int) -> None:
        """Raises: InvalidRequest: it is no RE2 expression."""
        self.source = source
        self._longest = longest
        try:
            self._search = compile_pattern(source).search
        except re.error as error:
            raise InvalidRequest(f"{source[:64]!r} is no regular expression: {error.msg}") from None

    def found_in(self, text: str) -> bool:
        return self._search(text[: self._longest]) is not None

    def __repr__(self) -> str:
        return f"BoundedPattern({self.source!r})"
