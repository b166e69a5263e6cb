"""What the oracle tests of the shifts share: pictures to shift, and draws with the numbers given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from sinewy.shifts import PRESETS


class Given:
    """Draws that are handed out as given, in order, whatever is asked for."""

    def __init__(self, *values: Tensor) -> None:
        self._values: Iterator[Tensor] = iter(values)

    def _next(self, *_: int) -> Tensor:
        return next(self._values)

    uniform = normal = integers = bits16 = _next


def pictures(preset: str, seed: int = 7) -> Tensor:
    """Return uint8 (N, 3, side, side): gradients, noise of two scales, flat patches of black, white and grey."""
    side, count = PRESETS[preset], 1 if preset == "imagenet" else 3
    generator = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(generator.normal(size=(count, 3, side, side)), (0, 0, s, s)) * s for s in (1, 4)]
    levels = 128 + 90 * np.linspace(-1, 1, side) + 60 * sum(smooth)
    levels[:, :, : side // 4, : side // 3] = 0
    levels[:, :, side // 2 : 3 * side // 4, : side // 5] = 255
    levels[:, :, -side // 3 :, -side // 3 :] = 77
    return torch.from_numpy(np.clip(levels, 0, 255).astype(np.uint8))
