"""Regular expressions that come from an object and are matched against what a caller sends.

They are RE2's, found anywhere in the text. Nobody can hold a worker up with one: only the beginning of a text counts
(and a longer model name is no model's), and an expression over which Python's ``re`` could go back more than
``MOST_WAYS`` times on such a text is matched by ``linear`` instead, in time that grows with the text alone.
"""

import re

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.routing.expressions import begins_at_the_beginning, read, ways
from tensorfusion.policy.routing.linear import LinearPattern
from tensorfusion.re2.patterns import compile_pattern

LONGEST_MODEL = 256
LONGEST_MESSAGE = 4096
LONGEST_SOURCE = 1024
MOST_WAYS = 100_000


class BoundedPattern:
    """One expression over the first ``longest`` characters of a text."""

    __slots__ = ("_longest", "_search", "linear", "source")

    def __init__(self, source: str, longest: int) -> None:
        """Raises: InvalidRequest: it is no RE2 expression, or too large."""
        if len(source) > LONGEST_SOURCE:
            raise InvalidRequest(f"wanted an expression of at most {LONGEST_SOURCE} characters, found {len(source)}")
        self.source = source
        self._longest = longest
        try:
            compiled = compile_pattern(source)
        except re.error as error:
            raise InvalidRequest(f"{source[:64]!r} is no regular expression: {error.msg}") from None
        tree = read(compiled.pattern)
        places = 1 if begins_at_the_beginning(tree) else longest
        self.linear = ways(tree, longest) * places > MOST_WAYS
        self._search = LinearPattern(tree).search if self.linear else compiled.search

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in the text."""
        return bool(self._search(text[: self._longest]))

    def __repr__(self) -> str:
        return f"BoundedPattern({self.source!r})"
