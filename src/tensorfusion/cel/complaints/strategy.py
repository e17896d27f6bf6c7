"""What to do where a token does not fit: drop it, act as if the missing one was there, or skip ahead.

The parser that fails stands in a stack of rules; ``position`` is what may come in the innermost one, ``follows`` what
may come behind each of those that called it.
"""

from tensorfusion.cel.complaints.grammar import NOTHING, Item, Sequence, first, listed
from tensorfusion.cel.complaints.tokens import END, Token, shown

MOST_RECOVERIES = 30


class Misfit(Exception):
    """The rule under way cannot go on."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message, self.at = message, at


class GivenUp(Exception):
    """Too much is wrong."""


class Strategy:
    """The tokens, the place among them, and what has been complained about."""

    def __init__(self, source: str, found: list[Token], unread: list[tuple[int, int]]) -> None:
        self.problems: list[tuple[str, int]] = []
        self.follows: list[Sequence] = []
        self.state = 0
        self.position: Sequence = ()
        self._source = source
        self._unread = unread
        self._tokens = found
        self._index = 0
        self._recovering = False
        self._recoveries = 0
        self._last_index = -1
        self._last_states: set[int] = set()

    def token(self, ahead: int = 1) -> Token:
        return self._tokens[min(self._index + ahead - 1, len(self._tokens) - 1)]

    def kind(self, ahead: int = 1) -> str:
        return self.token(ahead).kind

    def at(self, state: int, *position: Item) -> None:
        """Say where the walk is. States tell apart places of the same position."""
        self.state, self.position = state, position

    def match(self, kind: str) -> None:
        """Take a token of this kind.

        Raises: Misfit.
        """
        if self.kind() == kind:
            self._matched()
            self._skip()
            return
        self._count_recovery()
        if self._drop_one():
            self._skip()
        elif self.kind() in self._expected(self.position[1:]):
            self._report(f"missing {self._expecting()} at {self._shown(self.token())}", self.token().at)
        else:
            raise self.mismatch()

    def take(self) -> None:
        """Take the token, whatever it is."""
        self._matched()
        self._skip()

    def check(self, *, repeated: bool = False) -> None:
        """Before something optional or a choice: see that the token may come here. ``repeated``: behind one round.

        Raises: Misfit.
        """
        possible = first(self.position)
        if self._recovering or NOTHING in possible or self.kind() in possible:
            return
        if repeated:
            self._report_unwanted()
            self._skip_to(self._expected(self.position) | self._following())
        elif not self._drop_one():
            raise self.mismatch()

    def mismatch(self) -> Misfit:
        token = self.token()
        return Misfit(f"mismatched input {self._shown(token)} expecting {self._expecting()}", token.at)

    def no_choice(self, ahead: int) -> Misfit:
        """No alternative begins with the tokens up to that one."""
        start, offending = self.token(), self.token(ahead)
        end = offending.at if offending.kind == END else offending.end
        text = END if start.kind == END else self._text(start.at, end)
        return Misfit(f"no viable alternative at input {shown(text)}", offending.at)

    def recover(self, problem: Misfit) -> None:
        """Complain, and skip to what may follow the rule or one that called it."""
        self._report(problem.message, problem.at)
        self._count_recovery()
        if self._last_index == self._index and self.state in self._last_states:
            self._skip()
        self._last_index = self._index
        self._last_states.add(self.state)
        self._skip_to(self._following())

    def _matched(self) -> None:
        self._recovering = False
        self._last_index = -1
        self._last_states = set()

    def _skip(self) -> None:
        if self.kind() != END:
            self._index += 1

    def _skip_to(self, kinds: frozenset[str]) -> None:
        while self.kind() != END and self.kind() not in kinds:
            self._skip()

    def _drop_one(self) -> bool:
        """Drop the token if the next one fits."""
        if self.kind(2) not in self._expected(self.position):
            return False
        self._report_unwanted()
        self._skip()
        self._matched()
        return True

    def _report(self, message: str, at: int) -> None:
        """Complain, but once until a token fits again."""
        if not self._recovering:
            self._recovering = True
            self.problems.append((message, at))

    def _report_unwanted(self) -> None:
        token = self.token()
        self._report(f"extraneous input {self._shown(token)} expecting {self._expecting()}", token.at)

    def _count_recovery(self) -> None:
        if self._recoveries == MOST_RECOVERIES:
            self.problems.append((f"error recovery attempt limit exceeded: {MOST_RECOVERIES}", self.token().at))
            raise GivenUp
        self._recoveries += 1

    def _expecting(self) -> str:
        return listed(self._expected(self.position))

    def _expected(self, position: Sequence) -> frozenset[str]:
        """What may come at a position; where it may be empty, what may come behind the rule."""
        found = first(position)
        for follow in reversed(self.follows):
            if NOTHING not in found:
                return found
            found = (found - {NOTHING}) | first(follow)
        return (found - {NOTHING}) | {END} if NOTHING in found else found

    def _following(self) -> frozenset[str]:
        return frozenset().union(*map(first, self.follows)) - {NOTHING}

    def _text(self, start: int, end: int) -> str:
        """The source without what is no token."""
        parts = []
        for unread_from, unread_to in self._unread:
            if start <= unread_from < end:
                parts.append(self._source[start:unread_from])
                start = unread_to
        return "".join([*parts, self._source[start:end]])

    def _shown(self, token: Token) -> str:
        return shown(token.text)
