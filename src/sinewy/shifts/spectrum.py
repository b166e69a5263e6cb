"""How high-frequency a shift is: the share of what it changed that lies at high spatial frequencies."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.continuous import check_images


@torch.no_grad()
def high_frequency(images: Tensor, shifted: Tensor) -> float:
    """Return the share, in [0, 1], of the energy of `shifted` - `images` above half of the largest axis frequency.

    Both are (N, 3, H, W) of one type, uint8 levels or floats in one unit (`shifted` may leave [0, 1]). Energy is that
    of the discrete Fourier transform, summed over images and channels; a frequency (i, j), in cycles per pixel, counts
    as high where sqrt(i^2 + j^2) > 1/4. The mean change of each channel is left out, since a constant has no frequency.
    0 where nothing changed. Raises InputError for shapes or types that differ.

    >>> board = torch.arange(8).add(torch.arange(8)[:, None]).remainder(2).mul(255).to(torch.uint8)
    >>> high_frequency(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), board.expand(1, 3, 8, 8))
    1.0
    """
    check_images(images)
    if not isinstance(shifted, Tensor) or shifted.shape != images.shape or shifted.dtype != images.dtype:
        found = f"{shifted.dtype} {tuple(shifted.shape)}" if isinstance(shifted, Tensor) else type(shifted).__name__
        raise InputError(
            f"shifted images must be {images.dtype} {tuple(images.shape)}, as the images are, got {found}."
        )
    change = shifted.double() - images.to(shifted.device).double()
    energy = torch.fft.fft2(change).abs().square().sum(dim=(0, 1))
    energy[0, 0] = 0
    rows, columns = (torch.fft.fftfreq(side, device=energy.device, dtype=torch.float64) for side in energy.shape)
    high = torch.hypot(rows[:, None], columns[None, :]) > 0.25
    total = float(energy.sum())
    return float(energy[high].sum()) / total if total else 0.0
