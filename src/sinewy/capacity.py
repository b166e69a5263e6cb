"""How a fixed number of weights is shared among the layers of a network that has more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from sinewy.layers import Pattern, prunable


def prunable_count(
    model: nn.Module, *, include: Sequence[Pattern] | None = None, exclude: Sequence[Pattern] = ()
) -> int:
    """Return how many prunable weights `model` has, its capacity; `include` and `exclude` are those of `prunable`."""
    return sum(parameter.numel() for parameter in prunable(model, include=include, exclude=exclude).values())


def water_filling(parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Return the densities that shave the largest tensors down to one common number of weights, the smaller kept whole.

    The total is round(density * weights), and at least one weight a tensor. Where it does not divide evenly, the
    largest tensor keeps that much less than the others. This is the code of Golubeva et al. 2021 (wide-sparse-nets),
    integer for integer, continued to where every tensor is shaved; there it stops with an error.
    """
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    budget = max(round(density * sum(sizes.values())), len(sizes))
    level = _level(sizes.values(), budget)
    kept = {name: min(size, level) for name, size in sizes.items()}
    surplus = sum(kept.values()) - budget
    for name in sorted(sizes, key=lambda name: -sizes[name]):  # sorted is stable: equal sizes keep model order
        lent = min(surplus, kept[name] - 1)
        kept[name] -= lent
        surplus -= lent
    return {name: kept[name] / size for name, size in sizes.items()}


def proportional(parameters: Mapping[str, Tensor], density: float) -> dict[str, float]:
    """Return the same density for every tensor, first and last included: each loses in proportion to its size.

    The words of Timpl et al. 2022, section 2; the code that they build on is `water_filling`.
    """
    return dict.fromkeys(parameters, density)


def _level(sizes: Iterable[int], budget: int) -> int:
    """Return the least whole number L for which the sum of min(size, L) is at least `budget`."""
    ascending = sorted(sizes)
    for index, size in enumerate(ascending):
        level = -(-budget // (len(ascending) - index))
        if size >= level:
            return level
        budget -= size
    return ascending[-1]
