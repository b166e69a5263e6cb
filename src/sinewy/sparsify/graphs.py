"""The initial graph of every sparse tensor: random, small world, scale free, or as the inputs correlate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.seeds import derive
from sinewy.topology import INITIAL_GRAPHS
from sinewy.topology.initial import correlation, from_correlation, random_graph, scale_free, small_world

GRAPHS = tuple(INITIAL_GRAPHS)


def initial_graphs(
    kind: str,
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    links: Mapping[str, int],
    beta: float,
    seed: int,
    data: Any,
) -> dict[str, Tensor]:
    """Return a mask of exactly `links[name]` links per tensor; each kernel position is a graph of its own.

    `kind` is one of GRAPHS, `beta` that of "small-world"; "correlated" reads the inputs of the training
    `data`.
    """
    if kind == "correlated":
        return _correlated(model, parameters, links, _inputs(data))
    return {name: _stacked(kind, p.shape, links[name], beta, _generator(seed, name)) for name, p in parameters.items()}


def _stacked(kind: str, shape: torch.Size, links: int, beta: float, generator: torch.Generator) -> Tensor:
    """Return the graphs of all kernel positions, which share the links as evenly as can be."""
    size = shape[0], shape[1]
    places = shape[2:].numel()
    graphs = [_graph(kind, size, links // places + (i < links % places), beta, generator) for i in range(places)]
    return torch.stack(graphs, 2).view(shape) if len(shape) > 2 else graphs[0]


def _graph(kind: str, size: tuple[int, int], links: int, beta: float, generator: torch.Generator) -> Tensor:
    if kind == "small-world":
        return small_world(size, links, beta, generator)
    return {"random": random_graph, "scale-free": scale_free}[kind](size, links, generator)


def _correlated(
    model: nn.Module, parameters: Mapping[str, Tensor], links: Mapping[str, int], inputs: Tensor | None
) -> dict[str, Tensor]:
    if inputs is None:
        raise InputError("topology='correlated' needs the training inputs: attach(model, optimizer, data=images).")
    for name, parameter in parameters.items():
        if parameter.ndim != 2:
            raise InputError(
                f"topology='correlated' is for linear layers, and {name} has shape {tuple(parameter.shape)};"
                " take 'small-world' for a convolutional network."
            )
    correlations = correlation(_features(model, next(iter(parameters)), inputs))
    return {name: from_correlation(correlations, (len(p), p.shape[1]), links[name]) for name, p in parameters.items()}


def _inputs(data: Any) -> Tensor | None:
    """Return the inputs (N, ...) of training data: a tensor, (inputs, labels), a set of images, or batches."""
    if data is None or isinstance(data, Tensor):
        return data
    if isinstance(data, ImageSet):
        return torch.from_numpy(data.images)
    if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor):
        return data[0]
    return torch.cat([inputs for inputs, _ in data])


class _Reached(Exception):  # noqa: N818 - not an error: the forward pass has come far enough
    """The input of the layer in question is known."""


@torch.no_grad()
def _features(model: nn.Module, weight: str, inputs: Tensor, block: int = 1024) -> Tensor:
    """Return the inputs (N, features) of the layer that holds `weight`; uint8 images are scaled to [0, 1]."""
    layer = unwrap(model).get_submodule(weight.rpartition(".")[0])
    found: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.append(args[0].flatten(1).cpu())
        raise _Reached

    training, handle = model.training, layer.register_forward_pre_hook(keep)
    device = next(model.parameters()).device
    model.eval()
    try:
        for part in torch.split(inputs, block):
            images = part.to(device).float() / 255 if part.dtype is torch.uint8 else part.to(device)
            try:
                model(images)
            except _Reached:
                continue
    finally:
        handle.remove()
        model.train(training)
    return torch.cat(found)


def _generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive("graph", seed, name))
