"""Which weights go and which come back: scores per weight, the highest of which stay, or grow."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sinewy.sparsify.layer import SparseLayer

Saliency = Callable[[SparseLayer, Tensor | None], Tensor]
"""Maps (layer, dense gradient or None) to a score per weight, in the weight's shape; higher is kept, or grown."""

SALIENCIES: dict[str, str] = {
    "magnitude": "sinewy.sparsify.saliency:magnitude",
    "magnitude+gradient": "sinewy.sparsify.saliency:magnitude_gradient",
    "sensitivity": "sinewy.sparsify.saliency:sensitivity",
    "relative": "sinewy.sparsify.saliency:relative",
}

GROWTHS: dict[str, str] = {
    "random": "sinewy.sparsify.saliency:random",
    "gradient": "sinewy.sparsify.saliency:gradient",
}

GRADIENT_FREE = frozenset({"magnitude", "relative", "random"})
"""The names above that do not read the gradient."""


def magnitude(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Return |w|."""
    del gradient
    return layer.weight.abs()


def magnitude_gradient(layer: SparseLayer, gradient: Tensor | None, weight: float = 0.01) -> Tensor:
    """Return |w| + 0.01 |dL/dw| (MEST, Yuan et al. 2021, section 3.2; their code leaves the second term at 0)."""
    assert gradient is not None
    return layer.weight.abs() + weight * gradient.abs()


def sensitivity(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Return |w dL/dw|, the first-order change of the loss when the weight goes (Mozer and Smolensky 1989; SNIP)."""
    assert gradient is not None
    return (layer.weight * gradient).abs()


def relative(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Return |w| / (sum over its output neuron) + |w| / (sum over its input neuron), the relative importance.

    The removal "ri" of the CHT code (Zhang et al. 2024). Each kernel position of a convolution is a matrix of its own.
    """
    del gradient
    size = layer.weight.abs()
    return size / (size.sum(1, keepdim=True) + 1e-5) + size / (size.sum(0, keepdim=True) + 1e-5)


def gradient(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Return |dL/dw| of the dense gradient of the masked weight (RigL, Evci et al. 2020)."""
    del layer
    assert gradient is not None
    return gradient.abs()


def random(layer: SparseLayer, gradient: Tensor | None) -> Tensor:
    """Stand for uniform growth, which is drawn without scoring every weight (Mocanu et al. 2018)."""
    del layer, gradient
    raise AssertionError("random growth draws places; it has no scores")
