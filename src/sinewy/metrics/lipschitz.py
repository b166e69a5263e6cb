"""How much a network can stretch the distance between inputs: two upper estimates and a lower bound, in L2.

Virmaux and Scaman, "Lipschitz regularity of deep neural networks: analysis and efficient estimation", NeurIPS 2018.
What Ayle et al. 2022 (table 5) call a lower bound has the size of the upper product here.
"""

from __future__ import annotations

import copy
import math
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from sinewy.errors import InputError
from sinewy.metrics.operators import layer_norm

STEPS = 30
SAME = {torch.flatten, F.pad, operator.getitem, F.relu, torch.relu, F.dropout, F.relu6, F.elu, F.softplus, torch.tanh}
"""Functions that stretch nothing: they move, drop or pad values with zeros, or have slope at most 1."""

SAME_METHODS = {"flatten", "view", "reshape", "relu", "contiguous", "size", "permute", "transpose", "squeeze", "tanh"}


def upper_bound(model: nn.Module, example: Tensor) -> float:
    """Return AutoLip: the product of the layers' norms along the network, sums at shortcuts (algorithm 1).

    `example` is a batch of inputs as the model is fed; only its shape matters. Fold batch norms first for a tighter
    bound. Raises InputError for a model that torch.fx cannot trace, or an operation without a known bound.
    """
    traced = trace(model, example)
    bounds: dict[fx.Node, float] = {}
    for node in traced.graph.nodes:
        inputs = [bounds[parent] for parent in node.all_input_nodes]
        if node.op == "placeholder":
            bounds[node] = 1.0
        elif node.op == "get_attr":
            bounds[node] = 0.0
        elif node.op == "output":
            return inputs[0]
        else:
            bounds[node] = _bound(traced, node, inputs)
    raise InputError("the model has no output.")


def trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return the model as a graph in which every node knows its shape for one example; the model is left alone."""
    try:
        traced = fx.symbolic_trace(copy.deepcopy(model).eval())
        with torch.no_grad():
            ShapeProp(traced).propagate(example[:1])
    except Exception as error:  # tracing runs the user's code with proxies, which may raise anything at all
        raise InputError(f"a Lipschitz bound needs a model that torch.fx can trace ({error}).") from error
    return traced


def shape_of(node: fx.Node) -> torch.Size:
    """Return the shape that a traced node's output has for one example."""
    return torch.Size(node.meta["tensor_meta"].shape)


def _bound(traced: fx.GraphModule, node: fx.Node, inputs: list[float]) -> float:
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return inputs[0] * layer_norm(module, shape_of(node.all_input_nodes[0]))
    if node.target in (operator.add, operator.iadd, torch.add) or node.target == "add":
        return sum(inputs)
    if node.target is torch.cat:
        return math.hypot(*inputs)
    if node.target in SAME or (node.op == "call_method" and node.target in SAME_METHODS):
        return inputs[0] if inputs else 0.0
    if node.target in (F.adaptive_avg_pool2d, torch.mean, F.avg_pool2d) or node.target == "mean":
        return inputs[0] * _averaging(node)
    if node.target is F.max_pool2d:
        size, stride = _pooling(node)
        return inputs[0] * layer_norm(nn.MaxPool2d(size, stride), shape_of(node))
    raise InputError(f"no Lipschitz bound is known for the operation '{node.name}' ({node.target}).")


def _averaging(node: fx.Node) -> float:
    """Return the norm of a mean over windows that do not overlap: 1 / sqrt(values per window)."""
    before = shape_of(node.all_input_nodes[0])
    windows = before.numel() / shape_of(node).numel()
    if node.target is F.avg_pool2d and windows != math.prod(_square(_pooling(node)[0])):
        raise InputError(f"no Lipschitz bound is known for overlapping windows of '{node.name}'.")
    return 1 / math.sqrt(windows)


def _pooling(node: fx.Node) -> tuple[Any, Any]:
    size = node.args[1] if len(node.args) > 1 else node.kwargs["kernel_size"]
    stride = node.args[2] if len(node.args) > 2 else node.kwargs.get("stride")
    return size, stride or size


def _square(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def jacobian_norms(model: nn.Module, inputs: Tensor, *, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Return the spectral norm of the Jacobian at each input, (N,), and the direction in which it stretches most.

    By power iteration, so from below: each value is a lower bound of the Lipschitz constant. `inputs` (N, ...) are as
    the model is fed; directions have their shape and length 1.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    start = torch.sin(torch.arange(1, inputs[0].numel() + 1, device=inputs.device, dtype=inputs.dtype))
    directions = _unit(start.expand(len(inputs), -1)).view_as(inputs)
    norms = inputs.new_zeros(len(inputs))
    with torch.enable_grad():
        points = inputs.detach().clone().requires_grad_()
        outputs = frozen(points)
        # The product with the Jacobian is the gradient of the product with its transpose, which is linear in `weights`.
        weights = torch.zeros_like(outputs, requires_grad=True)
        (back,) = torch.autograd.grad(outputs, points, weights, create_graph=True)
        for _ in range(steps):
            (pushed,) = torch.autograd.grad(back, weights, directions, retain_graph=True)
            norms = pushed.flatten(1).norm(dim=1)
            (pulled,) = torch.autograd.grad(outputs, points, pushed, retain_graph=True)
            directions = torch.where(_wide(norms > 0, inputs), _unit(pulled.flatten(1)).view_as(inputs), directions)
    return norms.detach(), directions.detach()


def lower_bound(
    model: nn.Module, inputs: Tensor, *, steps: int = STEPS, ascent: int = 100, rate: float = 1e-2
) -> tuple[Tensor, Tensor]:
    """Return lower bounds per input: the Jacobian's norm there, (N,), and the largest stretch found near it, (N,).

    The second starts from the input and a point along its worst direction, and moves both by `ascent` steps of Adam to
    raise |f(x) - f(y)| / |x - y|; a piecewise linear network's Jacobian itself has no gradient to climb. It counts the
    largest value on the way, and is never below the first. The search leaves the images' range: it bounds the
    network's constant on all inputs.
    """
    norms, directions = jacobian_norms(model, inputs, steps=steps)
    frozen = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    here = inputs.detach().clone().requires_grad_()
    there = (inputs + 0.1 * directions).detach().requires_grad_()
    best = norms.clone()
    adam = torch.optim.Adam([here, there], lr=rate)
    for _ in range(ascent):
        with torch.enable_grad():
            stretch = _stretch(frozen, here, there)
            here.grad, there.grad = torch.autograd.grad(-stretch.clamp(min=1e-30).log().sum(), [here, there])
        best = torch.maximum(best, stretch.detach())
        adam.step()
    return norms, torch.maximum(best, jacobian_norms(model, here.detach(), steps=steps)[0])


def _stretch(model: nn.Module, here: Tensor, there: Tensor) -> Tensor:
    # Points that met are held apart, since the quotient of two roundings is no bound.
    apart = (here - there).flatten(1).norm(dim=1)
    moved: Tensor = (model(here) - model(there)).flatten(1).norm(dim=1) / apart.clamp(min=1e-3)
    return moved


def _unit(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp(min=1e-30)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
