"""Other weights near a model's own: noise in proportion, noise of one size, and rounding to few bits.

Every function takes and returns weights by name, and leaves the model alone. The same seed and draw give every model
the same noise in a tensor of the same name and shape, so that models are compared on common random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.seeds import derive

Weights = dict[str, Tensor]
NOISES = ("relative", "additive")
ROUNDINGS = {"int8": (8, True), "int4": (4, True), "int8-tensor": (8, False), "int4-tensor": (4, False)}
"""Rounding to nearest by name: its bits, and whether each output channel has a scale of its own."""


def relative(weights: Mapping[str, Tensor], sigma: float, *, seed: int, draw: int) -> Weights:
    """Return w (1 + sigma xi), xi standard normal per weight (Timpl et al. 2022, section 3); zeros stay zeros."""
    return {name: w * (1 + sigma * _noise(name, w, seed, draw)) for name, w in weights.items()}


def additive(weights: Mapping[str, Tensor], sigma: float, *, seed: int, draw: int) -> Weights:
    """Return w + sigma r xi on the weights that are not zero, r the root mean square of those of the tensor.

    Pruned weights stay zero, as they would in any format that does not store them.
    """
    return {name: w + sigma * _size(w) * _noise(name, w, seed, draw) * (w != 0) for name, w in weights.items()}


def rounded(weights: Mapping[str, Tensor], bits: int, *, per_channel: bool = True) -> Weights:
    """Return weights rounded to the nearest of 2^bits - 1 levels, symmetric about 0, one scale per output channel.

    The scale is that channel's largest magnitude over 2^(bits - 1) - 1, so zeros stay zeros; without `per_channel` it
    is the whole tensor's. Halves go to even.
    """
    if not 2 <= bits <= 16:
        raise InputError(f"bits={bits} must be 2 to 16.")
    return {name: _rounded(w, 2 ** (bits - 1) - 1, per_channel) for name, w in weights.items()}


def perturbation(name: str, sigma: float, *, seed: int, draw: int) -> Callable[[Mapping[str, Tensor]], Weights]:
    """Return the perturbation of that name: one of NOISES at `sigma`, or one of ROUNDINGS, which draws nothing."""
    if name in ROUNDINGS:
        bits, per_channel = ROUNDINGS[name]
        return partial(rounded, bits=bits, per_channel=per_channel)
    if name not in NOISES:
        raise unknown_name("perturbation of weights", name, (*NOISES, *ROUNDINGS))
    return partial(relative if name == "relative" else additive, sigma=sigma, seed=seed, draw=draw)


def _noise(name: str, weight: Tensor, seed: int, draw: int) -> Tensor:
    # Drawn on the CPU, so that every device gets the same numbers.
    generator = torch.Generator().manual_seed(derive("weight noise", seed, draw, name))
    return torch.randn(weight.shape, generator=generator).to(weight)


def _size(weight: Tensor) -> Tensor:
    return (weight.square().sum() / weight.count_nonzero().clamp(min=1)).sqrt()


def _rounded(weight: Tensor, levels: int, per_channel: bool) -> Tensor:
    # Scales of half precision would round themselves.
    plain = weight if weight.dtype is torch.float64 else weight.float()
    channels = plain.abs().flatten(1).amax(1).view(-1, *[1] * (plain.ndim - 1))
    largest = channels if per_channel else channels.amax()
    scale = torch.where(largest > 0, largest / levels, 1)
    return ((plain / scale).round() * scale).to(weight)
