"""Keys as texts: how one is made, how it is written down without being kept, and a holder that never shows it.

A key is ``tf-`` and 32 random bytes in base 62: 256 bits, which nobody guesses, so that one round of SHA-256 keeps them
as well as a slow password hash would, at a thousandth of its time, and each request pays for it.
"""

import hashlib
import secrets
from typing import Final

PREFIX: Final = "tf-"
SHOWN: Final = 8
"""Characters of a key that are kept and shown, those of ``PREFIX`` included."""
SHORTEST: Final = 20
"""Characters of a key that was made elsewhere: below that, one hash would not keep it."""
LONGEST: Final = 256
"""Characters of what is looked at as a key at all."""

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BYTES: Final = 32
_LENGTH: Final = 43
"""Digits of base 62 that hold 32 bytes."""


class Secret:
    """A key in hand. No text that is made of it, by whatever way, holds more than its first characters."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The key. For the one place that hands it over."""
        return self._text

    @property
    def shown(self) -> str:
        """Its first characters, where it is one of ours; nothing of any other."""
        return self._text[:SHOWN] if self._text.startswith(PREFIX) else ""

    def digest(self) -> bytes:
        """What is kept of it: SHA-256, 32 bytes."""
        return digest_of(self._text.encode())

    def __repr__(self) -> str:
        return f"Secret({self.shown}…)"

    __str__ = __repr__

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a key in hand is not written anywhere")


def new_secret() -> Secret:
    """A new key."""
    number = int.from_bytes(secrets.token_bytes(_BYTES), "big")
    digits = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return Secret(PREFIX + "".join(reversed(digits)))


def digest_of(text: bytes) -> bytes:
    """SHA-256 of a key as it came over the wire."""
    return hashlib.sha256(text).digest()
