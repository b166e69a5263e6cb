"""Which weights go and which come back: scores per weight, the highest of which stay, or grow."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sinewy.sparsify.layer import SparseLayer

Saliency = Callable[[SparseLayer, Tensor | None], Tensor]
"""Maps (layer, dense gradient or None) to a score per weight, in the weight's shape; higher is kept, or grown."""

SALIENCIES: dict[str, str] = {
    "magnitude": "sinewy.sparsify.saliency:magnitude",
}

GROWTHS: dict[str, str] = {
    "random": "sinewy.sparsify.saliency:random",
    "gradient": "sinewy.sparsify.saliency:gradient",
}


def magnitude(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Return |w|."""
    del gradient
    return layer.weight.abs()


def gradient(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Return |dL/dw| of the dense gradient of the masked weight (RigL, Evci et al. 2020)."""
    del layer
    assert gradient is not None
    return gradient.abs()


def random(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Stand for uniform growth, which is drawn without scoring every weight (Mocanu et al. 2018)."""
    del layer, gradient
    raise AssertionError("random growth draws places; it has no scores")
