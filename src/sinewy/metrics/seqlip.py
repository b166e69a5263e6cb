"""SeqLip: an upper estimate that looks at two layers at a time, and so at how their singular vectors fit together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from sinewy.errors import InputError
from sinewy.metrics.operators import CONVOLUTIONS, LARGEST, layer_norm, linear_part, matrix_of

EXACT = 16
"""Up to so many neurons between two layers, all patterns of activation are tried."""

MOVES = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)
GATES = (nn.ReLU, nn.ReLU6, nn.ELU, nn.Softplus, nn.Tanh, nn.Hardtanh, nn.Sigmoid)
"""Activations whose slope lies between 0 and its maximum."""

FUSES: dict[tuple[type, type], Callable[..., nn.Module]] = {
    (nn.Conv2d, nn.BatchNorm2d): fuse_conv_bn_eval,
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn_eval,
}

RESTARTS, STEPS, INNER = 5, 100, 20


def seqlip(model: nn.Module, example: Tensor, *, seed: int = 0) -> float:
    """Return SeqLip of a network that is a sequence of layers (Virmaux and Scaman 2018, equation 8).

    Between two linear layers an activation can only pass or stop each value, so their joint norm is the largest over
    such patterns of the product of the singular halves. With up to EXACT neurons that is an upper bound of the
    Lipschitz constant, as is the product; with more, patterns are searched, and the estimate may lie below the true
    maximum, never above the product. Layers larger than LARGEST and max pooling enter by their norms. Raises
    InputError for a network that is not nn.Sequential.
    """
    bound = 1.0
    for segment in _segments(_folded(_flat(copy.deepcopy(model).eval())), example[:1]):
        bound *= _of_segment(segment, seed) if isinstance(segment, list) else segment
    return bound


def _flat(model: nn.Module) -> Iterator[nn.Module]:
    if not isinstance(model, nn.Sequential):
        raise InputError(f"SeqLip needs a network that is an nn.Sequential of layers, got {type(model).__name__}.")
    for child in model:
        if isinstance(child, nn.Sequential):
            yield from _flat(child)
        else:
            yield child


def _folded(layers: Iterator[nn.Module]) -> Iterator[nn.Module]:
    """Yield the layers, batch norms in evaluation mode folded into the convolution or linear layer before them."""
    last: nn.Module | None = None
    for layer in layers:
        fuse = FUSES.get((type(last), type(layer)))
        if last is not None and fuse is not None and not layer.training:
            last = fuse(copy.deepcopy(last).eval(), layer)
            continue
        if last is not None:
            yield last
        last = layer
    if last is not None:
        yield last


def _segments(layers: Iterator[nn.Module], example: Tensor) -> Iterator[list[Tensor] | float]:
    """Yield lists of matrices with an activation between each two, and the norms of what stands between the lists."""
    run: list[Tensor] = []
    adjacent = False
    for layer in layers:
        shape = example.shape
        with torch.no_grad():
            example = layer(example)
        if type(layer) in MOVES:
            continue
        if type(layer) in GATES:
            adjacent = False
            yield layer_norm(layer, shape)
            continue
        small = max(shape.numel(), example.numel()) <= LARGEST
        if isinstance(layer, (nn.Linear, *CONVOLUTIONS)) and small:
            matrix = matrix_of(linear_part(layer), shape, layer.weight.device)
            run = [*run[:-1], matrix @ run[-1]] if run and adjacent else [*run, matrix]
            adjacent = True
            continue
        if run:
            yield run
        run, adjacent = [], False
        yield layer_norm(layer, shape)
    if run:
        yield run


def _of_segment(matrices: list[Tensor], seed: int) -> float:
    parts = [torch.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
    if len(parts) == 1:
        return float(parts[0].S[0])
    bound, generator = 1.0, torch.Generator().manual_seed(seed)
    for number, (first, second) in enumerate(zip(parts, islice(parts, 1, None), strict=False)):
        lower = first.S if number == 0 else first.S.sqrt()
        upper = second.S if number == len(parts) - 2 else second.S.sqrt()
        bound *= largest_gated_norm(upper[:, None] * second.Vh, first.U * lower, generator)
    return bound


def largest_gated_norm(left: Tensor, right: Tensor, generator: torch.Generator) -> float:
    """Return the largest spectral norm of left @ diag(s) @ right over all s in [0, 1]^n.

    It is convex in s, so an s of zeros and ones attains it: all are tried up to EXACT neurons. Else each of RESTARTS
    starts is improved by moving to the pattern that its linearisation favours, which never lowers the norm.
    """
    neurons = left.shape[1]
    if neurons <= EXACT:
        numbers = torch.arange(2**neurons, device=left.device)
        gates = (numbers[:, None] >> torch.arange(neurons, device=left.device) & 1).to(left.dtype)
        norms = [torch.linalg.matrix_norm((left * part[:, None]) @ right, 2).max() for part in torch.split(gates, 1024)]
        return float(torch.stack(norms).max())
    starts = torch.rand(RESTARTS, neurons, generator=generator, dtype=torch.float64).to(left)
    starts[0] = 1
    return max(_climb(left, right, start) for start in starts)


def _climb(left: Tensor, right: Tensor, gates: Tensor) -> float:
    into = right.T @ (left * gates).sum(dim=0)
    norm = 0.0
    for _ in range(STEPS):
        before = norm
        for _ in range(INNER):
            into = into / into.norm().clamp(min=1e-300)
            out = left @ (gates * (right @ into))
            norm = float(out.norm())
            into = right.T @ (gates * (left.T @ out))
        if norm <= before * (1 + 1e-9):
            break
        gates = ((left.T @ out) * (right @ into) > 0).to(left.dtype)
    return norm
