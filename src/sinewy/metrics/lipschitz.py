"""How much a network can stretch the distance between inputs: two upper estimates and a lower bound, in L2.

Virmaux and Scaman, "Lipschitz regularity of deep neural networks: analysis and efficient estimation", NeurIPS 2018.
What Ayle et al. 2022 (table 5) call a lower bound has the size of the upper product here.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from sinewy.errors import InputError
from sinewy.metrics.operators import layer_norm

STEPS = 30
SAME = {torch.flatten, F.relu, torch.relu, F.dropout, F.relu6, F.softplus, torch.tanh}
"""Functions that stretch nothing: they move or drop values, or have slope at most 1."""

SAME_METHODS = {"flatten", "view", "reshape", "relu", "contiguous", "size", "permute", "transpose", "squeeze", "tanh"}

SUMS = {operator.add, operator.iadd, torch.add, operator.sub, operator.isub, torch.sub, "add", "sub"}
ACTIVATIONS: dict[Any, type[nn.Module]] = {
    torch.sigmoid: nn.Sigmoid,
    F.sigmoid: nn.Sigmoid,
    F.gelu: nn.GELU,
    F.silu: nn.SiLU,
    F.hardswish: nn.Hardswish,
}
"""Functions that are layers without options that change their slope."""

PLAIN_INDICES = (int, slice, type(None), type(Ellipsis))
"""Indices that take no value twice."""


def upper_bound(model: nn.Module, example: Tensor) -> float:
    """Return AutoLip: the product of the layers' norms along the network, sums at shortcuts (algorithm 1).

    `example` is a batch of inputs as the model is fed; only its shape matters. Fold batch norms first for a tighter
    bound. Raises InputError for a model that torch.fx cannot trace, or an operation without a known bound.
    """
    traced = trace(model, example)
    bounds: dict[fx.Node, float] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            bounds[node] = 1.0
        elif node.op == "get_attr":
            bounds[node] = 0.0
        elif node.op == "output":
            return bounds[_logits(node)]
        else:
            bounds[node] = _bound(traced, node, bounds)
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


def _logits(output: fx.Node) -> fx.Node:
    """Return the node of the logits among what a model returns; see `sinewy.criteria.losses.logits_of`."""
    found: Any = output.args[0]
    if isinstance(found, Mapping):
        found = next((found[name] for name in ("out", "logits") if name in found), None)
    if isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, fx.Node):
        raise InputError("the model returns no logits.")
    return found


def shape_of(node: fx.Node) -> torch.Size:
    """Return the shape that a traced node's output has for one example."""
    return torch.Size(node.meta["tensor_meta"].shape)


def _bound(traced: fx.GraphModule, node: fx.Node, bounds: Mapping[fx.Node, float]) -> float:
    inputs = [bounds[parent] for parent in node.all_input_nodes]
    if node.target is getattr and node.args[1] == "shape":
        return 0.0
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return inputs[0] * layer_norm(module, shape_of(node.all_input_nodes[0]))
    if node.target in SUMS:
        return sum(_terms(node, bounds))
    if node.target is torch.cat:
        return math.hypot(*(bounds[part] for part in node.args[0]))  # type: ignore[union-attr, index]
    if node.target in SAME or (node.op == "call_method" and node.target in SAME_METHODS) or _only_moves(node):
        return inputs[0] if inputs else 0.0
    if node.target is torch.mean or node.target == "mean":
        return inputs[0] / math.sqrt(_values_per_window(node))
    layer = _as_layer(node)
    if layer is not None:
        return inputs[0] * layer_norm(layer, shape_of(node.all_input_nodes[0]))
    raise InputError(f"no Lipschitz bound is known for the operation '{node.name}' ({node.target}).")


def _terms(node: fx.Node, bounds: Mapping[fx.Node, float]) -> Iterator[float]:
    """Yield the bound of each term of a sum as it enters: a term that is there twice counts twice, a wider one more."""
    factors = (1.0, abs(float(_argument(node, 2, "alpha", 1))))
    for term, factor in zip(node.args, factors, strict=False):
        if isinstance(term, fx.Node) and bounds[term]:
            yield bounds[term] * factor * math.sqrt(shape_of(node).numel() / shape_of(term).numel())


def _only_moves(node: fx.Node) -> bool:
    """Return whether an operation moves values, or fills up with zeros, and has none twice."""
    if node.target is operator.getitem:
        index = node.args[1]
        return all(isinstance(part, PLAIN_INDICES) for part in (index if isinstance(index, tuple) else (index,)))
    return node.target is F.pad and _argument(node, 2, "mode", "constant") == "constant"


def _values_per_window(node: fx.Node) -> float:
    return shape_of(node.all_input_nodes[0]).numel() / shape_of(node).numel()


def _as_layer(node: fx.Node) -> nn.Module | None:
    """Return the layer that does what a function call does; None where there is none with a known norm."""
    if node.target in ACTIVATIONS:
        return ACTIVATIONS[node.target]()
    if node.target is F.elu:
        return nn.ELU(_argument(node, 1, "alpha", 1.0))
    if node.target is F.leaky_relu:
        return nn.LeakyReLU(_argument(node, 1, "negative_slope", 0.01))
    if node.target is F.adaptive_avg_pool2d:
        return nn.AdaptiveAvgPool2d(_argument(node, 1, "output_size", None))
    if node.target is F.avg_pool2d:
        names = {"stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True, "divisor_override": None}
        return nn.AvgPool2d(*_arguments(node, names))
    if node.target is F.max_pool2d:
        return nn.MaxPool2d(*_arguments(node, {"stride": None, "padding": 0, "dilation": 1}))
    return None


def _arguments(node: fx.Node, defaults: Mapping[str, Any]) -> list[Any]:
    """Return the size of the windows of a pooling, and what follows it."""
    others = [_argument(node, place, name, value) for place, (name, value) in enumerate(defaults.items(), start=2)]
    return [_argument(node, 1, "kernel_size", None), *others]


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def jacobian_norms(model: nn.Module, inputs: Tensor, *, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Return the spectral norm of the Jacobian at each input, (N,), and the direction in which it stretches most.

    By power iteration, so from below: each value is a lower bound of the Lipschitz constant. `inputs` (N, ...) are as
    the model is fed; directions have their shape and length 1.
    """
    frozen = _frozen(model)
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
    frozen = _frozen(model)
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


def _frozen(model: nn.Module) -> nn.Module:
    """Return `model` if it is frozen, else a frozen copy; copies of traced modules lose their hooks."""
    learns = any(parameter.requires_grad for parameter in model.parameters())
    if learns or any(module.training for module in model.modules()):
        return copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    return model


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
