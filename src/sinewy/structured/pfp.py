"""PFP: channels by how much any output that reads them may depend on them, shared among layers by its error bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.criteria.criterion import Subject
from sinewy.criteria.patches import LAYERS, as_matrices, columns
from sinewy.criteria.running import explained
from sinewy.errors import InputError
from sinewy.structured.channels import ChannelGroup, Slice
from sinewy.structured.criterion import ChannelCriterion

_SUBGAUSSIAN = 3.0
"""C of the bound, as in the code of Liebenwein et al."""

_SAMPLES = 3.0
"""K of the sample size, as in the code of Liebenwein et al."""

_MOST_STEPS = 200
"""Steps of Newton's method at most; about ten are usual."""

_AT_ONCE = 1 << 23
"""Products held in memory at a time."""


class ProvableFilterPruning(ChannelCriterion):
    """PFP (Liebenwein et al. 2020; deterministic, as run by Liebenwein et al. 2021).

    The sensitivity of a channel is the largest share it has, through any filter, kernel position, patch and example, in
    the sum of the positive, or of the negative, products of a filter that reads it. A budget of error eps gives each
    layer the number of samples m(eps), and the expected number of distinct channels among m draws in proportion to the
    sensitivities is how many it keeps. A channel's score is the largest eps at which it is kept, so that one ranking
    of all channels is the search over eps, exact to one channel.

    `delta` is the probability of failure, in (0, 1); `examples` are looked at, the first of the batches. What departs
    from the code: images are never pruned, as nothing makes them; of several layers that read a channel (residual sums)
    the largest sensitivity and bound count; 32 examples (the code's formula gives about 150), as each patch meets each
    weight; layers that are neither linear nor convolution are taken to read ones.
    """

    needs = "inputs"

    def __init__(self, *, delta: float = 1e-16, examples: int = 32) -> None:
        if not 0 < delta < 1 or examples < 1:
            raise InputError(f"delta={delta} must be in (0, 1) and examples={examples} at least 1.")
        self.delta, self.examples = delta, examples

    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return, for each channel, the largest eps at which it is kept (float64)."""
        sensitivities = input_sensitivities(subject, groups, self.examples)
        found = {}
        for group in groups:
            seen = [sensitivities[part.name] for part in _readers(group)]
            if not seen:
                found[group.name] = torch.zeros(group.channels, dtype=torch.float64)
                continue
            per_channel = torch.stack(
                [
                    s.values[part.index.to(s.values.device)].amax(1)
                    for s, part in zip(seen, _readers(group), strict=True)
                ]
            ).amax(0)
            terms = max((s.patches + 1) * s.positions for s in seen)
            found[group.name] = largest_eps(per_channel.double(), terms=terms, delta=self.delta)
        return found


@dataclass(frozen=True)
class Sensitivity:
    """What a layer's weights and inputs say: values (entries of the channel dimension), patches and positions."""

    values: Tensor
    patches: int
    positions: int


@torch.no_grad()
def input_sensitivities(subject: Subject, groups: Sequence[ChannelGroup], examples: int) -> dict[str, Sensitivity]:
    """Return what is known of the channels that each reader of `groups` reads, by the name of its weight.

    The model runs on the first `examples` of the subject's batches; inputs that are not tensors count as one.
    """
    readers = {part.name: part for group in groups for part in _readers(group)}
    found: dict[str, Sensitivity] = {}
    with _watched(subject.model, readers, found):
        for inputs, _ in subject.batches:
            if examples > 0:
                part = inputs[:examples] if isinstance(inputs, Tensor) else inputs
                with explained(subject.model):
                    subject.model(part)
                examples -= len(part) if isinstance(inputs, Tensor) else 1
    parameters = dict(subject.model.named_parameters())
    for name in readers.keys() - found.keys():
        found[name] = Sensitivity(_of_ones(parameters[name], readers[name].dim), 1, 1)
    return found


