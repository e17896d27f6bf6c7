"""One small integer a device or node: the first filter that removes it, or that none does.

Filters are asked in the order of their reasons, so the first one that removes is the lowest code: a filter then is one
comparison and one minimum, whatever the filters before it said.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Codes: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = NDArray[np.intp]

FITS: Final = 255
"""No filter removes it. Every other code is the place of a reason in ``DEVICE_REASONS`` or ``NODE_REASONS``."""
NOT_ASKED: Final = 254
"""A node whose devices are too few already: its own filters are not asked."""
LOWEST: Final = int(np.iinfo(np.int64).min)
"""The ranking key of what does not fit."""


def elements(column: Codes | Ints) -> memoryview:
    """The same numbers one by one, those of several dimensions in one row: Python reads and writes a single one of them
    in less than half the time that numpy takes.

    Raises:
        ValueError: the column is not contiguous, so that this would be a copy.
    """
    if not column.flags.c_contiguous:
        raise ValueError(f"a column of shape {column.shape} is not contiguous: its elements would be those of a copy")
    return column.reshape(-1).data


def lower(codes: Codes, passes: Bools, code: int) -> None:
    """Give this code to what does not pass and was not removed by an earlier filter; in place."""
    np.minimum(codes, np.negative(passes.view(np.uint8)) | np.uint8(code), out=codes)


def counts(codes: Codes) -> Ints:
    """How often each code occurs. Shape (256,)."""
    others = codes[codes != FITS]  # mostly few, and counting them is what costs
    found = np.bincount(others, minlength=256)
    found[FITS] = codes.size - others.size
    return found
