"""Structured pruning in one call: whole channels of any network, chosen by name of the method."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sinewy.allocation import check_sparsity, stay_dense
from sinewy.criteria.batches import batches_for, scoring_batches
from sinewy.criteria.criterion import Batch, Loss
from sinewy.criteria.running import check_finite, type_of
from sinewy.criteria.subject import private, without_hooks
from sinewy.errors import InputError
from sinewy.families import check_options, resolve
from sinewy.layers import Pattern, prunable, unwrap
from sinewy.masks import Masks
from sinewy.metrics.cost import layer_flops
from sinewy.structured import STRUCTURED
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.choosing import choose_channels
from sinewy.structured.criterion import ChannelCriterion
from sinewy.structured.groups import channel_groups
from sinewy.structured.kept import channel_masks, kept_axes, remove_, removed_share

Of = Literal["weights", "channels", "flops"]


def prune_channels(
    model: nn.Module,
    name: str,
    *,
    sparsity: float,
    data: Any = None,
    scope: str = "global",
    of: Of = "weights",
    min_channels: int = 1,
    batches: int | None = None,
    batch_size: int | None = None,
    train_mode: bool = False,
    loss: Loss | None = None,
    include: Sequence[Pattern] | None = None,
    exclude: Sequence[Pattern] = (),
    dense: Sequence[str] = (),
    example_input: Any = None,
    seed: int = 0,
    **options: Any,
) -> Masks:
    """Set the least worthy channels of `model` to 0, in place, and return the masks of its prunable weights.

    `name` is one of `sinewy.structured.STRUCTURED` or your own "package.module:ChannelCriterion"; `options` go to it.
    Channels that depend on each other go together. Of a removed channel the rows of what makes it, the columns of what
    reads it and depthwise kernels are zero, and so are its biases and its norms' factors and offsets; the masks hold
    the former, since nothing reads the channel any more, whatever becomes of the latter in training.

    `sparsity`, in [0, 1), is the share of the prunable weights that are zero then, readers' columns included; with
    `of="channels"` of the channels that can go at all (node sparsity, a coupled channel counting once), with
    `of="flops"` of the FLOPs on `example_input`. It is met to within one channel. `scope` "global" leaves it to the
    method how channels of different groups compare, "local" or "uniform" takes the same share of each. Every group
    keeps `min_channels`; groups that reach the output, that a norm mixes, or with a weight that is not prunable (see
    `sw.prunable`) or matches `dense`, stay whole. `example_input`, a batch by which the network is traced, is the first
    of `data` unless given. `data`, `batches`, `batch_size`, `train_mode` and `loss` are those of `sw.prune`.

    Raises InputError for an unknown name, option or scope, missing data, weights that are not finite, and a sparsity
    out of reach.
    """
    sparsity = check_sparsity(sparsity)
    criterion = make_channel_criterion(name, **options)
    plain = unwrap(model)
    parameters = prunable(plain, include=include, exclude=exclude)
    check_finite(plain)
    device, dtype = next(iter(parameters.values())).device, type_of(plain)
    found = batches_for(
        criterion,
        name,
        data,
        number=batches,
        size=batch_size,
        example_input=example_input,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    example = _example(found, data, example_input, seed, device, dtype)
    groups = removable_groups(plain, example, parameters, dense)
    flops = _flops(plain, example) if of == "flops" else {}
    share = removed_share(of, groups, plain, parameters, flops)
    with private(plain, parameters, batches=found, train_mode=train_mode, loss=loss, seed=seed) as subject:
        kept = choose_channels(subject, criterion, groups, sparsity, share, scope=scope, min_channels=min_channels)
    axes = kept_axes(groups, kept, {name: parameter.shape for name, parameter in plain.named_parameters()})
    remove_(plain, axes)
    return channel_masks(axes, parameters)


def make_channel_criterion(name: str, **options: Any) -> ChannelCriterion:
    """Return the channel criterion of that name; raises InputError for an unknown name or option, with the closest."""
    kind = resolve("structured method", name, STRUCTURED)
    if not (isinstance(kind, type) and issubclass(kind, ChannelCriterion)):
        raise InputError(f"'{name}' is not a sinewy.structured.criterion.ChannelCriterion class.")
    known = [] if kind.__init__ is object.__init__ else list(inspect.signature(kind).parameters)
    check_options(name, options, known)
    return kind(**options)


def removable_groups(
    model: nn.Module, example_input: Any, parameters: Mapping[str, Tensor], dense: Sequence[str] = ()
) -> list[ChannelGroup]:
    """Return the groups of `model` whose channels can go: all their weights are of `parameters`, none of `dense`.

    Raises InputError if there is none.
    """
    free = set(parameters) - set(stay_dense(parameters, dense))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    groups = [
        group
        for group in channel_groups(model, example_input)
        if not (group.is_output or group.mixes) and _matrices(group, shapes) <= free
    ]
    if not groups:
        raise InputError(
            f"no channel of {type(model).__name__} can be removed: all reach the output, are mixed by a norm, or have"
            " weights that stay dense; prune single weights instead, with 'magnitude' for one."
        )
    return groups


def _flops(model: nn.Module, example: Any) -> dict[str, float]:
    if not isinstance(example, Tensor):
        raise InputError(f"of='flops' needs an example_input that is one tensor, got {type(example).__name__}.")
    return layer_flops(without_hooks(copy.deepcopy(model)), example)


def _matrices(group: ChannelGroup, shapes: Mapping[str, Sequence[int]]) -> set[str]:
    return {part.name for part in group.slices if part.role != "norm" and len(shapes.get(part.name, ())) > 1}


def _example(
    batches: Sequence[Batch], data: Any, example_input: Any, seed: int, device: torch.device, dtype: torch.dtype
) -> Any:
    """Return the inputs by which the network is traced."""
    if example_input is None and not batches:
        if data is None:
            raise InputError(
                "to find which channels belong together the network is run once; pass example_input=, a batch of inputs"
                " of the right shape, or data=."
            )
        batches = scoring_batches(data, number=1, seed=seed, device=device, dtype=dtype)
    inputs = batches[0][0] if example_input is None else example_input
    return _on(device, inputs[:1] if isinstance(inputs, Tensor) else inputs)


def _on(device: torch.device, inputs: Any) -> Any:
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs
