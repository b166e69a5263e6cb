"""The kinds of MNIST-C that change levels or are those of ImageNet-C: noise, motion, light, stripes and mud.

MNIST-C: Mu & Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision" (2019). Of each kind one severity was
published, as uint8 truncated from the recipe's floats. Fog, geometry, glass, strokes and edges have their own files.
"""

from __future__ import annotations

from torch import Tensor

from sinewy.shifts import blur, noise
from sinewy.shifts import spatter as splashes
from sinewy.shifts.draws import Draws
from sinewy.shifts.mnist_c_digits import SIDE, on_digits


@on_digits
def shot_noise(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` as counted photons, 3 at white: ImageNet-C's severity 5."""
    return noise.shot_noise(digits, 5, "imagenet", draws)


@on_digits
def impulse_noise(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` with a share of 0.17 of the pixels replaced, half black, half white: ImageNet-C's severity 4."""
    return noise.impulse_noise(digits, 4, "imagenet", draws)


@on_digits
def motion_blur(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` smeared along a random line (radius 10, sigma 3): ImageNet-C's severity 1."""
    return blur.motion_blur(digits, 1, "imagenet", draws)


@on_digits
def brightness(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` half the range brighter: black becomes 127, and all from 128 on white."""
    del draws
    return digits.clamp(max=128) + 127


@on_digits
def stripe(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` inverted in the left and the right quarter, columns 0 to 6 and 21 to 27; nothing is random."""
    del draws
    result = digits.clone()
    for quarter in (result[..., : SIDE // 4], result[..., -SIDE // 4 :]):
        quarter.bitwise_not_()
    return result


@on_digits
def spatter(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` splashed with mud of level 63: ImageNet-C's severity 4 in the red of its mud."""
    return splashes.spatter(digits.expand(-1, 3, -1, -1), 4, "imagenet", draws)[:, :1]
