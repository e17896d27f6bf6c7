from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.codes import Codes, Ints
from tensorfusion.scheduling.reasons import DeviceReason, NodeReason
from tensorfusion.scheduling.row_kernel import Answer

_Columns: TypeAlias = tuple[Codes | Ints | NDArray[np.intp] | None, ...]
_Asked: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]
_Reasons: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]

class Rows:
    def __new__(
        cls,
        columns: _Columns,
        asked: _Asked,
        reasons: _Reasons,
        of_devices: tuple[DeviceReason, ...],
        first: int,
        of_nodes: tuple[NodeReason, ...],
        names: list[str],
        /,
    ) -> Self: ...
    def correct(self, rows: list[int], /) -> None: ...
    def best(self, count: int, /) -> list[tuple[int, int]]: ...
    def answer(self) -> Answer | None: ...
