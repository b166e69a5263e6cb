"""Cannistraci-Hebb training: links grow where the network's own topology calls for them, without any gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from sinewy.errors import InputError, unknown_name
from sinewy.families import check_name
from sinewy.layers import unwrap
from sinewy.select import count, largest_mask, random_free, sample_mask
from sinewy.sparsify.dynamic import DynamicSparsifier, require
from sinewy.sparsify.graphs import GRAPHS, initial_graphs
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.timing import Moment
from sinewy.topology import LINK_SCORES
from sinewy.topology.chains import remove_chains
from sinewy.topology.feedforward import chains
from sinewy.topology.link_scores import link_scores

UNCALLED = 1e-5
"""What is added to every absent link's score where too few are above 0 (the CHT code's value)."""


class CHT(DynamicSparsifier):
    """Grow where paths of length 3 in the network's topology call for a link (Cannistraci-Hebb, Zhang et al. 2024).

    Each epoch and tensor `fraction` (0.3) of the links of smallest `drop` score go; links that then lead nowhere go as
    well (`remove_chains`, along runs of layers inside nn.Sequential); as many as went grow where `score` ("CH3-L3",
    "CH2-L3", "RA-L3") is highest, in its `form` "path" or "matrix" (the faster approximation by nodes). With `soft`,
    links to drop and to grow are drawn by chance: kept in proportion to |w|^T, T going from 1 to `temperature` over the
    updates, grown in proportion to the score. A tensor whose update regrows more than `early_stop` of what it dropped
    is settled and moves no more (percolation).

    The output layer stays dense and does not count (`dense_output`). `topology` is the initial graph: "random",
    "small-world" (with `beta`), "scale-free" or "correlated" (CSTI; for linear layers, needs training inputs, which
    `sinewy.fit` passes on). `weights` is "swi", sparse weight initialisation; None leaves them as they are.

    Published for linear layers; here each kernel position of a convolution is a bipartite graph between its channels
    (our extension). Other options as in `DynamicSparsifier`.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        score: str = "CH3-L3",
        form: str = "path",
        soft: bool = False,
        temperature: float = 3.0,
        remove_chains: bool = True,
        early_stop: float = 0.9,
        topology: str = "random",
        beta: float = 0.25,
        weights: str | None = "swi",
        dense_output: bool = True,
        every: Moment = "1ep",
        schedule: str | None = "constant",
        stop: float = 1.0,
        allocation: str = "uniform",
        **options: Any,
    ) -> None:
        check_name("link score", score, LINK_SCORES)
        for what, name, known in (("form", form, ("path", "matrix")), ("topology", topology, GRAPHS)):
            if name not in known:
                raise unknown_name(what, name, known)
        require("temperature", temperature, temperature >= 1, "at least 1")
        require("early_stop", early_stop, 0 < early_stop <= 1, "in (0, 1]; 1 never stops")
        require("beta", beta, 0 <= beta <= 1, "in [0, 1]")
        self.score, self.form, self.soft, self.temperature = score, form, soft, temperature
        self.remove_chains, self.early_stop, self.topology, self.beta = remove_chains, early_stop, topology, beta
        self.dense_output = dense_output
        super().__init__(
            sparsity, every=every, schedule=schedule, stop=stop, allocation=allocation, weights=weights, **options
        )
        if self.grow != "random" or self.needs_gradient:
            raise InputError("CHT grows by topology and drops by weight; it takes no grow and no gradient.")
        self.grow = "topology"
        self._chains: list[list[str]] = []

    def pick(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the prunable parameters without the output layer, which stays dense."""
        parameters = super().pick(model)
        for name, module in unwrap(model).named_modules():
            if getattr(module, "groups", 1) > 1 and f"{name}.weight" in parameters:
                raise InputError(
                    f"{name} is a grouped convolution, whose channels are no bipartite graph;"
                    f" leave it dense with exclude=['{name}.weight']."
                )
        if self.dense_output and len(parameters) == 1:
            raise InputError("the output layer is the only prunable one; pass dense_output=False to make it sparse.")
        return dict(list(parameters.items())[: -1 if self.dense_output else None])

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return the initial graphs of the chosen topology, in the counts that the allocation gives."""
        quota = self.quota(parameters, self.sparsity_at(0))
        return initial_graphs(self.topology, model, parameters, quota, self.beta, self.seed, self._data)

    def attach(self, model: nn.Module, *args: Any, **options: Any) -> Self:
        """Attach as every sparsifier does, and find the chains of the model."""
        super().attach(model, *args, **options)
        self._chains = chains(model, self.masks) if self.remove_chains else []
        return self

    @torch.no_grad()
    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the new masks: drop in every tensor, drop what leads nowhere, then grow."""
        self._budgets = self.budgets()
        moving = {name: layer for name, layer in self.movable.items() if self._can_move(layer)}
        kept = {name: layer.mask for name, layer in self._layers.items()}
        kept |= {name: self.survivors(layer, gradients[name], self._budgets[name]) for name, layer in moving.items()}
        for chain in self._chains:
            connected = remove_chains([kept[name] for name in chain])
            kept |= {name: mask for name, mask in zip(chain, connected, strict=True) if name in moving}
        return {name: self.refill(layer, None, kept[name]) for name, layer in moving.items()}

    def survivors(self, layer: SparseLayer, gradient: Tensor | None, budget: int) -> Tensor:
        """Return the links that this update keeps: the strongest, or with `soft` a draw that favours them."""
        if not self.soft:
            return super().survivors(layer, gradient, budget)
        before = layer.kept
        number = min(before - int(before * self.drop_fraction(self.step)), budget)
        end = self._timing.end
        power = 1 + (self.temperature - 1) * (0.0 if end is None else min(self.step / end, 1.0))
        scores = self._saliency(layer, gradient).double()
        chances = (scores / scores.max().clamp_min(1e-300)) ** power
        alive = count((chances > 0) & layer.mask)
        if alive < number:  # weights that are exactly 0 have no chance, but the number must be met
            chances = chances + chances.max().clamp_min(1e-9) * 1e-9
        return sample_mask(chances, number, layer.generator("keep", self.step), among=layer.mask)

    def growth(self, layer: SparseLayer, gradient: Tensor | None, kept: Tensor, number: int) -> Tensor:
        """Return a mask of `number` links beside `kept`, by their scores among those kept."""
        del gradient
        scores = channel_scores(kept, self.score, self.form)
        choose = _drawn if self.soft else _best
        grown = choose(scores, number, self.free(layer, kept), layer.generator("grow", self.step))
        if count(grown & layer.mask) > self.early_stop * number:
            layer.memory["settled"] = torch.ones(())
        return grown

    def _can_move(self, layer: SparseLayer) -> bool:
        full = layer.kept == self._budgets[layer.name] == layer.mask.numel()
        must = layer.kept != self._budgets[layer.name]
        free = layer.parameter.requires_grad and "settled" not in layer.memory
        return not full and (must or free)


class CHTs(CHT):
    """Cannistraci-Hebb soft training: links dropped and grown by chance, matrix-form scores (Zhang et al. 2025).

    CHT with `soft`, "CH2-L3" in "matrix" form, and no early stop. CHTs+CSTI and CHTs+BSW of Wu et al. 2025 (Table 2)
    are `topology` "correlated" and "small-world".
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        score: str = "CH2-L3",
        form: str = "matrix",
        soft: bool = True,
        early_stop: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(sparsity, score=score, form=form, soft=soft, early_stop=early_stop, **options)


def channel_scores(mask: Tensor, score: str, form: str) -> Tensor:
    """Return the link scores of a mask (out, in, *kernel), each kernel position a graph of its own; float32."""
    if mask.ndim == 2:
        return link_scores(mask, score, form)
    positions = mask.flatten(2).unbind(2)
    return torch.stack([link_scores(one.contiguous(), score, form) for one in positions], 2).view(mask.shape)


def _best(scores: Tensor, number: int, absent: Tensor, generator: torch.Generator) -> Tensor:
    """Return the `number` highest scores where `absent`; if too few are above 0, the rest at random."""
    called = absent & (scores > 0)
    if count(called) >= number:
        return largest_mask(scores, number, among=absent)
    grown = called.contiguous()
    taken = (grown | ~absent).reshape(-1)
    grown.view(-1)[random_free(taken, number - count(grown), generator)] = True
    return grown


def _drawn(scores: Tensor, number: int, absent: Tensor, generator: torch.Generator) -> Tensor:
    """Return `number` places where `absent`, drawn in proportion to the score."""
    if count(absent & (scores > 0)) < number:
        scores = scores + UNCALLED
    return sample_mask(scores, number, generator, among=absent)
