"""How far stated confidence is from accuracy, and the temperature that brings it closer. Numpy only.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import InputError, unknown_name

BINS = 15
BINNINGS = ("width", "mass")
"""Bins of equal width in [0, 1], closed on the right; or of equal numbers of examples, where equal values stay
together."""

TEMPERATURES = (0.05, 20.0)
"""Where `fit_temperature` looks."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability curve: its range, how many examples fell in it, their mean confidence and accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def expected_calibration_error(
    confidence: Floats, correct: NDArray[np.bool_], *, bins: int = BINS, binning: str = "width"
) -> float:
    """Return the mean over examples of |accuracy - confidence| of the bin they fall in, in [0, 1]; lower is better.

    `confidence` is the largest probability, (N,), `correct` whether the prediction is the label. Bins are (low, high],
    so 1.0 is in the last one. Raises InputError for empty or unequal input, or confidence outside [0, 1].
    """
    index, edges = assign(confidence, bins, binning)
    return float(np.abs(gaps(confidence, correct, index, len(edges) - 1).mean(axis=0)).sum())


def maximum_calibration_error(
    confidence: Floats, correct: NDArray[np.bool_], *, bins: int = BINS, binning: str = "width"
) -> float:
    """Return the largest |accuracy - confidence| of any bin that is not empty, in [0, 1]; see the expected one."""
    curve = reliability(confidence, correct, bins=bins, binning=binning)
    return float(max(abs(part.accuracy - part.confidence) for part in curve))


def reliability(
    confidence: Floats, correct: NDArray[np.bool_], *, bins: int = BINS, binning: str = "width"
) -> list[Bin]:
    """Return the bins that are not empty, from the lowest confidence to the highest."""
    index, edges = assign(confidence, bins, binning)
    _check_pair(confidence, correct)
    size = len(edges) - 1
    count = np.bincount(index, minlength=size)
    stated = np.bincount(index, weights=confidence, minlength=size)
    right = np.bincount(index, weights=correct, minlength=size)
    return [
        Bin(
            float(edges[i]), float(edges[i + 1]), int(count[i]), float(stated[i] / count[i]), float(right[i] / count[i])
        )
        for i in range(size)
        if count[i]
    ]


def assign(confidence: Floats, bins: int = BINS, binning: str = "width") -> tuple[NDArray[np.intp], Floats]:
    """Return the bin of each example, (N,), and the edges of the bins, ascending."""
    if bins < 1:
        raise InputError(f"bins={bins} must be at least 1.")
    if binning not in BINNINGS:
        raise unknown_name("binning", binning, BINNINGS)
    if confidence.ndim != 1 or len(confidence) == 0:
        raise InputError(f"calibration needs confidences (N,) with N at least 1, got shape {confidence.shape}.")
    if not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-6):
        raise InputError(f"confidences must lie in [0, 1], got {confidence.min():.4g} to {confidence.max():.4g}.")
    levels = np.linspace(0, 1, bins + 1)
    edges = levels if binning == "width" else np.unique(np.quantile(confidence, levels, method="inverted_cdf"))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2), edges


def gaps(confidence: Floats, correct: NDArray[np.bool_], index: NDArray[np.intp], bins: int) -> Floats:
    """Return accuracy minus confidence of each example in the column of its bin, (N, bins), zeros elsewhere.

    The expected calibration error is the sum of the absolute column means, of any resample too.
    """
    _check_pair(confidence, correct)
    table = np.zeros((len(confidence), bins))
    table[np.arange(len(confidence)), index] = correct - confidence.astype(np.float64)
    return table


def negative_log_likelihood(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean cross-entropy in nats of logits (N, classes); lower is better, at least 0."""
    return float(-_log_probability(logits, labels).mean())


def brier(probabilities: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean over examples of sum over classes of (probability - one_hot)^2, in [0, 2]; lower is better."""
    _check_rows(probabilities, labels)
    target = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - target).sum(axis=1).mean())


def fit_temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the T in TEMPERATURES for which logits / T has the lowest negative log-likelihood.

    Fit it on validation data, logits (N, classes), labels (N,); it changes no prediction. The likelihood has one
    optimum in 1 / T. A set without an error has none; the T returned then makes its probabilities 1 to rounding.
    """
    from scipy.optimize import minimize_scalar

    _check_rows(logits, labels)
    bounds = tuple(-np.log(TEMPERATURES[::-1]))
    found = minimize_scalar(
        lambda power: negative_log_likelihood(logits * np.exp(power), labels),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(-found.x))


def _log_probability(logits: Floats, labels: NDArray[np.integer[Any]]) -> Floats:
    from scipy.special import log_softmax

    _check_rows(logits, labels)
    return np.asarray(log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels])


def _check_pair(confidence: Floats, correct: NDArray[np.bool_]) -> None:
    if confidence.shape != correct.shape:
        raise InputError(f"there are {len(confidence)} confidences but {len(correct)} verdicts; pass one per example.")


def _check_rows(values: Floats, labels: NDArray[np.integer[Any]]) -> None:
    if values.ndim != 2 or len(values) == 0 or labels.shape != values.shape[:1]:
        raise InputError(f"one row of classes per label is needed, got {values.shape} for labels {labels.shape}.")
    if not (values < np.inf).all():
        odd = int((~(values < np.inf)).any(axis=1).sum())
        raise InputError(
            f"{odd} of {len(values)} rows hold NaN or infinity; the model diverged, or its inputs are not finite."
        )
    if labels.min() < 0 or labels.max() >= values.shape[1]:
        raise InputError(f"labels must be 0 to {values.shape[1] - 1}, got {labels.min()} to {labels.max()}.")
