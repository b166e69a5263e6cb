"""How much one layer can stretch its input: spectral norms of linear layers as operators on the input they really get.

A convolution's norm depends on the size of the image and on its padding; the norm of its kernel as a matrix is not it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.errors import InputError

TOLERANCE = 1e-5
SLOPES: dict[type[nn.Module], float] = {
    nn.ReLU: 1.0,
    nn.ReLU6: 1.0,
    nn.Softplus: 1.0,
    nn.Tanh: 1.0,
    nn.Hardtanh: 1.0,
    nn.Sigmoid: 0.25,
    nn.GELU: 1.12906,
    nn.SiLU: 1.09984,
    nn.Hardswish: 1.5,
    nn.Identity: 1.0,
    nn.Flatten: 1.0,
    nn.Dropout: 1.0,
    nn.Dropout2d: 1.0,
}
"""The largest slope of what works on each value by itself, or moves values only."""

LARGEST = 512
"""Up to so many values a layer is made a matrix, whose norm is exact."""

Linear = Callable[[Tensor], Tensor]
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOLS = (nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def layer_norm(module: nn.Module, shape: torch.Size) -> float:
    """Return the largest factor by which a layer can stretch the distance of two inputs of `shape` (1, ...).

    Linear layers: the spectral norm. Batch norm in evaluation mode: the largest |gain / deviation|. Max pooling: the
    square root of how many windows share a value. Raises InputError for a layer that is not known.
    """
    for kind, slope in SLOPES.items():
        if type(module) is kind:
            return slope
    if isinstance(module, nn.LeakyReLU | nn.ELU):
        return max(1.0, abs(module.negative_slope if isinstance(module, nn.LeakyReLU) else module.alpha))
    if isinstance(module, nn.Linear):
        return float(torch.linalg.matrix_norm(module.weight.detach().double(), 2))
    if isinstance(module, (*CONVOLUTIONS, *POOLS)):
        if shape.numel() <= LARGEST:
            return float(torch.linalg.matrix_norm(matrix_of(linear_part(module), shape, _device(module)), 2))
        return spectral_norm(linear_part(module, torch.float32), shape, _device(module))
    if isinstance(module, NORMS):
        return float(_gains(module).abs().max())
    if isinstance(module, nn.MaxPool2d):
        return _overlap(module)
    raise InputError(f"no Lipschitz bound is known for a layer of type {type(module).__name__}.")


def linear_part(module: nn.Module, dtype: torch.dtype = torch.float64) -> Linear:
    """Return a layer as a linear map of tensors of `dtype`, without its bias."""
    if isinstance(module, nn.Linear):
        return partial(F.linear, weight=module.weight.detach().to(dtype))
    if isinstance(module, CONVOLUTIONS):
        return partial(_convolve, module, module.weight.detach().to(dtype))
    if isinstance(module, POOLS):
        return module
    raise InputError(f"a layer of type {type(module).__name__} is not linear.")


def spectral_norm(apply: Linear, shape: torch.Size, device: torch.device | None = None) -> float:
    """Return the spectral norm of a linear map of float32 tensors of `shape`, by Lanczos iteration from a fixed start.

    It approaches from below, to a relative TOLERANCE of its square; power iteration alone stalls where the largest
    singular values lie close, as those of convolutions do.
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    size = math.prod(shape)

    def squared(values: NDArray[np.float64]) -> NDArray[np.float64]:
        vector = torch.from_numpy(values.astype(np.float32)).to(device).view(shape).requires_grad_()
        with torch.enable_grad():
            image = apply(vector)
            (back,) = torch.autograd.grad(image, vector, image.detach())
        return np.asarray(back.flatten().cpu().double().numpy())

    start = np.sin(np.arange(1.0, size + 1))
    if not squared(start).any():
        return 0.0
    operator = LinearOperator((size, size), matvec=squared, dtype=np.float64)
    largest = eigsh(operator, k=1, v0=start, tol=TOLERANCE, return_eigenvectors=False)
    return math.sqrt(max(float(largest[0]), 0.0))


def matrix_of(apply: Linear, shape: torch.Size, device: torch.device | None = None) -> Tensor:
    """Return a linear map of tensors of `shape` (1, ...) as a matrix, (outputs, inputs), in double precision."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64, device=device).view(-1, *shape[1:])
    return apply(basis).flatten(1).T.contiguous()


def _convolve(module: nn.Module, weight: Tensor, inputs: Tensor) -> Tensor:
    # The layer's own code, so that its padding mode is kept.
    result: Tensor = module._conv_forward(inputs, weight, None)  # type: ignore[operator]
    return result


def _gains(module: nn.Module) -> Tensor:
    variance = module.running_var
    if not isinstance(variance, Tensor):
        raise InputError("a batch norm without running statistics has no Lipschitz bound.")
    gain = module.weight.detach() if isinstance(module.weight, Tensor) else torch.ones_like(variance)
    return gain.double() / (variance.double() + module.eps).sqrt()  # type: ignore[operator]


def _overlap(module: nn.MaxPool2d) -> float:
    sizes, strides, gaps = map(_pair, (module.kernel_size, module.stride or module.kernel_size, module.dilation))
    # a window with gaps meets a value again after fewer strides
    apart = [stride // math.gcd(stride, gap) for stride, gap in zip(strides, gaps, strict=True)]
    return math.sqrt(math.prod(math.ceil(size / period) for size, period in zip(sizes, apart, strict=True)))


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _device(module: nn.Module) -> torch.device | None:
    return next((parameter.device for parameter in module.parameters()), None)
