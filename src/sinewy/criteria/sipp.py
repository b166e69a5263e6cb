"""SiPP: the largest share that a weight ever has in what its neuron adds up, over a few inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sinewy.criteria.criterion import Criterion, Need, Subject
from sinewy.criteria.patches import LAYERS, as_matrices, columns, expansion
from sinewy.criteria.running import explained
from sinewy.errors import InputError

_AT_ONCE = 1 << 24
"""Numbers held at a time, in patches or in shares."""

_TINY = 1e-12
"""A sum no larger gives no share to anything."""

Share = Callable[[Tensor, Tensor], Tensor]


class SiPP(Criterion):
    """max over inputs of the mean over patches of w a / (sum of w a over the neuron), by sign (Baykal et al. 2019).

    The deterministic SiPP of Liebenwein et al. 2021, without its bias term: positive and negative weights are compared
    with the sum of their own sign, positive and negative inputs a likewise, the latter as a second example -a. Patches
    are the places of a convolution, or the tokens of a linear layer. Needs inputs only, one batch by default; grouped
    convolutions are scored group by group. Raises InputError for other layers (attention projections inside
    nn.MultiheadAttention, transposed convolutions) and for layers that the forward pass does not call; exclude them.
    """

    needs: ClassVar[Need] = "inputs"

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return the shares, in [0, 1]."""
        return sensitivities(subject, mean_share)


class SiPPRandom(Criterion):
    """Weights drawn without replacement in proportion to their largest share over inputs and patches.

    The randomised SiPP of Baykal et al. 2019 as an exact count of distinct weights: their code draws with replacement,
    per neuron, and divides by the chances; here survivors keep their values, and `scope` says what is drawn together.
    Costs a pass over every patch of every input for every weight; a small batch_size will do.
    """

    needs: ClassVar[Need] = "inputs"

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return log s minus the log of an exponential clock: the k largest are a draw in proportion to s."""
        found = sensitivities(subject, largest_share)
        return {name: share.double().log() - _clocks(share, subject.generator) for name, share in found.items()}


def sensitivities(subject: Subject, share: Share) -> dict[str, Tensor]:
    """Return for each weight the largest over all inputs of its `share` in its layer, by parameter name.

    `share` maps weights (groups, out, in) and columns (N, groups, in, patches), both at least 0, to the share of each
    weight in the sum of its row: (groups, out, in), the largest over N.
    """
    layers = _layers(subject)
    found: dict[str, Tensor] = {}

    def look(name: str, layer: nn.Module, inputs: Tensor) -> None:
        seen = _layer_shares(layer, subject.parameters[name].detach(), inputs.detach(), share)
        found[name] = torch.maximum(found[name], seen) if name in found else seen

    with torch.no_grad(), _watching(layers, look):
        for inputs, _ in subject.batches:
            with explained(subject.model):
                subject.model(inputs)
    for name in subject.parameters:
        if name not in found:
            raise InputError(
                f"the forward pass does not call the layer of '{name}', so its inputs are not seen; pass"
                f" exclude=['{name}'] to leave it dense."
            )
    return found


def mean_share(weights: Tensor, inputs: Tensor) -> Tensor:
    """Return the mean over patches of w a / (row's sum of w a), the largest over the examples."""
    inverse = _inverse(weights @ inputs) / inputs.shape[3]
    return (inverse @ inputs.transpose(2, 3)).amax(0) * weights


def largest_share(weights: Tensor, inputs: Tensor) -> Tensor:
    """Return the largest over patches of w a / (row's sum of w a), the largest over the examples."""
    inverse = _inverse(weights @ inputs)
    best = torch.zeros_like(weights)
    step = max(1, _AT_ONCE // (weights.numel() * len(inputs)))
    for start in range(0, inputs.shape[3], step):
        part = slice(start, start + step)
        ratios = inverse[..., None, part] * inputs[:, :, None, :, part]
        best = torch.maximum(best, ratios.amax((0, 4)))
    return best * weights


def _inverse(sums: Tensor) -> Tensor:
    return torch.where(sums > _TINY, 1 / sums, 0)


def _layer_shares(layer: nn.Module, weight: Tensor, inputs: Tensor, share: Share) -> Tensor:
    rows = as_matrices(layer, weight)
    best = torch.zeros_like(rows)
    batch = inputs if inputs.ndim > 1 else inputs[None]
    step = max(1, _AT_ONCE // max(1, batch[0].numel() * expansion(layer)))
    for part in torch.split(batch, step):
        for signed in (part, -part) if part.min() < 0 else (part,):
            patches = columns(layer, signed.clamp(min=0))
            for side in (rows, -rows):
                best = torch.maximum(best, share(side.clamp(min=0), patches))
    return best.view(weight.shape)


def _layers(subject: Subject) -> dict[nn.Module, str]:
    """Return the layers that hold the parameters, with the parameters' names; a shared one has several layers."""
    names = {id(parameter): name for name, parameter in subject.parameters.items()}
    found: dict[nn.Module, str] = {}
    for module in subject.model.modules():
        if isinstance(module, LAYERS) and id(module.weight) in names:
            found[module] = names[id(module.weight)]
    for name in subject.parameters:
        if name not in found.values():
            layer = type(subject.model.get_submodule(name.rpartition(".")[0])).__name__
            raise InputError(
                f"SiPP scores linear and convolution weights, and '{name}' belongs to a {layer}; pass"
                f" exclude=['{name}'] to leave it dense."
            )
    return found


@contextmanager
def _watching(layers: dict[nn.Module, str], look: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    """Show `look` every input of the layers."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        look(layers[module], module, args[0])

    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _clocks(like: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.rand(like.shape, generator=generator, dtype=torch.float64)
    return draws.log_().neg_().log_().to(like.device)
