"""How a run says that it moves on."""

from collections.abc import Callable

Progress = Callable[[], None]
"""Called once for each arrival."""


def unwatched() -> None:
    """Nobody looks."""
