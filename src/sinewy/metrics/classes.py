"""What sparsity does to single classes and examples, which the overall accuracy hides. Numpy only.

Hooker, Courville, Clark, Dauphin and Frome, "What do compressed deep neural networks forget?", 2019; and the recall of
the most sensitive class of Timpl et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import InputError

Classes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ClassChange:
    """What became of one class from the dense to the sparse models, means over models; recalls in [0, 1].

    `relative` is the change of recall less the change of overall accuracy: below 0, the class pays more than its share.
    `p` is that of Welch's test over models, NaN with fewer than two models on a side, or where they do not vary.
    """

    number: int
    count: int
    dense: float
    sparse: float
    relative: float
    p: float

    @property
    def change(self) -> float:
        """Recall of the sparse models minus that of the dense ones."""
        return self.sparse - self.dense


def recall_per_class(label: Classes, prediction: Classes, classes: int) -> NDArray[np.float64]:
    """Return the share of each class that is predicted right, (classes,); NaN for a class without examples."""
    if label.shape != prediction.shape or label.ndim != 1 or len(label) == 0:
        raise InputError(f"labels and predictions must both be (N,), got {label.shape} and {prediction.shape}.")
    if label.min() < 0 or label.max() >= classes:
        raise InputError(f"labels must be 0 to {classes - 1}, got {label.min()} to {label.max()}.")
    count = np.bincount(label, minlength=classes)
    right = np.bincount(label, weights=prediction == label, minlength=classes)
    return np.where(count > 0, right / np.maximum(count, 1), np.nan)


def most_sensitive_class(label: Classes, prediction: Classes, classes: int) -> tuple[int, float]:
    """Return the class with the lowest recall, and that recall (Timpl et al. 2022, figure 8); the first of equals."""
    recall = recall_per_class(label, prediction, classes)
    number = int(np.nanargmin(recall))
    return number, float(recall[number])


def class_changes(label: Classes, dense: Classes, sparse: Classes, classes: int) -> list[ClassChange]:
    """Return what became of each class that has examples, from predictions (models, N) of both kinds of model.

    The test is that of Hooker et al. (section 3.1): a class's recall less the model's accuracy, one number per model,
    dense against sparse, two-sided and without equal variances. It needs several models on each side.
    """
    dense, sparse = (_population(label, side) for side in (dense, sparse))
    own = np.stack([recall_per_class(label, row, classes) for row in dense])
    other = np.stack([recall_per_class(label, row, classes) for row in sparse])
    normal = own - (dense == label).mean(axis=1)[:, None]
    changed = other - (sparse == label).mean(axis=1)[:, None]
    count = np.bincount(label, minlength=classes)
    return [
        ClassChange(
            number,
            int(count[number]),
            float(own[:, number].mean()),
            float(other[:, number].mean()),
            float(changed[:, number].mean() - normal[:, number].mean()),
            _welch(normal[:, number], changed[:, number]),
        )
        for number in range(classes)
        if count[number]
    ]


def pruning_identified_exemplars(dense: Classes, sparse: Classes) -> NDArray[np.bool_]:
    """Return the examples (N,) whose most frequent prediction differs between dense and sparse models (models, N).

    Of equally frequent predictions the lowest class counts. With one model a side these are the examples on which the
    two disagree, of which another seed would give many as well.
    """
    if dense.ndim != 2 or sparse.ndim != 2 or dense.shape[1] != sparse.shape[1] or 0 in dense.shape + sparse.shape:
        raise InputError(f"predictions must be (models, N) on both sides, got {dense.shape} and {sparse.shape}.")
    return np.asarray(_mode(dense) != _mode(sparse))


def _mode(predictions: Classes) -> Classes:
    from scipy.stats import mode

    return np.asarray(mode(predictions, axis=0).mode)


def _population(label: Classes, predictions: Classes) -> Classes:
    if predictions.ndim != 2 or predictions.shape[1:] != label.shape or len(predictions) == 0:
        raise InputError(f"predictions must be (models, {len(label)}), got {predictions.shape}.")
    return predictions


def _welch(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2 or (np.ptp(first) == 0 and np.ptp(second) == 0):
        return float("nan")
    return float(ttest_ind(first, second, equal_var=False).pvalue)
