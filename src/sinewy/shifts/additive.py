"""Independent noise of any strength on every value, in the space a model sees or on the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.shifts.continuous import check_draws, check_statistics, check_strength, per_channel, shifted
from sinewy.shifts.draws import Draws

SPACES: tuple[str, ...] = ("normalised", "pixel")
"""Where noise is added: to (pixel - mean) / std, or to pixels in [0, 1]."""

Floats = Sequence[float]


@torch.no_grad()
def uniform_noise(
    images: Tensor,
    eps: float,
    *,
    space: str = "normalised",
    mean: Floats | None = None,
    std: Floats | None = None,
    clip: bool = False,
    seed: int = 0,
    start: int = 0,
) -> Tensor:
    """Return `images` plus noise uniform on [-eps, eps), independent for every value: random noise bounded in l-inf.

    `images` (N, 3, H, W) are uint8 levels 0 to 255 or floats in [0, 1]; they are left as they are. The result is
    float32 on their device, in the space that the noise is added in and `eps` is measured in:

    - "normalised": (pixel - mean) / std, ready for the model, with `mean` and `std` per channel in units of [0, 1]
      pixels. Not clipped, this is the noise of Liebenwein et al. 2021 (Appendix D.1; eps 0 to 0.7 in steps of 0.05).
    - "pixel": pixels in [0, 1], which the model's normalisation is still to be applied to; no `mean`, no `std`.

    `clip` cuts the result to what pixels in [0, 1] can be in that space. `start` is the number in its set of the first
    image: the noise of image number i depends on seed and i alone, not on its batch; at another `eps` it is the same
    noise, scaled. Draw again with another seed. Raises InputError for anything else.

    >>> uniform_noise(torch.zeros(1, 3, 4, 4), 0.1, space="pixel").abs().max() <= 0.1
    tensor(True)
    """
    check_strength("eps", eps)
    check_draws(seed, start)
    statistics = _statistics(space, mean, std)

    def add(pixels: Tensor, first: int) -> Tensor:
        noise = _draws("uniform_noise", pixels, seed, start + first).uniform(*pixels.shape[1:])
        return _plus(pixels, noise.mul_(2).sub_(1).mul_(float(eps)), statistics, clip)

    return shifted(images, add)


@torch.no_grad()
def normal_noise(
    images: Tensor,
    sigma: float,
    *,
    space: str = "normalised",
    mean: Floats | None = None,
    std: Floats | None = None,
    clip: bool = False,
    seed: int = 0,
    start: int = 0,
) -> Tensor:
    """Return `images` plus Gaussian noise of standard deviation `sigma`, independent for every value.

    Images, spaces, clipping, seed and start are those of `uniform_noise`. The draws are `Draws.normal`'s, none beyond
    4.4 sigma. The corruption "gaussian_noise" is this in pixel space, clipped and truncated to bytes, at five sigmas.

    >>> normal_noise(torch.zeros(2, 3, 4, 4), 0.1, space="pixel").shape
    torch.Size([2, 3, 4, 4])
    """
    check_strength("sigma", sigma)
    check_draws(seed, start)
    statistics = _statistics(space, mean, std)

    def add(pixels: Tensor, first: int) -> Tensor:
        noise = _draws("normal_noise", pixels, seed, start + first).normal(*pixels.shape[1:])
        return _plus(pixels, noise.mul_(float(sigma)), statistics, clip)

    return shifted(images, add)


def _draws(kind: str, pixels: Tensor, seed: int, number: int) -> Draws:
    # severity is 0 at every strength, so that models are compared over strengths on the same numbers
    return Draws(kind, 0, seed, number, len(pixels), pixels.device)


def _plus(pixels: Tensor, noise: Tensor, statistics: tuple[Floats, Floats], clip: bool) -> Tensor:
    mean, std = (per_channel(values, pixels) for values in statistics)
    noisy = pixels.sub_(mean).div_(std).add_(noise)
    return noisy.clamp_(-mean / std, (1 - mean) / std) if clip else noisy


def _statistics(space: str, mean: Floats | None, std: Floats | None) -> tuple[Floats, Floats]:
    """Return the mean and std that bring pixels in [0, 1] to `space`."""
    if space not in SPACES:
        raise unknown_name("space", space, SPACES)
    if space == "pixel":
        if mean is not None or std is not None:
            raise InputError("space 'pixel' takes no mean or std. Leave them out, and normalise the result.")
        return (0.0,) * 3, (1.0,) * 3
    if mean is None or std is None:
        raise InputError("space 'normalised' needs mean= and std=, those of your data set. Or use space='pixel'.")
    check_statistics(mean, std)
    return mean, std
