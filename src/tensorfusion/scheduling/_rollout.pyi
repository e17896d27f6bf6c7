import numpy as np
from numpy.typing import NDArray

def worth(pods: NDArray[np.int64], states: NDArray[np.int64], out: NDArray[np.int64], /) -> None: ...
