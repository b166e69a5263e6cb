"""How alike two networks are as functions: how often they agree, and how far apart their outputs are, under noise.

Liebenwein et al. 2021, section 4.1 and Figure 4. As in the authors' published code, noise is uniform within eps in the
space the networks are fed (normalised pixels), and is not clipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.metrics.answering import answering, check_images, check_models, logits
from sinewy.shifts.draws import Draws

LEVELS = tuple(0.05 * step for step in range(15))
"""The noise levels of Figure 4: 0 to 0.7."""


class Similarity(NamedTuple):
    """What one network has in common with the parent, per noise level and image: arrays (levels, N).

    `agreement` is the share of draws with equal predictions, in [0, 1], higher is nearer; `distance` the mean over
    draws of the L2 distance of the softmax outputs, in [0, sqrt(2)], lower is nearer.
    """

    agreement: NDArray[np.float64]
    distance: NDArray[np.float64]


@torch.no_grad()
def functional_distance(
    parent: nn.Module,
    others: Mapping[str, nn.Module],
    images: Tensor,
    *,
    levels: Sequence[float] = LEVELS,
    draws: int = 100,
    seed: int = 0,
    batch: int = 256,
) -> dict[str, Similarity]:
    """Return how alike each of `others` and `parent` are around `images`, (N, C, H, W) as the networks are fed them.

    Put a network of the same kind that was trained separately among `others`: it is the control that tells likeness by
    descent from likeness by training on the same data. All networks meet the same noise; image i gets the same draws
    whatever the batch, and at every level the same ones, scaled. `levels` are eps in the units of `images`; level 0 is
    measured once. The interval of a mean over images is `sinewy.analysis.intervals.mean_interval`. Raises InputError
    for input or outputs of a wrong form.
    """
    check_images(images)
    check_models(others)
    _check_settings(levels, draws, batch)
    sums = {name: np.zeros((2, len(levels), len(images))) for name in others}
    with answering(parent, *others.values()):
        for start in range(0, len(images), batch):
            block = images[start : start + batch]
            for number, noise in enumerate(uniform_noise(block, draws, seed=seed, start=start)):
                for index, eps in enumerate(levels):
                    if eps == 0 and number:
                        continue
                    found = _compare(parent, others, block + eps * noise)
                    for name, values in found.items():
                        sums[name][:, index, start : start + len(block)] += values * (draws if eps == 0 else 1)
    return {name: Similarity(*(total / draws)) for name, total in sums.items()}


def uniform_noise(images: Tensor, draws: int, *, seed: int, start: int) -> Iterator[Tensor]:
    """Yield `draws` of noise, uniform within 1, in the shape and type of `images`, the first of which is `start`."""
    random = Draws("functional distance", 0, seed, start, len(images), images.device)
    for _ in range(draws):
        yield (random.uniform(*images.shape[1:]) * 2 - 1).to(images.dtype)


def _compare(parent: nn.Module, others: Mapping[str, nn.Module], inputs: Tensor) -> dict[str, NDArray[np.float64]]:
    """Return agreement and distance of each network for one batch, (2, N)."""
    base = logits(parent, inputs).double()
    found = {}
    for name, model in others.items():
        other = logits(model, inputs).double()
        if other.shape != base.shape:
            raise InputError(
                f"{name} has {other.shape[1]} classes, its parent {base.shape[1]}; compare like with like."
            )
        agrees = (other.argmax(1) == base.argmax(1)).double()
        distance = (other.softmax(1) - base.softmax(1)).norm(dim=1)
        found[name] = torch.stack([agrees, distance]).cpu().numpy()
    return found


def _check_settings(levels: Sequence[float], draws: int, batch: int) -> None:
    if not len(levels) or not all(np.isfinite(eps) and eps >= 0 for eps in levels):
        raise InputError(f"levels of noise must be finite and at least 0, got {list(levels)}.")
    if draws < 1 or batch < 1:
        raise InputError(f"draws and batch must be at least 1, got {draws} and {batch}.")
