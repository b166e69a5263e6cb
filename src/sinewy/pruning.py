"""One-shot pruning of any network in one call: `sw.prune`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from sinewy.allocation import check_sparsity
from sinewy.criteria import CRITERIA
from sinewy.criteria.batches import batches_for, scoring_batches
from sinewy.criteria.choosing import choose
from sinewy.criteria.criterion import Batch, Criterion, Loss, Need
from sinewy.criteria.running import check_finite, type_of
from sinewy.errors import InputError
from sinewy.families import check_options, resolve
from sinewy.layers import Pattern, prunable, unwrap
from sinewy.masks import Masks
from sinewy.structured import STRUCTURED


def prune(
    model: nn.Module,
    name: str,
    *,
    sparsity: float,
    data: Any = None,
    scope: str = "global",
    count: Literal["kept", "real"] = "kept",
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
    """Set the least worthy weights of `model` to 0, in place, and return the masks: exactly `sparsity` of them.

    `name` is one of `sinewy.criteria.CRITERIA` ("magnitude", "snip", "grasp", "cropit", "synflow", "sipp", ...), of
    `sinewy.structured.STRUCTURED` for whole channels (whose sparsity is the nearest that channels allow), or your own
    "package.module:Criterion"; `options` go to it. Called before training it prunes at initialisation, called after it
    is one-shot pruning (SNIP-After, WT).

    `data` is training data, where the criterion needs any: a DataLoader or other iterable of (inputs, labels), a pair
    of tensors, inputs alone, or an ImageSet or Splits of `sinewy.data`; `batches` of `batch_size` are taken, by default
    the criterion's own number of 128 (`sinewy.criteria.batches`). `loss` of (outputs, labels) is cross-entropy by
    default. `scope`, `dense` and `train_mode` are those of `sinewy.criteria.choosing.choose`; `include` and `exclude`
    say which tensors take part (`sw.prunable`). `example_input` serves criteria that need the shape of the inputs only,
    and `count` "real", which prunes weights as well that are left without a path from inputs to outputs, and others the
    less, until the sparsity is met to within 0.5 % of the weights kept. (Channels are always counted so.)

    Nothing else changes: other parameters, buffers, gradients, modes and random numbers are as before. To train on,
    hold the masks: `sw.Static().attach(model, optimizer, masks=masks)`. Raises InputError for an unknown name or
    option, a sparsity that cannot be reached, missing data, and weights that are not finite.
    """
    if count not in ("kept", "real"):
        raise InputError(f"count must be 'kept' or 'real' (less weights without a path); got {count!r}.")
    sparsity = check_sparsity(sparsity)
    common: dict[str, Any] = {"scope": scope, "train_mode": train_mode, "loss": loss, "dense": dense, "seed": seed}
    if not _scores_weights(name):
        from sinewy.structured.pruning import prune_channels

        taken: dict[str, Any] = {"data": data, "batches": batches, "batch_size": batch_size}
        taken |= {"include": include, "exclude": exclude, "example_input": example_input}
        return prune_channels(model, name, sparsity=sparsity, **common, **taken, **options)
    criterion = make_criterion(name, **options)
    parameters = prunable(model, include=include, exclude=exclude)
    check_finite(model)
    device, dtype = next(iter(parameters.values())).device, type_of(unwrap(model))
    examples = batches_for(
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
    shape = _example(data, example_input, examples, device, dtype) if count == "real" else None
    masks = choose(unwrap(model), criterion, parameters, sparsity, batches=examples, example=shape, **common)
    masks.apply_(model)
    return masks


def make_criterion(name: str, **options: Any) -> Criterion:
    """Return the criterion of single weights of that name; raises InputError for an unknown name or option."""
    kind = resolve("criterion", name, CRITERIA)
    if not (isinstance(kind, type) and issubclass(kind, Criterion)):
        raise InputError(f"'{name}' is not a sinewy.criteria.criterion.Criterion class.")
    known = [] if kind.__init__ is object.__init__ else list(inspect.signature(kind).parameters)
    if options and not known:
        raise InputError(f"{name} has no options of its own, got {next(iter(options))}=.")
    check_options(name, options, known)
    return kind(**options)


def data_needed(name: str) -> Need:
    """Return what of the training data the criterion `name` depends on; channels are traced by the inputs' shape."""
    needs: Need = getattr(resolve("criterion", name, CRITERIA | STRUCTURED), "needs", "nothing")
    return "shape" if needs == "nothing" and not _scores_weights(name) else needs


def _scores_weights(name: str) -> bool:
    """Return whether the name is of a criterion for single weights, not for channels; refuse one that is of neither."""
    if name in CRITERIA or name in STRUCTURED:
        return name in CRITERIA
    kind = resolve("criterion", name, CRITERIA | STRUCTURED)
    return isinstance(kind, type) and issubclass(kind, Criterion)


def _example(data: Any, example_input: Any, examples: Sequence[Batch], device: torch.device, dtype: torch.dtype) -> Any:
    """Return inputs that show their shape."""
    if example_input is not None:
        return example_input.to(device)
    if not examples and data is None:
        raise InputError("count='real' follows paths through the network; pass example_input= or data=.")
    return (examples or scoring_batches(data, device=device, dtype=dtype))[0][0]
