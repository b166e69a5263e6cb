"""How a sparsity is shared among the layers of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.layers import Pattern, prunable
from sinewy.select import largest

Shapes = Mapping[str, Sequence[int]]

ALLOCATIONS: dict[str, str] = {
    "uniform": "sinewy.allocation:uniform",
    "er": "sinewy.allocation:er",
    "erk": "sinewy.allocation:erk",
    "global": "sinewy.allocation:global_magnitude",
    "proportional": "sinewy.capacity:proportional",
    "water-filling": "sinewy.capacity:water_filling",
}


def allocate(
    model: nn.Module,
    sparsity: float,
    how: str = "erk",
    *,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] = (),
    dense: Sequence[str] = (),
) -> dict[str, float]:
    """Return the sparsity of each prunable tensor, by parameter name, such that `sparsity` holds over all of them.

    `sparsity` is in [0, 1). `how` is "uniform", "er", "erk" (Evci et al. 2020, with the iterative clamp), "global" (by
    global weight magnitude), "proportional" or "water-filling" (fixed capacity, `sinewy.capacity`), or
    "package.module:function" of (parameters, densities wanted). Tensors matching a `dense` pattern keep all their
    weights and count in the total; `include` and `exclude` (see `prunable`) decide what counts at all. The values are
    exact shares before rounding; `counts` makes integers of them. Raises InputError if the sparsity cannot be reached,
    with the largest one that can.
    """
    return allocate_among(prunable(model, include=include, exclude=exclude), sparsity, how, dense=dense)


def allocate_among(
    parameters: Mapping[str, Tensor], sparsity: float, how: str = "erk", *, dense: Sequence[str] = ()
) -> dict[str, float]:
    """Do what `allocate` does for parameters already picked out of a model."""
    sparsity = check_sparsity(sparsity)
    kept_dense = stay_dense(parameters, dense)
    free = {name: p for name, p in parameters.items() if name not in kept_dense}
    total, reserved = _size(parameters), _size({name: parameters[name] for name in kept_dense})
    budget = (1 - sparsity) * total - reserved
    least = len(free)  # a tensor with no weight at all cuts the network in two
    if budget < least - 0.5 + 1e-6:  # a half may be rounded down
        feasible = math.floor((1 - (reserved + least) / total) * 1e4) / 1e4
        why = f"{', '.join(kept_dense)} stay dense" if kept_dense else "each tensor keeps at least one weight"
        raise InputError(f"sparsity {sparsity:g} cannot be reached ({why}); the largest that can is {feasible:g}.")
    rule: Callable[[Mapping[str, Tensor], float], dict[str, float]] = resolve("allocation", how, ALLOCATIONS)
    densities = dict.fromkeys(kept_dense, 1.0) | (rule(free, budget / _size(free)) if free else {})
    return {name: 1 - densities[name] for name in parameters}


def stay_dense(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return those of `names` that match a shell-style pattern of `patterns`, in their order."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def check_sparsity(sparsity: float) -> float:
    """Return `sparsity` as a float; raise InputError unless it is a real number, numpy's too, in [0, 1)."""
    if not isinstance(sparsity, Real) or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise InputError(f"sparsity must be in [0, 1), the fraction of zeros; got {sparsity!r}.")
    return float(sparsity)


def uniform(parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Return the same density for every tensor."""
    return dict.fromkeys(parameters, density)


def erk(parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Return Erdos-Renyi-kernel densities: proportional to sum(shape) / prod(shape) (Evci et al. 2020)."""
    return _scaled({name: sum(p.shape) / math.prod(p.shape) for name, p in parameters.items()}, parameters, density)


def er(parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Return Erdos-Renyi densities: proportional to (n_in + n_out) / (n_in * n_out) (Mocanu et al. 2018)."""
    return _scaled(
        {name: sum(p.shape[:2]) / math.prod(p.shape[:2]) for name, p in parameters.items()}, parameters, density
    )


def global_magnitude(parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Return the densities that ranking all weights together by magnitude gives; ties go to the earlier weight."""
    sizes = [p.numel() for p in parameters.values()]
    magnitudes = torch.cat([p.detach().abs().reshape(-1).float() for p in parameters.values()])
    kept = largest(magnitudes, round(density * sum(sizes)))
    owner = torch.bucketize(kept, torch.tensor(np.cumsum(sizes), device=kept.device), right=True)
    per_tensor = torch.bincount(owner, minlength=len(sizes)).tolist()
    return {name: count / size for name, count, size in zip(parameters, per_tensor, sizes, strict=True)}


def counts(sparsities: Mapping[str, float], shapes: Shapes) -> dict[str, int]:
    """Return how many weights each tensor keeps: the shares rounded so that the total is exact.

    The total is round(sum of shares); each tensor gets the floor or ceiling of its own share (largest remainder first,
    then model order), but at least one weight.
    """
    sizes = {name: math.prod(shapes[name]) for name in sparsities}
    shares = {name: sizes[name] * (1 - sparsities[name]) for name in sparsities}
    floors = {name: min(max(math.floor(share + 1e-6), 1), sizes[name]) for name, share in shares.items()}
    missing = round(sum(shares.values())) - sum(floors.values())
    by_remainder = sorted(
        shares, key=lambda name: floors[name] - shares[name]
    )  # sorted is stable: ties keep model order
    for name in by_remainder[: max(missing, 0)]:
        floors[name] = min(floors[name] + 1, sizes[name])
    for name in sorted(floors, key=lambda name: -floors[name])[
        : max(-missing, 0)
    ]:  # weights lent to tensors that had none
        floors[name] -= 1
    return floors


def _scaled(raw: Mapping[str, float], parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Scale `raw` densities to meet the budget; what would exceed 1 is made dense and the rest scaled again."""
    sizes = {name: p.numel() for name, p in parameters.items()}
    budget = density * sum(sizes.values())
    full: set[str] = set()
    while True:
        rest = [name for name in raw if name not in full]
        if not rest:
            return dict.fromkeys(raw, 1.0)
        scale = (budget - sum(sizes[name] for name in full)) / sum(raw[name] * sizes[name] for name in rest)
        highest = max(raw[name] for name in rest)
        if highest * scale <= 1:
            return {name: 1.0 if name in full else scale * raw[name] for name in raw}
        full |= {name for name in rest if raw[name] == highest}


def _size(parameters: Mapping[str, Tensor]) -> int:
    return sum(p.numel() for p in parameters.values())
