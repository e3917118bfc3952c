from typing import Any

import numpy as np
from numpy.typing import NDArray

def gather(x: NDArray[Any], rows: NDArray[np.intp], scale: float, offset: float, y: NDArray[np.float32], /) -> None: ...
