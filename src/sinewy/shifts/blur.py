"""Blurs: Gaussian, defocus, frosted glass, motion and zoom."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, clipped_zoom_matrices, gaussian, to_uint8
from sinewy.shifts.filters import motion_blur as smear

GAUSSIAN_BLUR = {  # sigma in pixels
    "cifar": (0.4, 0.6, 0.7, 0.8, 1.0),
    "tiny": (0.5, 0.75, 1.0, 1.25, 1.5),
    "imagenet": (1.0, 2.0, 3.0, 4.0, 6.0),
}

DEFOCUS_BLUR = {  # radius of the disk, sigma of the blur of its rim, in pixels
    "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "tiny": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}

GLASS_BLUR = {  # sigma in pixels, farthest move of a pixel, passes
    "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "tiny": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}

MOTION_BLUR = {  # radius (2 radius + 1 taps), sigma, in pixels
    "cifar": ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
    "tiny": ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
    "imagenet": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
}

ZOOM_BLUR = {  # stop and step of np.arange from 1; rounding includes the stop of 1.06 and 1.11: 7 12 16 21 26 zooms
    "cifar": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "tiny": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "imagenet": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
}


def gaussian_blur(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) filtered by a Gaussian cut at 4 sigma, edges replicated; nothing is random."""
    del draws
    return to_uint8(gaussian(images, GAUSSIAN_BLUR[preset][severity - 1]).add_(ON_THE_EDGE))


def defocus_blur(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) filtered by a soft disk, edges mirrored; nothing is random.

    Kept from the benchmark: at radius 8 and 10 the softened disk is cut by its grid and sums to 1.013 and 1.011, so the
    image brightens. Raises InputError for images no larger than the reach of the disk.
    """
    del draws
    from scipy.fft import next_fast_len

    kernel = _disk(*DEFOCUS_BLUR[preset][severity - 1])
    reach = kernel.shape[0] // 2
    height, width = images.shape[-2:]
    if min(height, width) <= reach:
        raise _too_small("defocus_blur", height, width, reach + 1, severity, preset)
    padded = F.pad(images.double(), (reach,) * 4, mode="reflect")
    size = [next_fast_len(side, real=True) for side in padded.shape[-2:]]
    # the disk is symmetric, so convolving is correlating, and the part that wraps around is cut off
    spectrum = torch.fft.rfft2(padded, s=size).mul_(_disk_spectrum(kernel, *size).to(images.device))
    levels = torch.fft.irfft2(spectrum, s=size)[..., 2 * reach : 2 * reach + height, 2 * reach : 2 * reach + width]
    return to_uint8(levels.add_(ON_THE_EDGE))


@lru_cache(maxsize=32)  # by identity of the disk, which is kept itself
def _disk_spectrum(disk: Tensor, height: int, width: int) -> Tensor:
    spectrum: Tensor = torch.fft.rfft2(disk, s=(height, width))
    return spectrum


@lru_cache(maxsize=32)
def _disk(radius: float, alias: float) -> Tensor:
    """Return the odd-sided float64 kernel of the disk, its rim blurred as OpenCV does, less its margin of zeros."""
    from scipy.ndimage import correlate1d

    half, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    axis = np.arange(-half, half + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    soft: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-taps, taps + 1) / alias) ** 2)
    kernel = disk / disk.sum()
    for direction in (0, 1):
        kernel = correlate1d(kernel, soft / soft.sum(), axis=direction, mode="mirror")
    margin = half - int(np.abs(axis[kernel.max(axis=0) > 0]).max())
    return torch.from_numpy(kernel[margin : len(axis) - margin, margin : len(axis) - margin].copy())


def glass_blur(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) seen through frosted glass: blurred, pixels moved about at random, blurred.

    A pass visits the pixels from the last to the first, except a margin; each takes the current colour of a pixel up to
    `reach` away. Kept from the benchmark: what it calls a swap is a copy (the other pixel keeps its colour), and the
    window is -reach .. reach - 1. Raises InputError for images of no more than 2 * reach pixels a side.
    """
    sigma, reach, passes = GLASS_BLUR[preset][severity - 1]
    height, width = images.shape[-2:]
    if min(height, width) <= 2 * reach:
        raise _too_small("glass_blur", height, width, 2 * reach + 1, severity, preset)
    blurred = to_uint8(gaussian(images, sigma).add_(ON_THE_EDGE))
    moves = draws.integers(-reach, reach, passes, height - 2 * reach, width - 2 * reach, 2)
    origin = _origins(moves, height, width, reach)
    moved = blurred.flatten(2).gather(2, origin[:, None].expand(-1, 3, -1)).view_as(images)
    return to_uint8(gaussian(moved, sigma).add_(ON_THE_EDGE))