def channel_shares(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return the sensitivity (channels of a group,) of each channel that `layer` reads from a batch `inputs`.

    The largest, over patches, filters, groups and kernel positions, of a weight's share in the sum of the filter's
    products of its sign; positive and negative inputs are taken apart, as if they were different examples.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    weights = as_matrices(layer, weight)
    rows = columns(layer, inputs).permute(0, 3, 1, 2).flatten(0, 1)
    largest = torch.zeros(weights.shape[2], dtype=weights.dtype, device=weights.device)
    for signed_rows in (rows.clamp(min=0), rows.neg().clamp(min=0)):
        for signed_weights in (weights.clamp(min=0), weights.neg().clamp(min=0)):
            if signed_rows.any():
                largest = torch.maximum(largest, _largest_shares(signed_rows, signed_weights))
    return largest.view(weight.shape[1], -1).amax(1)


def expected_distinct(shares: Tensor, samples: Tensor) -> Tensor:
    """Return how many distinct channels `samples` draws (any shape) in proportion to `shares` give on average."""
    return -torch.expm1(samples.unsqueeze(-1) * torch.log1p(-shares)).sum(-1)


def sample_size(eps: Tensor, total: float, *, terms: float, delta: float) -> Tensor:
    """Return m(eps) = K (6 + 2 eps) alpha S / eps^2, not yet rounded up; alpha = 2 C ln(8 terms / delta).

    `total` is S, the sum of a layer's sensitivities, and `terms` its (patches + 1) x kernel positions.
    """
    return _bound(total, terms, delta) * (6 + 2 * eps) / eps**2


def largest_eps(sensitivities: Tensor, *, terms: float, delta: float) -> Tensor:
    """Return for each channel (float64) the largest eps at which it is kept; 0 where it has no sensitivity.

    Kept are the most sensitive, as many as the expected number of distinct channels, rounded to the nearest; so the
    first, which one draw is enough for, at any eps.
    """
    total = float(sensitivities.sum())
    eps = torch.zeros_like(sensitivities)
    if total <= 0:
        return eps
    order = sensitivities.argsort(descending=True, stable=True)
    wanted = torch.arange(1, int((sensitivities > 0).sum()), dtype=torch.float64, device=sensitivities.device) + 0.5
    samples = _samples_for(sensitivities / total, wanted)
    bound = _bound(total, terms, delta)
    eps[order[1 : len(wanted) + 1]] = (bound + (bound**2 + 6 * bound * samples).sqrt()) / samples
    eps[order[0]] = math.inf
    return eps


def _bound(total: float, terms: float, delta: float) -> float:
    return _SAMPLES * 2 * _SUBGAUSSIAN * math.log(8 * terms / delta) * total


def _samples_for(shares: Tensor, wanted: Tensor) -> Tensor:
    """Return the numbers of draws, not rounded, at which `wanted` distinct channels are expected.

    By Newton's method: the expected number is concave, and no larger than that of draws from one draw on, so that each
    step comes closer and none goes too far. Half a channel is still missed at the end, which bounds the slope.
    """
    rates = torch.log1p(-shares).clamp(min=-1e3)  # 1 - share may round to 0
    samples = wanted.clone()
    for _ in range(_MOST_STEPS):
        misses = torch.exp(samples.unsqueeze(1) * rates)
        missing = wanted - (len(shares) - misses.sum(1))
        step = missing / -(misses @ rates)
        samples += step
        if bool((step <= 1e-12 * samples).all()):
            break
    return samples


def _largest_shares(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the largest share, over rows (P,G,J), groups and filters (G,O,J), of each of J non-negative products."""
    sums = torch.einsum("pgj,goj->pgo", rows, weights)
    inverse = torch.where(sums > torch.finfo(sums.dtype).eps, 1 / sums, 0)
    size = max(1, _AT_ONCE // weights.numel())
    largest = torch.zeros(weights.shape[2], dtype=weights.dtype, device=weights.device)
    for row, scale in zip(torch.split(rows, size), torch.split(inverse, size), strict=True):
        per_row = (weights.unsqueeze(0) * scale.unsqueeze(3)).amax(2).mul_(row)
        largest = torch.maximum(largest, per_row.amax((0, 1)))
    return largest


def _of_ones(weight: Tensor, dim: int) -> Tensor:
    """Return the sensitivities of the entries along `dim` to inputs that are all ones, of a weight of any layout."""
    rows = weight.movedim(dim, -1).reshape(-1, weight.shape[dim])
    positive, negative = rows.clamp(min=0), rows.neg().clamp(min=0)
    tiny = torch.finfo(weight.dtype).tiny
    return torch.cat([part / part.sum(1, keepdim=True).clamp(min=tiny) for part in (positive, negative)]).amax(0)


def _readers(group: ChannelGroup) -> list[Slice]:
    return [part for part in group.slices if part.role == "in"]


@contextmanager
def _watched(model: nn.Module, readers: Mapping[str, Slice], found: dict[str, Sensitivity]) -> Iterator[None]:
    """Have the linear and convolutional readers record, as they run, what `channel_shares` says of their inputs."""
    handles = []
    for name, part in readers.items():
        layer = model.get_submodule(name.rpartition(".")[0])
        if name.endswith("weight") and part.dim == 1 and isinstance(layer, LAYERS):
            handles.append(layer.register_forward_pre_hook(_recorder(name, found)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _recorder(name: str, found: dict[str, Sensitivity]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def record(layer: nn.Module, args: tuple[Any, ...]) -> None:
        shares, before = channel_shares(layer, args[0]), found.get(name)
        values = shares if before is None else torch.maximum(before.values, shares)
        found[name] = Sensitivity(values, *_extent(layer, args[0]))

    return record


def _extent(layer: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Return the patches of one example, and the positions of the kernel."""
    if isinstance(layer, nn.Linear):
        return math.prod(inputs.shape[1:-1]), 1
    return columns(layer, inputs[:1]).shape[3], math.prod(layer.kernel_size)  # type: ignore[arg-type]
