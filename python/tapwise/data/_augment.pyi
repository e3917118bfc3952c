from typing import Any

import numpy as np
from numpy.typing import NDArray

def augment(
    x: NDArray[Any],
    rows: NDArray[np.intp],
    maps: NDArray[np.int64],
    mode: int,
    fill: float,
    nearest: bool,
    codes: NDArray[np.int32],
    values: NDArray[np.float64],
    scale: float,
    offset: float,
    stddev: float,
    keys: NDArray[np.uint32],
    quantiles: NDArray[np.float32],
    means: NDArray[np.float32],
    y: NDArray[np.float32],
    /,
) -> None: ...
def blend(
    x: NDArray[np.float32],
    partners: NDArray[np.intp],
    weights: NDArray[np.float32],
    boxes: NDArray[np.intp],
    y: NDArray[np.float32],
    /,
) -> None: ...
