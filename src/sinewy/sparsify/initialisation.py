"""Initial weights that suit a sparse tensor: as large as its few inputs need."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from sinewy.seeds import derive
from sinewy.sparsify.layer import SparseLayer


@torch.no_grad()
def draw_weights(layers: Iterable[SparseLayer]) -> None:
    """Draw the kept weights of tensors that are not full from N(0, 2 / (fan_in density)), in place.

    Sparse weight initialisation (SWI, Zhang et al. 2024): a neuron's input keeps the variance that He et al.'s
    initialisation gives a dense one. (The code of that paper has out_features in place of fan_in.) The draws depend on
    the layer's seed and name only.
    """
    for layer in layers:
        if layer.full:
            continue
        fan_in = layer.weight[0].numel()
        spread = (2 / (fan_in * layer.kept / layer.mask.numel())) ** 0.5
        generator = torch.Generator().manual_seed(derive("weights", layer.seed, layer.name))
        drawn = torch.randn(layer.weight.shape, generator=generator) * spread
        layer.parameter.copy_(drawn.to(layer.parameter.device) * layer.mask)
