"""The embedded data: scikit-learn's 1797 handwritten digits, so that everything can be tried without a download."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sinewy.data.images import Splits
from sinewy.data.splits import make_splits, stratified
from sinewy.errors import InputError
from sinewy.seeds import derive

FILES: dict[str, tuple[str, ...]] = {"digits": ()}
TEST_IMAGES = 500
SIZE = 32


def load(*, validation: float = 0.1, seed: int = 0) -> Splits:
    """Return 500 test images and the rest split in training and validation part; 10 classes, uint8 (N,3,32,32).

    The 8 x 8 digits with 17 grey levels (Alpaydin and Kaynak 1998, UCI, CC BY 4.0) are enlarged bilinearly and repeated
    in three equal channels. There is no official test set: the test images are chosen here once and for all, whatever
    the seed, and `validation` is a share of all 1797 images.
    """
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    images, labels = enlarge(levels.reshape(-1, 8, 8)), labels.astype(np.int64)
    test = stratified(labels, TEST_IMAGES / len(labels), derive("digits", "test"))
    share = validation * len(labels) / (len(labels) - TEST_IMAGES)
    if share >= 1:
        raise InputError(
            f"validation={validation} leaves no digit to train on; stay below {1 - TEST_IMAGES / len(labels):.2f}."
        )
    rest, held = (images[~test], labels[~test]), (images[test], labels[test])
    return make_splits("digits", [str(i) for i in range(10)], rest, held, validation=share, seed=seed)


def enlarge(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return grey levels (N,8,8) in 0..16 as uint8 (N,3,32,32): bilinear, pixel centres aligned, edges held.

    The weights are multiples of 1/8, so float64 is exact and every machine gets the same bytes.
    """
    weights = _bilinear(levels.shape[-1], SIZE)
    grey = np.floor(weights @ levels @ weights.T * (255 / 16) + 0.5).astype(np.uint8)
    return np.repeat(grey[:, None], 3, axis=1)


def _bilinear(small: int, large: int) -> NDArray[np.float64]:
    """Return the matrix (large, small) that interpolates one axis."""
    position = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    weights: NDArray[np.float64] = np.maximum(0.0, 1 - np.abs(position[:, None] - np.arange(small)))
    return weights
