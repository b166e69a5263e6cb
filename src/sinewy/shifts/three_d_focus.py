"""The kinds of 3DCC that are a lens: sharp at the nearest or the farthest depth, blurred elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.three_d_inputs import NEAREST, needs_depth

LAYERS = 8
"""Quantiles of the depth that the image is blurred for."""

NEAR_APERTURE = (3.0, 4.0, 5.0, 6.0, 7.0)
FAR_APERTURE = (1.5, 2.5, 3.5, 4.5, 5.5)
"""Standard deviation, in pixels, of the blur at a depth d, focus at f, is aperture |d - f| / d."""

WIDEST = 1.0
"""Share of the shorter side that a blur is wide at most: nearer things would be blurred by more than the image."""


@needs_depth
def near_focus(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) in focus at their least depth; lengths are pixels, whatever the preset."""
    del preset, draws
    return _focused(images, depth, NEAR_APERTURE[severity - 1], 0)


@needs_depth
def far_focus(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) in focus at their greatest depth; lengths are pixels, whatever the preset."""
    del preset, draws
    return _focused(images, depth, FAR_APERTURE[severity - 1], LAYERS - 1)


def _focused(images: Tensor, depth: Tensor, aperture: float, sharp: int) -> Tensor:
    """Return images blurred by the circle of confusion of their depth, layers of equal depth joined smoothly."""
    depth = depth.clamp(min=NEAREST)
    places = torch.linspace(0, 1, LAYERS, dtype=torch.float64, device=depth.device)
    layers = torch.quantile(depth.flatten(1), places, dim=1).mT.contiguous()  # (N, LAYERS), ascending
    sigma = aperture * (layers - layers[:, sharp, None]).abs() / layers
    total = torch.zeros_like(images, dtype=torch.float64)
    for index, share in enumerate(_shares(depth, layers)):
        total += share * _blurred(images.double(), sigma[:, index])
    return to_uint8(total + ON_THE_EDGE)


def _shares(depth: Tensor, layers: Tensor) -> list[Tensor]:
    """Return LAYERS weights (N, 1, H, W) that sum to 1: 1 - u^2 of the two layers around a depth, u the distance."""
    above = torch.searchsorted(layers, depth.flatten(1)).clamp_(1, LAYERS - 1)
    low, high = (layers.gather(1, where).view_as(depth) for where in (above - 1, above))
    u = ((depth - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    below, beyond = 1 - u.square(), 1 - (1 - u).square()
    above, whole = above.view_as(depth), below + beyond
    return [torch.where(above - 1 == i, below, torch.where(above == i, beyond, 0)) / whole for i in range(LAYERS)]


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Return `images` (N, C, H, W) under a Gaussian of each one's own `sigma` (N,), edges replicated."""
    height, width = images.shape[-2:]
    return _matrices(height, sigma)[:, None] @ (images @ _matrices(width, sigma)[:, None].mT)


def _matrices(size: int, sigma: Tensor) -> Tensor:
    """Return (N, size, size): the Gaussian whose support is the odd number from 3 sigma up, edges replicated."""
    sigma = sigma.clamp(max=WIDEST * size)
    reach = (3 * sigma).ceil().long() // 2
    offsets = torch.arange(-int(reach.max()), int(reach.max()) + 1, device=sigma.device) if len(sigma) else sigma.long()
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-6)[:, None]).square())
    weights = weights.masked_fill(offsets.abs() > reach[:, None], 0)
    weights = weights / weights.sum(1, keepdim=True)
    columns = (torch.arange(size, device=sigma.device)[:, None] + offsets).clamp_(0, size - 1)
    matrices = sigma.new_zeros(len(sigma), size, size)
    shape = (len(sigma), *columns.shape)
    return matrices.scatter_add_(2, columns.expand(shape), weights[:, None].expand(shape))
