"""What many claims that stand together are worth: p-values adjusted so that one false claim among them is rare."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinewy.errors import InputError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p-values (1979, Scandinavian Journal of Statistics 6), in the shape and order given.

    Claims whose adjusted p-value is at most alpha hold together: the chance that any of them is false is at most alpha,
    whatever the dependence between them. The k-th smallest of m is multiplied by m - k + 1, and none ends below a
    smaller one. Raises InputError for values outside [0, 1].
    """
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"p-values must lie in [0, 1], got {values[~((values >= 0) & (values <= 1))][0]}.")
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")
    raised = np.maximum.accumulate(np.minimum(1, flat[order] * (len(flat) - np.arange(len(flat)))))
    adjusted = np.empty_like(flat)
    adjusted[order] = raised
    return adjusted.reshape(values.shape)
