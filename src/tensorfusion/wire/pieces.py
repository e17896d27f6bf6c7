"""Bytes of a body that wait for their reader, in the pieces in which they came, but for small ones.

A piece of two bytes takes fifty in memory: who sends a body in nothing but such pieces would hold a multiple of what is
allowed. Small ones are put together; those of usual size are kept as they are and copied once, when they are taken.
"""

from typing import Final, TypeAlias

Pieces: TypeAlias = list[bytes | bytearray]

SMALL: Final = 512
"""Bytes from which a piece stands for itself."""


def add_piece(pieces: Pieces, data: bytes) -> None:
    """Put it behind the others, of which there is at least one."""
    if len(data) >= SMALL:
        pieces.append(data)
        return
    last = pieces[-1]
    if isinstance(last, bytearray):
        last += data
    elif len(last) < SMALL:
        pieces[-1] = bytearray(last) + data
    else:
        pieces.append(data)
