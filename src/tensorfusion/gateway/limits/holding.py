"""What is held for one request while it is under way, and given back exactly once."""

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from tensorfusion.gateway.limits.rules import Charge
from tensorfusion.gateway.limits.verdict import Verdict

MOST_TOKENS = 1 << 23
"""Eight millions, more than any request has: a target that reports nonsense must not close a key for days."""


class Limits(Protocol):
    """Counters, wherever they are."""

    async def reserve(self, charges: Sequence[Charge], tokens: int) -> "Reservation":
        """Let a request in that may take ``tokens``, by every one of its limits or by none.

        Raises:
            RateLimited: one of them has no room; nothing is counted anywhere.
        """
        ...


class Counters(Protocol):
    """Who a reservation gives back to."""

    def settle(self, charges: Sequence[Charge], reserved: int, tokens: int) -> None:
        """A request of ``reserved`` tokens has ended and took ``tokens``."""
        ...


class Reservation(msgspec.Struct, eq=False, gc=False):
    """A request that was let in. Leaving its ``with`` block settles it, if nothing has before.

    ``settle`` is called once the tokens are known; without it, the estimate counts as used: who does not know what a
    request took must not give it away again.
    """

    _counters: Counters | None
    _charges: Sequence[Charge]
    _tokens: int
    verdict: Verdict

    @property
    def lines(self) -> bytes:
        """Header fields that say what is left, as they are sent."""
        return self.verdict.lines()

    @property
    def is_open(self) -> bool:
        """It has not been settled."""
        return self._counters is not None

    def settle(self, tokens: int | None = None) -> bool:
        """Count what the request really took, or the estimate; False, and nothing happens, from the second time on."""
        counters, self._counters = self._counters, None
        if counters is None:
            return False
        if tokens is None:
            tokens = self._tokens
        elif not 0 <= tokens <= MOST_TOKENS:
            tokens = 0 if tokens < 0 else MOST_TOKENS
        counters.settle(self._charges, self._tokens, tokens)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.settle()
