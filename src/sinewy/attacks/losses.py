"""What an attack climbs: one number per image, larger where the model is nearer to the answer that the attacker wants.

Every loss takes logits (N, classes), labels (N,) and `targets`: None, or the classes (N,) the attacker wants to see.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import InputError


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the log odds against the label, log((1 - p) / p), or in favour of the target; shape (N,).

    It is an increasing function of the cross-entropy, so its gradient points the same way and it peaks at the same
    places. But it never saturates: the gradient of the cross-entropy of a confident model rounds to something else in
    float32 (from a margin of 17 on) and then to zero, and a model with larger logits only seems more robust.
    """
    return _against(logits, labels) if targets is None else -_against(logits, targets)


def margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the largest other logit minus the label's, or the target's minus the largest other; shape (N,).

    The attack has succeeded exactly where it is above 0 (Carlini and Wagner 2017, without their confidence constant).
    """
    if targets is None:
        return _largest_other(logits, labels) - _at(logits, labels)
    return _at(logits, targets) - _largest_other(logits, targets)


def difference_of_logits_ratio(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the margin in units of the spread of the largest logits, so that scaling the logits does not change it.

    Untargeted -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), targeted -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), where
    z_(k) is the k-th largest logit (Croce and Hein 2020, equations 6 and 7); shape (N,). Needs 3 and 4 classes.
    """
    needed = 3 if targets is None else 4
    if logits.shape[1] < needed:
        raise InputError(f"the difference of logits ratio needs {needed} classes, the model has {logits.shape[1]}.")
    if targets is None:
        first, _, third = logits.topk(3, dim=1).values.unbind(1)
        return (_largest_other(logits, labels) - _at(logits, labels)) / (first - third + 1e-12)
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return (_at(logits, targets) - _at(logits, labels)) / (first - (third + fourth) / 2 + 1e-12)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _without(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.scatter(1, classes[:, None], -torch.inf)


def _largest_other(logits: Tensor, classes: Tensor) -> Tensor:
    return _without(logits, classes).amax(1)


def _against(logits: Tensor, classes: Tensor) -> Tensor:
    return _without(logits, classes).logsumexp(1) - _at(logits, classes)
