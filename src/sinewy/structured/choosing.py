"""Which channels a criterion keeps: the share asked for to within one channel, and never none of a group."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sinewy.criteria.criterion import Subject
from sinewy.errors import InputError, unknown_name
from sinewy.select import joint_masks, largest_mask
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.criterion import ChannelCriterion, uniform_ranks
from sinewy.structured.kept import Kept, channel_masks, kept_axes, remove_

Share = Callable[[Kept], float]
"""What share of weights, channels or FLOPs is gone, from what is kept; it grows with every channel removed."""

SCOPES = ("global", "local", "uniform")

_MOST = 3
"""How many layers a warning names before it only counts them."""


def choose_channels(
    subject: Subject,
    criterion: ChannelCriterion,
    groups: Sequence[ChannelGroup],
    sparsity: float,
    share: Share,
    *,
    scope: str = "global",
    min_channels: int = 1,
) -> dict[str, Tensor]:
    """Return a bool tensor (channels,) per group, True = kept, such that `share` of them is nearest to `sparsity`.

    Channels go in the order of the criterion's ranks ("global") or the same share of every group ("local", also called
    "uniform"), as many as bring `share` nearest to each of its stages in turn; the subject's model loses them on the
    way. Channels that nothing reads any more, all their readers' weights being 0, are taken to have gone before. Raises
    InputError for an unknown scope, a share out of reach (with the largest that can be had), and scores that are NaN.
    """
    if scope not in SCOPES:
        raise unknown_name("scope of a structured method", scope, SCOPES)
    _check_reach(groups, sparsity, share, min_channels)
    kept = {group.name: still_read(group, dict(subject.model.named_parameters())) for group in groups}
    for stage in criterion.stages(sparsity):
        if share(kept) >= stage:
            continue
        ranks = _ranks(criterion, _without(subject, groups, kept), groups, scope)
        kept = remove_lowest(ranks, kept, stage, share, min_channels=min_channels)
    _warn(groups, kept, min_channels)
    return kept


def remove_lowest(
    ranks: Mapping[str, Tensor], kept: Kept, target: float, share: Share, *, min_channels: int = 1
) -> dict[str, Tensor]:
    """Return `kept` less the channels of the lowest ranks, as many as bring `share` nearest to `target`.

    The `min_channels` best of each group stay. Among ties the earlier group's, then the earlier channel, stays.
    """
    best = {name: largest_mask(ranks[name], min(min_channels, int(k.sum())), k) for name, k in kept.items()}
    free = {name: kept[name] & ~best[name] for name in kept}
    total = sum(int(mask.sum()) for mask in free.values())

    def less(count: int) -> dict[str, Tensor]:
        chosen = joint_masks([ranks[name] for name in kept], total - count, list(free.values()))
        return {name: best[name] | mask for name, mask in zip(kept, chosen, strict=True)}

    below, enough = 0, total
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if share(less(middle)) >= target else (middle, enough)
    return min((less(below), less(enough)), key=lambda found: abs(share(found) - target))


def still_read(group: ChannelGroup, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return, for each channel (bool), whether some weight that reads it is not 0; all are if none of the group is."""
    read = torch.zeros(group.channels, dtype=torch.bool)
    for part in group.slices:
        if part.role == "in" and part.name in parameters:
            weight = parameters[part.name].detach().movedim(part.dim, 0)
            read |= (weight != 0).flatten(1).any(1).cpu()[part.index.cpu()].any(1)
    return read if read.any() else torch.ones_like(read)


def _check_reach(groups: Sequence[ChannelGroup], sparsity: float, share: Share, min_channels: int) -> None:
    if min_channels < 1:
        raise InputError(f"min_channels={min_channels} must be at least 1: a layer without channels cuts the network.")
    least = {group.name: torch.arange(group.channels) < min_channels for group in groups}
    reach = share(least)
    if sparsity > reach:
        raise InputError(
            f"sparsity {sparsity:g} cannot be reached by removing channels ({len(groups)} groups of them can go, each"
            f" keeps at least {min_channels}); the largest that can is {math.floor(reach * 1e4) / 1e4:g}."
        )


def _ranks(
    criterion: ChannelCriterion, subject: Subject, groups: Sequence[ChannelGroup], scope: str
) -> dict[str, Tensor]:
    """Return the ranks of all channels on the CPU (float64), checked."""
    scores = criterion.scores(subject, groups)
    kind = type(criterion).__name__
    for group in groups:
        if group.name not in scores or scores[group.name].shape != (group.channels,):
            raise InputError(f"{kind} gave no scores of shape ({group.channels},) for '{group.name}'.")
        wrong = int(scores[group.name].isnan().sum())
        if wrong:
            raise InputError(
                f"{kind} gave {wrong} scores of '{group.name}' that are not numbers; are all weights, inputs and"
                " labels finite?"
            )
    ranks = criterion.allocate(scores, groups) if scope == "global" else uniform_ranks(scores, groups)
    return {name: values.detach().cpu().double() for name, values in ranks.items()}


@torch.no_grad()
def _without(subject: Subject, groups: Sequence[ChannelGroup], kept: Kept) -> Subject:
    """Return the subject with the channels gone that are not kept, from its model and its masks."""
    shapes = {name: parameter.shape for name, parameter in subject.model.named_parameters()}
    axes = kept_axes(groups, kept, shapes)
    remove_(subject.model, axes)
    return replace(subject, masks=channel_masks(axes, subject.parameters))


def _warn(groups: Sequence[ChannelGroup], kept: Kept, least: int) -> None:
    bare = [group.name for group in groups if int(kept[group.name].sum()) <= least < group.channels]
    if not bare:
        return
    names = ", ".join(name.removesuffix(".weight") for name in bare[:_MOST])
    more = f" and {len(bare) - _MOST} more" if len(bare) > _MOST else ""
    warnings.warn(
        f"{names}{more} {'is' if len(bare) == 1 else 'are'} left with {least} channel{'s' * (least > 1)}, the least"
        " that a layer keeps. Lower the sparsity, or prune with scope='local'.",
        stacklevel=5,
    )
