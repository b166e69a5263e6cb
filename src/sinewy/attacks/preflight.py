"""What makes an attack seem weaker than it is: looked for on a few images before it runs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sinewy.attacks.losses import cross_entropy
from sinewy.attacks.victim import Victim
from sinewy.errors import InputError

SOME = 16
"""Images that are looked at before an attack."""

ZERO_SHARE = 0.05
"""Share of images without a gradient that is worth a word."""


ROUNDING = 0.02
"""Relative difference of the answers to smaller batches that even half precision stays below."""


class Weakness(NamedTuple):
    """What makes attacks on a model look weak, and whether they say nothing then; `cause` is one of four words."""

    cause: str
    sentence: str
    fatal: bool


def weaknesses(victim: Victim, images: Tensor, labels: Tensor) -> list[Weakness]:
    """Return what would make attacks on a model look weaker than they are; nothing if all is well.

    `images` (N, C, H, W) in [0, 1] and `labels` (N,) are a few of the set. Looked for: outputs that are probabilities,
    answers that change from call to call or with the rest of the batch, and gradients that are exactly zero, of the
    loss that the attacks climb.
    """
    found = []
    logits, _, gradient = victim.gradient(images, cross_entropy, labels, None)
    if are_probabilities(logits):
        said = "its outputs are probabilities: attacks on logits lose their gradient. Leave out the last softmax."
        found.append(Weakness("probabilities", said, fatal=True))
    part = images[: max(1, len(images) // 2)]
    if not _equal(victim.logits(part), logits[: len(part)]):
        found += _change(victim, images, logits, part)
    vanished = (gradient.flatten(1).abs().amax(1) == 0).double().mean().item()
    if vanished > ZERO_SHARE:
        said = (
            f"the gradient of its loss is exactly 0 on {vanished:.0%} of {len(images)} images, masked or dead, and "
            "attacks by gradients stand still there. Add autoattack, one of whose attacks needs no gradient."
        )
        found.append(Weakness("gradient", said, fatal=vanished == 1))
    return found


def _change(victim: Victim, images: Tensor, logits: Tensor, part: Tensor) -> list[Weakness]:
    """Return why a part of the images gets other answers than with the rest; nothing where it is rounding."""
    if not _equal(victim.logits(images), logits):
        said = "its answers change from call to call, so one attack on each image is not the worst case."
        return [Weakness("randomness", said, fatal=True)]
    together = logits[: len(part)]
    if (victim.logits(part) - together).norm() <= ROUNDING * together.norm():
        return []
    said = (
        "its answers to an image depend on the others of the batch, as those of batch norms without running statistics "
        "do, so no image has a worst case of its own."
    )
    return [Weakness("company", said, fatal=True)]


def _equal(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, atol=1e-4, rtol=1e-4)


def check_victim(victim: Victim, images: Tensor, labels: Tensor, *, gradients: bool) -> None:
    """Raise InputError for a model on which an attack would say nothing; `gradients` says that it climbs those."""
    for cause, sentence, fatal in weaknesses(victim, images, labels):
        if fatal and (gradients or cause != "gradient"):
            raise InputError(f"this model cannot be attacked in earnest: {sentence} Or pass preflight=False.")


def are_probabilities(logits: Tensor) -> bool:
    """Return whether every row is non-negative and sums to 1."""
    return bool((logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-3))
