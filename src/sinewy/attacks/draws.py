"""Where an attack's random numbers come from: image i gets the same ones, whatever is attacked with it, on any device.

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
the numbers are a function of a key and a counter, and the counter holds the image's number and the place in the image.
So the images that are still to be attacked can be any subset, and all draw at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import torch
from torch import Tensor

_WORD = 2**32 - 1
_FACTORS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def uniform(seed: int, numbers: Tensor, shape: Sequence[int]) -> Tensor:
    """Return float32 (N, *shape), uniform on the multiples of 2^-24 in [0, 1), on the device of `numbers`.

    `numbers` is int64 (N,): the number of each image in its set, at least 0. `seed` is in [0, 2^64); another purpose
    needs another seed.
    """
    return (_top24(seed, numbers, shape).float() * 2**-24).view(len(numbers), *shape)


def normal(seed: int, numbers: Tensor, shape: Sequence[int]) -> Tensor:
    """Return float32 (N, *shape) standard normal numbers, by inversion of 2^24 equally likely levels; see `uniform`."""
    levels = (_top24(seed, numbers, shape).double() + 0.5) * 2**-24
    numbers_drawn: Tensor = torch.special.ndtri(levels)
    return numbers_drawn.float().view(len(numbers), *shape)


def philox(counters: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Return the four 32-bit output words of Philox4x32-10 for four 32-bit counter words, all held in int64 tensors."""
    a, b, c, d = counters
    key_a, key_b = key
    for _ in range(_ROUNDS):
        # An int64 product wraps modulo 2^64, so its bits are those of the unsigned product.
        left, right = a * _FACTORS[0], c * _FACTORS[1]
        a, b = (right >> 32 & _WORD) ^ b ^ key_a, right & _WORD
        c, d = (left >> 32 & _WORD) ^ d ^ key_b, left & _WORD
        key_a, key_b = key_a + _KEY_STEPS[0] & _WORD, key_b + _KEY_STEPS[1] & _WORD
    return [a, b, c, d]


def _top24(seed: int, numbers: Tensor, shape: Sequence[int]) -> Tensor:
    """Return int64 (N, values per image), uniform on 0 <= n < 2^24."""
    per_image = prod(shape)
    place = torch.arange(ceil(per_image / 4), device=numbers.device).expand(len(numbers), -1)
    image = numbers[:, None].expand_as(place)
    counters = [place, torch.zeros_like(place), image & _WORD, image >> 32]
    words = torch.stack(philox(counters, (seed & _WORD, seed >> 32)), dim=2)
    return words.flatten(1)[:, :per_image] >> 8
