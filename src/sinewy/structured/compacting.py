"""`sinewy.compact`: a physically smaller model that gives the same outputs, and what it costs before and after."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.criteria.running import check_finite
from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.models.removal import Plan, apply_plan
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.compaction import Compaction, Cut
from sinewy.structured.groups import difference, find_channels
from sinewy.structured.irrelevant import Irrelevant, find_irrelevant
from sinewy.structured.measuring import Measured, measure
from sinewy.structured.observing import varied
from sinewy.structured.removal import plan_removal
from sinewy.structured.tracing import flat_outputs, mapped, run

_AGREE = 1e-5
_WORTH = 0.97
"""Channels are rounded up where that takes at most this share of the time; less is within the noise."""


@torch.inference_mode(False)
def compact(
    model: nn.Module, example_input: Any, *, multiple: int | None = 8, check: bool = True, timed: bool = True
) -> nn.Module:
    """Return a smaller model without the channels that `model` does not need; the original stays as it is.

    A channel goes if nothing reads it, if it is zero whatever the input, or if it is constant and can be added to the
    biases of its readers; whatever made the weights zero. No layer loses its last channel. The small model is a plain
    module of the same class, in the same mode and memory format, that trains on; it gives the same outputs in eval
    mode. What was done, and parameters, multiply-accumulates, bytes on disk, peak memory and latency (batch 1 and 64,
    torch's present number of threads) before and after are in `compaction` of the returned model (print it); its `plan`
    is what `save_model(path, small, about={"removal": [plan.as_json()], ...})` needs to build it again.

    `example_input` is a tensor, a tuple of arguments or a mapping of named ones, with the batch first. The number of
    channels is rounded up to `multiple` if the rounded model is measured to be faster, and never with None or without
    `timed`, which leaves out memory and latency, and with them most of the time: seconds of a small network, minutes of
    a large one. `check` compares the
    outputs on the example and two random inputs of its shape, to 1e-5 of the largest output, in float64 where the model
    can. Raises MissingExtraError without torch-pruning, InputError if the model cannot be run or traced or a weight is
    not finite, RuntimeError if the outputs do not agree, which would be a mistake of Sinewy.
    """
    if multiple is not None and multiple < 1:
        raise InputError(f"multiple={multiple} must be at least 1, or None not to round.")
    check_finite(model)
    full = copy.deepcopy(unwrap(model)).eval()
    place = next((parameter.device for parameter in full.parameters()), torch.device("cpu"))
    example_input = mapped(example_input, lambda tensor: tensor.detach().clone().to(place))
    found = find_channels(full, example_input)
    groups = [group for group in found.groups if not group.is_output and not group.mixes]
    irrelevant = find_irrelevant(full, example_input, groups)
    variants = [_without(irrelevant, groups, _keep_one(irrelevant.removed))]
    fewer = {group.name: _rounded(full, group, variants[0][2][group.name], multiple or 1) for group in groups}
    if timed and any(not torch.equal(flags, variants[0][2][name]) for name, flags in fewer.items()):
        variants.append(_without(irrelevant, groups, fewer))
    is_whole = not any(flags.any() for flags in variants[0][2].values())
    before, *costs = measure(
        [full, *(() if is_whole else (model for model, _, _ in variants))], example_input, timed=timed
    )
    costs = costs or [before]
    rounding = _time_ratio(costs[1], costs[0]) if len(costs) > 1 else None
    is_rounded = rounding is not None and rounding <= _WORTH
    (small, plan, removed), after = variants[is_rounded], costs[is_rounded]
    small.compaction = Compaction(  # type: ignore[assignment]
        before,
        after,
        tuple(_cut(group, irrelevant.removed[group.name], removed[group.name]) for group in groups),
        irrelevant.unread,
        irrelevant.zero,
        irrelevant.folded,
        irrelevant.constant,
        (_zeros(full), _zeros(small)),
        multiple if is_rounded else None,
        rounding,
        torch.get_num_threads(),
        str(place),
        _checked(full, small, example_input) if check else None,
        found.left_alone,
        plan,
    )
    return _in_mode_of(unwrap(model), small)


Variant = tuple[nn.Module, Plan, Mapping[str, Tensor]]
"""A small model, the plan that makes it, and what it removes."""


def _without(irrelevant: Irrelevant, groups: Sequence[ChannelGroup], removed: Mapping[str, Tensor]) -> Variant:
    small = copy.deepcopy(irrelevant.model)
    plan = plan_removal(small, groups, removed, irrelevant.biases)
    apply_plan(small, plan)
    return small, plan, removed


def _keep_one(removed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what to remove so that the first channel stays where none would."""
    return {name: flags & ~(flags.all() & (torch.arange(len(flags)) == 0)) for name, flags in removed.items()}


def _rounded(model: nn.Module, group: ChannelGroup, removed: Tensor, multiple: int) -> Tensor:
    """Return what to remove so that the number left is a multiple, or all; the largest weights stay.

    A group whose channels are several rows each, such as the heads of an attention, is not rounded.
    """
    left = group.channels - int(removed.sum())
    more = min(-(-left // multiple) * multiple, group.channels) - left
    if more == 0 or not removed.any() or group.slices[0].index.shape[1] > 1:
        return removed
    parameters = dict(model.named_parameters())
    size = torch.zeros(group.channels)
    for part in group.slices:
        if part.name in parameters:
            weight = parameters[part.name].detach().float().transpose(0, part.dim)
            weight = weight.reshape(len(weight), -1).abs().sum(1).cpu()
            size += weight[part.index].sum(1)
    kept = size.masked_fill(~removed, -1).topk(more).indices
    return removed.index_fill(0, kept, False)


def _time_ratio(one: Measured, other: Measured) -> float:
    """Return the geometric mean over the batch sizes of one latency over another."""
    ratio = 1.0
    for batch, seconds in one.latency.items():
        ratio *= (seconds / other.latency[batch]) ** (1 / len(one.latency))
    return ratio


def _cut(group: ChannelGroup, empty: Tensor, removed: Tensor) -> Cut:
    return Cut(group.name, group.channels, int(empty.sum()), group.channels - int(removed.sum()))


def _zeros(model: nn.Module) -> float:
    """Return the share of zeros among the weights with two or more dimensions."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    total = sum(weight.numel() for weight in weights)
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / total if total else 0.0


@torch.no_grad()
def _checked(full: nn.Module, small: nn.Module, example_input: Any) -> float:
    """Return the largest relative difference of the outputs; raises RuntimeError if it is not rounding."""
    generator = torch.Generator().manual_seed(0)
    inputs = [example_input, *(varied(example_input, generator) for _ in range(2))]
    try:
        doubled = copy.deepcopy(full).double(), copy.deepcopy(small).double()
        worst = max(_difference(*doubled, _double(one)) for one in inputs)
    except (RuntimeError, TypeError):  # some models make float32 tensors of their own
        worst = max(_difference(full, small, one) for one in inputs)
    if worst > _AGREE:
        raise RuntimeError(
            f"the compacted {type(full).__name__} differs from the original by {worst:.1e} of the largest output; this"
            " is a mistake of Sinewy: please report it with the model. The original is as it was."
        )
    return worst


def _difference(full: nn.Module, small: nn.Module, inputs: Any) -> float:
    return difference(flat_outputs(run(small, inputs)), flat_outputs(run(full, inputs)))


def _double(inputs: Any) -> Any:
    return mapped(inputs, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def _in_mode_of(model: nn.Module, small: nn.Module) -> nn.Module:
    """Return `small` with each module in training or evaluation mode as in `model`."""
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in small.named_modules():
        module.training = modes[name]
    return small
