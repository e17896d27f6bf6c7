from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.codes import Codes, Ints

_Columns: TypeAlias = tuple[Codes | Ints | NDArray[np.intp] | None, ...]
_Asked: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
_Reasons: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]

class Rows:
    def __new__(cls, columns: _Columns, asked: _Asked, reasons: _Reasons, /) -> Self: ...
    def correct(self, rows: list[int], /) -> int: ...
    def best(self, count: int, /) -> list[tuple[int, int]]: ...
    def slots(self, row: int, /) -> list[int]: ...
