"""Where a layer's weights are: counts and magnitudes per kernel, and how few channels hold them.

Wu et al. 2025, section 5.1 and Figures 5, 16 and 17: maps of the non-zero weights of each kernel, output channels down,
input channels across, whose dark rows and columns are channels that sparsity has cut off.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from sinewy.errors import InputError, unknown_name
from sinewy.layers import prunable, unwrap
from sinewy.seeds import derive

SIDES = ("input", "output")
DRAWS = 1000


class KernelMaps(NamedTuple):
    """One value per kernel, (outputs, inputs): how many of its weights are not zero, and the sum of their magnitudes.

    The kernel of a linear layer is one weight. Grouped convolutions have inputs / groups columns.
    """

    nonzero: NDArray[np.int64]
    magnitude: NDArray[np.float64]


@dataclass(frozen=True)
class Concentration:
    """How unevenly the non-zero weights (or the magnitude) of a layer are shared among the channels of one side.

    `gini` is 0 where all channels hold the same and nears 1 where one holds all; `entropy` is that of the shares over
    that of equal ones, 1 and 0 there; `empty` is the share of channels that hold nothing. `chance` and its interval
    [low, high], 95 % of random masks of the same count, are the gini of non-zeros that fell anywhere (NaN for
    magnitudes): beyond `high`, the weights are more concentrated than chance makes them.
    """

    side: str
    of: str
    gini: float
    entropy: float
    empty: float
    chance: float
    low: float
    high: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the channels share more unevenly than 97.5 % of random masks."""
        return self.gini > self.high

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values; NaN stays NaN."""
        return asdict(self) | {"beyond_chance": self.beyond_chance}


@torch.no_grad()
def kernel_maps(weight: Tensor) -> KernelMaps:
    """Return the maps of a weight (outputs, inputs, ...), of a convolution of any dimension or a linear layer."""
    if weight.ndim < 2 or 0 in weight.shape:
        raise InputError(f"a map needs a weight (outputs, inputs, ...), none of them 0, got {tuple(weight.shape)}.")
    flat = weight.detach().flatten(2) if weight.ndim > 2 else weight.detach()[:, :, None]
    return KernelMaps((flat != 0).sum(2).cpu().numpy(), flat.double().abs().sum(2).cpu().numpy())


def model_maps(model: nn.Module, *, names: tuple[str, ...] = ()) -> dict[str, KernelMaps]:
    """Return the maps of the prunable weights of `model` by name: of all, or of `names` only."""
    weights = prunable(unwrap(model))
    for name in names:
        if name not in weights:
            raise unknown_name("weight", name, weights)
    return {name: kernel_maps(weight) for name, weight in weights.items() if not names or name in names}


def concentration(
    weight: Tensor, side: str, *, of: str = "nonzero", draws: int = DRAWS, seed: int = 0
) -> Concentration:
    """Return how concentrated the weights of a layer are in the channels of `side`, "input" or "output".

    `of` is "nonzero" or "magnitude". The random masks put the same number of non-zeros anywhere in the tensor: `draws`
    of them, exactly, by the hypergeometric distribution of their counts per channel.
    """
    if side not in SIDES:
        raise unknown_name("side", side, SIDES)
    maps = kernel_maps(weight)
    if of not in KernelMaps._fields:
        raise unknown_name("measure of weights", of, KernelMaps._fields)
    held = getattr(maps, of).sum(axis=0 if side == "input" else 1)
    chance, low, high = (float("nan"),) * 3
    if of == "nonzero":
        generator = np.random.default_rng(derive(seed, "concentration", side))
        room = np.full(len(held), weight.numel() // len(held))
        random = generator.multivariate_hypergeometric(room, int(held.sum()), size=draws, method="marginals")
        ginis = gini(random)
        chance = float(np.mean(ginis))
        low, high = (float(edge) for edge in np.quantile(ginis, [0.025, 0.975]))
    own = (float(gini(held)), float(relative_entropy(held)), float((held == 0).mean()))
    return Concentration(side, of, *own, chance, low, high)


def gini(held: ArrayLike) -> NDArray[np.float64]:
    """Return Gini's coefficient of what the channels hold, over the last dimension, in [0, 1); 0 if that is nothing.

    Half the mean difference between two channels, over the mean.
    """
    values = np.sort(_held(held), axis=-1)
    n = values.shape[-1]
    total = values.sum(axis=-1)
    ranked = (values * (2 * np.arange(1, n + 1) - n - 1)).sum(axis=-1)
    return np.asarray(np.where(total > 0, ranked / (n * np.where(total > 0, total, 1)), 0.0))


def relative_entropy(held: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of the shares over its maximum, over the last dimension, in [0, 1]; 0 if all is in one."""
    values = _held(held)
    total = values.sum(axis=-1, keepdims=True)
    shares = values / np.where(total > 0, total, 1)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=-1)
    return np.asarray(np.clip(entropy / max(np.log(values.shape[-1]), 1e-300), 0, 1))


def _held(held: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(held, np.float64)
    if values.ndim == 0 or values.shape[-1] == 0 or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError("what channels hold must be finite and at least 0, with one channel or more.")
    return values
