"""Hue, saturation and value of a batch of images, and back."""

from __future__ import annotations

import torch
from torch import Tensor

_ORDER = torch.tensor([[0, 2, 1, 1, 3, 0], [3, 0, 0, 2, 1, 1], [1, 1, 3, 0, 0, 2]])
"""Which of (v, p, q, t) red, green and blue are, in each sixth of the colour circle."""


def rgb_to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue, saturation and value, float64 (N, H, W) in [0, 1], of uint8 `images` (N, 3, H, W).

    The operations and their order are those of `skimage.color.rgb2hsv`, and so are the bits: what is truncated
    afterwards often lies on a whole grey level, where the last bit decides. Greys have hue 0.
    """
    rgb = images.double() / 255
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    spread = value - rgb.amin(1)
    grey = spread == 0
    spread_or_one = spread.masked_fill(grey, 1)
    hue = torch.where(green == value, 2 + (blue - red) / spread_or_one, (green - blue) / spread_or_one)
    hue = torch.where(blue == value, 4 + (red - green) / spread_or_one, hue)
    hue = (hue / 6).remainder_(1).masked_fill_(grey, 0)
    saturation = spread / value.masked_fill(grey, 1)
    return hue, saturation, value


def hsv_to_levels(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return the uint8 image (N, 3, H, W) of hue, saturation and value (N, H, W) in [0, 1]; levels are truncated.

    The operations and their order are those of `skimage.color.hsv2rgb`.
    """
    sixth = (hue * 6).floor()
    past = hue * 6 - sixth
    p = value * (1 - saturation)
    q = value * (1 - past * saturation)
    t = value * (1 - (1 - past) * saturation)
    levels = (torch.stack((value, p, q, t)) * 255).to(torch.uint8)
    order = _ORDER.to(hue.device)[:, sixth.to(torch.uint8).int() % 6]
    return levels.gather(0, order).transpose(0, 1).contiguous()
