"""What makes an attack seem weaker than it is: looked for on a few images before it runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sinewy.attacks.losses import cross_entropy
from sinewy.attacks.victim import Victim, lent

ZERO_SHARE = 0.05


def weaknesses(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> list[str]:
    """Return sentences on what would make attacks on `model` look weaker than they are; none if all is well.

    `images` (N, C, H, W) in [0, 1] and `labels` (N,) are a few of the set. Looked for: outputs that are probabilities,
    answers that change from call to call, and gradients that are exactly zero, of the loss that the attacks climb.
    """
    found = []
    with lent(model, images.device, 0) as borrowed:
        victim = Victim(borrowed, mean, std)
        logits = victim.logits(images)
        if are_probabilities(logits):
            found.append(
                "its outputs are probabilities: attacks on logits lose their gradient. Leave out the last softmax."
            )
        if not torch.allclose(victim.logits(images), logits, atol=1e-4, rtol=1e-4):
            found.append("its answers change from call to call, so one attack on each image is not the worst case.")
        _, _, gradient = victim.gradient(images, cross_entropy, labels, None)
        vanished = (gradient.flatten(1).abs().amax(1) == 0).float().mean().item()
        if vanished > ZERO_SHARE:
            found.append(
                f"the gradient of its loss is exactly 0 on {vanished:.0%} of {len(images)} images, masked or dead, and "
                "attacks by gradients stand still there. Add autoattack, one of whose attacks needs no gradient."
            )
    return found


def are_probabilities(logits: Tensor) -> bool:
    """Return whether every row is non-negative and sums to 1."""
    return bool((logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-3))
