"""What a network is scored by unless the user says otherwise: cross-entropy of its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sinewy.errors import InputError

IGNORED = 255
"""The label of pixels that count for nothing, as in Pascal VOC."""


def cross_entropy(outputs: Any, labels: Any) -> Tensor:
    """Return the mean cross-entropy of the logits (N, classes, ...) in `outputs`.

    `outputs` is anything that `logits_of` reads. `labels` are class numbers (N, ...), of a floating-point type as well,
    pixels of 255 left out, or class probabilities of the logits' shape. Raises InputError for anything else; pass your
    own loss then.
    """
    logits = logits_of(outputs)
    if not isinstance(labels, Tensor):
        raise InputError(f"cross-entropy needs labels as a tensor of class numbers, got {type(labels).__name__}.")
    if labels.is_floating_point() and labels.shape == logits.shape:
        return F.cross_entropy(logits, labels.to(logits.dtype))
    if labels.shape != (len(logits), *logits.shape[2:]):
        raise InputError(
            f"labels of shape {tuple(labels.shape)} do not fit logits of shape {tuple(logits.shape)}; pass loss=,"
            " a function of (outputs, labels)."
        )
    if labels.is_floating_point():
        labels = _whole(labels)
    pixels = labels.ndim > 1
    counted = labels[labels != IGNORED] if pixels else labels
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < logits.shape[1]:
        raise InputError(
            f"labels reach from {int(counted.min())} to {int(counted.max())}, but the model has {logits.shape[1]}"
            " outputs per example; number the classes from 0, or pass loss=."
        )
    return F.cross_entropy(logits, labels.long(), ignore_index=IGNORED if pixels else -100)


def scaled(outputs: Any, factor: float) -> Any:
    """Return `outputs` with every floating-point tensor in them multiplied: logits at temperature 1 / factor."""
    if isinstance(outputs, Tensor):
        return outputs * factor if outputs.is_floating_point() else outputs
    if isinstance(outputs, Mapping):
        return {key: scaled(value, factor) for key, value in outputs.items()}
    if isinstance(outputs, tuple | list):
        return [scaled(value, factor) for value in outputs]
    return outputs


def float_tensors(outputs: Any) -> list[Tensor]:
    """Return the floating-point tensors in `outputs`, however nested."""
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    return [tensor for part in outputs for tensor in float_tensors(part)] if isinstance(outputs, tuple | list) else []


def logits_of(outputs: Any, *, advice: str = "pass loss=, a function of (outputs, labels)") -> Tensor:
    """Return the logits (N, classes, ...) in what a model returned, a floating-point tensor.

    `outputs` is a tensor, a mapping with "out" or "logits" (torchvision's segmentation, transformers), an object with
    `.logits`, or a tuple that starts with the logits. Raises InputError for anything else, ending with `advice`.
    """
    found = outputs
    if isinstance(outputs, Mapping):
        found = outputs.get("out", outputs.get("logits"))
    elif isinstance(outputs, tuple | list) and outputs:
        found = outputs[0]
    elif not isinstance(outputs, Tensor):
        found = getattr(outputs, "logits", None)
    if not isinstance(found, Tensor) or found.ndim < 2 or not torch.is_floating_point(found):
        raise InputError(
            f"the model returned {type(outputs).__name__}, in which no logits (N, classes, ...) were found; {advice}."
        )
    return found


def _whole(labels: Tensor) -> Tensor:
    """Return class numbers of a floating-point type as int64; refuse any that is not a whole number."""
    wrong = labels[labels != labels.floor()]  # NaN among them
    if len(wrong):
        raise InputError(
            f"labels of shape {tuple(labels.shape)} are class numbers, and {wrong[0].item():g} is not a whole number;"
            " pass integers, probabilities of the logits' shape, or loss=."
        )
    return labels.long()
