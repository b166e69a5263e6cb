"""Which weights a criterion keeps: exactly as many as asked for, stage by stage, and never none of a layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.allocation import check_sparsity
from sinewy.criteria.criterion import Batch, Criterion, Loss, Subject
from sinewy.criteria.paths import Paths
from sinewy.criteria.plan import NEAR, Plan
from sinewy.criteria.subject import private
from sinewy.errors import InputError
from sinewy.masks import Masks
from sinewy.select import count

Tensors = Mapping[str, Tensor]

_MOST = 3
"""How many layers a warning names before it only counts them."""


def choose(
    model: nn.Module,
    criterion: Criterion,
    parameters: Mapping[str, nn.Parameter],
    sparsity: float,
    *,
    batches: Sequence[Batch] = (),
    scope: str = "global",
    dense: Sequence[str] = (),
    masks: Tensors | None = None,
    train_mode: bool = False,
    loss: Loss | None = None,
    example: Any = None,
    seed: int = 0,
) -> Masks:
    """Return masks of exactly this sparsity over `parameters` of `model`, which is not changed in any way.

    `scope` "global" ranks all weights together, "local" those of each tensor, at the same sparsity; a name of
    ALLOCATIONS ("erk") sets the counts per tensor. Tensors matching a `dense` pattern keep all weights and count in the
    total. What `masks` leaves out (by default weights that are exactly 0, unless a tensor is wholly 0) goes first,
    whatever the criterion; if that is more than asked for, the best of it is kept. Scores are taken at each of the
    criterion's stages on a copy, in evaluation mode unless `train_mode`. Every tensor keeps at least one weight, its
    best, in place of the worst elsewhere, and a warning names those that would have kept none.

    With an `example` input the sparsity is that of the real count instead: weights that are left on no path from the
    inputs to the outputs (`sinewy.criteria.paths`) are pruned too, and so fewer others, such that the number kept is
    met to within 0.5 %; the scores of the last stage serve the whole search. A warning tells where it cannot be met.

    Raises InputError if the sparsity cannot be reached, and for scores that are NaN or all alike.
    """
    sparsity = check_sparsity(sparsity)
    plan = Plan(parameters, scope, dense)
    plan.quota(sparsity)  # a target out of reach is refused before any work
    given = _nonzero(parameters) if masks is None else masks
    present = {name: given[name].to(p.device) for name, p in parameters.items()}
    rescued: dict[str, None] = {}
    with private(
        model, parameters, batches=batches, masks=masks, train_mode=train_mode, loss=loss, seed=seed
    ) as subject:
        for stage in (*criterion.stages(sparsity)[:-1], sparsity):
            if stage != sparsity and sum(plan.quota(stage).values()) >= sum(map(count, present.values())):
                continue
            scores = _scores(criterion, replace(subject, masks=Masks(present)), plan.free)
            if stage == sparsity and example is not None:
                paths = Paths(subject.model, subject.parameters, example, seed=seed)  # the last use of the copy
                present, emptied = plan.pick_live(scores, present, stage, paths)
            else:
                present, emptied = plan.pick(scores, present, stage)
                if stage != sparsity:
                    Masks(present).apply_(subject.model)
            rescued |= dict.fromkeys(emptied)
    _warn_rescued([name for name in rescued if count(present[name]) == 1])
    if example is not None:
        _warn_unmet(present, sparsity)
    return Masks(present)


def _nonzero(parameters: Tensors) -> dict[str, Tensor]:
    masks = {name: parameter.detach() != 0 for name, parameter in parameters.items()}
    return {name: mask if mask.any() else torch.ones_like(mask) for name, mask in masks.items()}


def _scores(criterion: Criterion, subject: Subject, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the criterion's scores of the named tensors, of one type and beside their weights, checked."""
    found = criterion.scores(subject)
    kind = type(criterion).__name__
    for name in names:
        if name not in found or found[name].shape != subject.parameters[name].shape:
            raise InputError(f"{kind} gave no scores of shape {tuple(subject.parameters[name].shape)} for '{name}'.")
    dtype = torch.float64 if any(found[name].dtype is torch.float64 for name in names) else torch.float32
    scores = {name: found[name].detach().to(subject.parameters[name].device, dtype).contiguous() for name in names}
    ends = [_range(score, subject.masks[name], name, kind) for name, score in scores.items()]
    if sum(p.numel() for p in scores.values()) > 1 and min(low for low, _ in ends) == max(high for _, high in ends):
        raise InputError(
            f"{kind} gave every weight the same score: nothing to choose by. Do the outputs depend on the inputs, and"
            " the loss on the outputs?"
        )
    return scores


def _range(score: Tensor, mask: Tensor, name: str, kind: str) -> tuple[float, float]:
    """Return the least and the largest score of the weights in the mask; refuse NaN."""
    least = float(torch.where(mask, score, float("inf")).min())
    most = float(torch.where(mask, score, -float("inf")).max())
    if least != least or most != most:
        wrong = count(score.isnan() & mask)
        raise InputError(
            f"{kind} gave {wrong} scores of '{name}' that are not numbers; are all weights, inputs and labels finite?"
        )
    return least, most


def _warn_rescued(names: Sequence[str]) -> None:
    """Warn of layers that kept one weight only because none would have cut the network."""
    if names:
        warnings.warn(
            f"no weight of {_list(names)} scored high enough to stay; one of each is kept, since none would"
            " cut it off. Lower the sparsity, prune with scope='local', or keep them with dense=[...].",
            stacklevel=4,
        )


def _warn_unmet(masks: Tensors, sparsity: float) -> None:
    """Warn of a real count that is not met, and of layers that no path leads through."""
    found = Masks(masks)
    if abs(found.nonzero - (1 - sparsity) * found.total) > max(NEAR * (1 - sparsity) * found.total, 1):
        warnings.warn(
            f"the real sparsity is {found.sparsity:.4f} instead of {sparsity:g}: removing one weight more leaves many"
            " without a path. Lower the sparsity, or keep small layers with dense=[...].",
            stacklevel=4,
        )
    cut = [name for name, mask in masks.items() if not mask.any()]
    if cut:
        warnings.warn(f"no path of kept weights leads through {_list(cut)}; nothing of it is kept.", stacklevel=4)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
