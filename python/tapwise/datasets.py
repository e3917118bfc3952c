"""Data sets that a package manager installs, in Keras' form: ((x_train, y_train), (x_test, y_test))."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .data.idx import read_idx_pair
from .data.split import Split, stratified_split

FASHION_MNIST_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_digits(*, seed: int = 0, test_size: float = 0.2) -> Split:
    """scikit-learn's 1,797 handwritten digits: x (n, 8, 8, 1) uint8 in [0, 16], y (n,) int64 in [0, 10).

    test_size of each digit becomes the test part, chosen by seed. Raises ImportError without scikit-learn.
    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    try:
        from sklearn.datasets import load_digits as bunch
    except ImportError:
        raise ImportError('the digits come with scikit-learn: pip install "tapwise[demo]"') from None
    pixels, y = bunch(return_X_y=True)
    x = pixels.astype(np.uint8).reshape(-1, 8, 8, 1)
    return stratified_split(x, y.astype(np.int64), test_size=test_size, seed=seed)


def load_fashion_mnist(folder: str | os.PathLike[str] = "/usr/share/datasets/fashion-mnist") -> Split:
    """60,000 + 10,000 images of clothes: x (n, 28, 28, 1) uint8, y (n,) int64 in [0, 10), named by FASHION_MNIST_NAMES.

    Raises FileNotFoundError where Debian's package isn't installed, ValueError naming a file that is damaged.
    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there: apt-get install dataset-fashion-mnist")
    train, test = (
        read_idx_pair(folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz")
        for part in ("train", "t10k")
    )
    return train, test
