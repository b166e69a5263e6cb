"""Where the random numbers of a corruption come from: image i gets the same ones whatever is corrupted with it."""

from __future__ import annotations

from functools import cache
from math import ceil, prod
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.seeds import derive

Word = TypeVar("Word", np.uint16, np.uint32)

_BLOCK = 4
"""64-bit words per step of the Philox counter."""


class Draws:
    """The randomness of one corruption of `count` images, the first of which is number `start` of its set.

    What image number `start + i` gets depends only on kind, severity, seed, how many draws came before, and start + i:
    each draw is its own Philox stream, in which every image owns a fixed run of counter steps. The numbers are made on
    the CPU and moved to `device`, so every device sees the same ones. A shape is that of one image; results have shape
    (count, *shape).
    """

    def __init__(
        self, kind: str, severity: int, seed: int, start: int, count: int, device: torch.device | str = "cpu"
    ) -> None:
        self.kind = kind
        self.severity = severity
        self.seed = seed
        self.start = start
        self.count = count
        self.device = torch.device(device)
        self._calls = 0

    def uniform(self, *shape: int) -> Tensor:
        """Return float32 numbers, uniform on the multiples of 2^-24 in [0, 1)."""
        words = self._words(np.uint32, shape)
        return self._tensor((words >> 8).astype(np.float32) * np.float32(2**-24))

    def normal(self, *shape: int) -> Tensor:
        """Return float32 standard normal numbers: the means of 2^16 equally likely slices of the normal distribution.

        The distribution function is within 2^-16 of the normal one everywhere; the largest magnitude is 4.4. Unlike a
        rejection sampler it consumes a fixed number of bits, and unlike Box-Muller it is the same on every processor.
        """
        return self._tensor(np.take(_normal_slices(), self._words(np.uint16, shape)))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return int64 numbers, uniform on `low` <= n < `high`; the bias is below (high - low) / 2^32."""
        if not 0 < high - low < 2**31:
            raise ValueError(f"integers needs low < high < low + 2^31, got low={low}, high={high}")
        words = self._words(np.uint32, shape).astype(np.uint64)
        return self._tensor((words * np.uint64(high - low) >> np.uint64(32)).astype(np.int64) + low)

    def bits16(self, *shape: int) -> Tensor:
        """Return int64 numbers, uniform on 0 <= n < 65536: indices into a table of equally likely outcomes."""
        return self._tensor(self._words(np.uint16, shape).astype(np.int64))

    def _words(self, dtype: type[Word], shape: tuple[int, ...]) -> NDArray[Word]:
        """Return (count, *shape) independent words of the next stream."""
        per_image = prod(shape)
        steps = max(1, ceil(per_image * np.dtype(dtype).itemsize / (8 * _BLOCK)))
        key = derive("corruption", self.kind, self.severity, self.seed, self._calls)
        self._calls += 1
        raw = np.random.Philox(key=key, counter=self.start * steps).random_raw(self.count * steps * _BLOCK)
        words = raw.astype("<u8", copy=False).view(dtype).reshape(self.count, -1)
        return words[:, :per_image].reshape(self.count, *shape)

    def _tensor(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(self.device)


@cache
def _normal_slices() -> NDArray[np.float32]:
    """Return the mean of the normal distribution within each of 2^16 equally likely slices, ascending."""
    from scipy.special import ndtri

    slices = 2**16
    edges = ndtri(np.arange(slices + 1) / slices)
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    means: NDArray[np.float32] = (-np.diff(density) * slices).astype(np.float32)
    return means