def _origins(moves: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Return (N, H * W): the flat index of the pixel whose colour each pixel has after all passes.

    `moves` (N, passes, H - 2 reach, W - 2 reach, 2) holds the moves (dx, dy) of the pixels that are visited.
    """
    here = torch.arange(height * width, device=moves.device).expand(len(moves), -1)
    origin = here
    visited = F.pad(moves.new_ones(height - 2 * reach, width - 2 * reach), (reach + 1, reach - 1) * 2).bool().flatten()
    # flat index of a move; pixels that are not visited stay where they are
    steps = F.pad(moves[..., 1] * width + moves[..., 0], (reach + 1, reach - 1) * 2).flatten(2)
    for step in steps.unbind(1):
        source = here + step
        # a source visited earlier in the pass has already changed: follow it to where its colour came from
        later = visited[source] & (source > here)
        root = torch.where(later, source, here)
        origin = origin.gather(1, source.gather(1, _follow(root)))
    return origin


def _follow(pointer: Tensor) -> Tensor:
    """Return where the chains of `pointer` (N, M), indices into its own rows, come to rest."""
    while True:
        farther = pointer.gather(1, pointer)
        if torch.equal(farther, pointer):
            return pointer
        pointer = farther


def motion_blur(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) smeared along a line at a random angle in [-45, 45) degrees, rounded.

    The recipe is ImageMagick's, see `sinewy.shifts.filters.motion_blur`.
    """
    radius, sigma = MOTION_BLUR[preset][severity - 1]
    angles = draws.uniform() * 90 - 45
    return to_uint8(smear(images.float(), radius, sigma, angles) + 0.5)


def zoom_blur(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) averaged with ever larger zooms into their middle; nothing is random."""
    del draws
    height, width = images.shape[-2:]
    average = _zoom_average(height, width, *ZOOM_BLUR[preset][severity - 1]).to(images.device)
    pixels = images.reshape(-1, height * width).T.double()
    levels = (average @ pixels).T.reshape(images.shape)
    return to_uint8(levels.add_(ON_THE_EDGE))


@lru_cache(maxsize=5)
def _zoom_average(height: int, width: int, stop: float, step: float) -> Tensor:
    """Return the sparse (H W, H W) matrix of the average of an image and its zooms."""
    from scipy.sparse import csr_array, eye_array, kron

    zooms = np.arange(1, stop, step)
    total = eye_array(height * width, format="csr")
    for zoom in zooms:
        vertical, horizontal = clipped_zoom_matrices(height, width, float(zoom))
        total = total + kron(csr_array(vertical.numpy()), csr_array(horizontal.numpy()), format="csr")
    average = total / (len(zooms) + 1)
    # 32-bit indices are what MKL takes: ten times faster than the coordinate format at 224 x 224
    starts, columns = (torch.from_numpy(index.astype(np.int32)) for index in (average.indptr, average.indices))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        values = torch.from_numpy(average.data)
        return torch.sparse_csr_tensor(starts, columns, values, average.shape, check_invariants=True)


def _too_small(kind: str, height: int, width: int, needed: int, severity: int, preset: str) -> InputError:
    return InputError(
        f"{kind} at severity {severity} of preset '{preset}' needs images of at least {needed} x {needed} pixels, "
        f"got {height} x {width}. Use the preset nearest to your image size."
    )
