"""Which layers of a model follow one another with nothing else between: the chains that dead links run along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from sinewy.layers import unwrap

_PER_NEURON = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.Identity,
    nn.Flatten,
)
"""Modules that keep neurons (channels) apart, besides activations."""


def chains(model: nn.Module, parameters: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names of weights in runs of consecutive layers, each run within one (nested) nn.Sequential.

    Of `parameters` (bool masks or weights by name, as `prunable` names them) those are taken whose layer is a plain
    linear or ungrouped convolutional one; between two there are only modules that keep neurons apart (norms, pooling,
    dropout, activations, flatten), so that an output neuron of one is an input neuron of the next. Whatever runs in a
    forward method is not looked into: there the run ends. Runs of one layer are left out.
    """
    found: list[list[str]] = []
    for sequence in _outermost(unwrap(model), ""):
        run: list[str] = []
        for name, module in sequence:
            weight = f"{name}.weight"
            if weight in parameters and _plain(module):
                if run and parameters[weight].shape[1] % len(parameters[run[-1]]):
                    found.append(run)
                    run = []
                run.append(weight)
            elif not _keeps_apart(module):
                found.append(run)
                run = []
        found.append(run)
    return [run for run in found if len(run) > 1]


def _outermost(module: nn.Module, prefix: str) -> Iterator[list[tuple[str, nn.Module]]]:
    """Yield each nn.Sequential that is not part of another as the list of the modules it runs, by full name."""
    if isinstance(module, nn.Sequential):
        yield list(_flat(module, prefix))
        return
    for name, child in module.named_children():
        yield from _outermost(child, f"{prefix}{name}.")


def _flat(sequence: nn.Sequential, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in sequence.named_children():
        if isinstance(child, nn.Sequential):
            yield from _flat(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _plain(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.groups == 1 and not module.transposed
    return isinstance(module, nn.Linear)


def _keeps_apart(module: nn.Module) -> bool:
    is_activation = type(module).__module__ == "torch.nn.modules.activation"
    return isinstance(module, _PER_NEURON) or (is_activation and not isinstance(module, nn.MultiheadAttention))
