"""The channel groups of a model: what can be removed, found by tracing and proven by removing some of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.criteria.subject import without_hooks
from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.models.removal import apply_plan
from sinewy.seeds import derive
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.removal import plan_removal
from sinewy.structured.tracing import MIXES, OUTPUT, flat_outputs, mapped, run, trace

_AGREE = 1e-3
"""Outputs differ by this share of the largest at most; a channel at the wrong place changes them by far more."""


@dataclass(frozen=True)
class Channels:
    """The groups of a model, and why other channels are left alone: a reason by the name of their first maker."""

    groups: tuple[ChannelGroup, ...]
    left_alone: Mapping[str, str]


def channel_groups(model: nn.Module, example_input: Any) -> list[ChannelGroup]:
    """Return the groups of channels of `model` that leave it together, in the order of their makers.

    `example_input` is a tensor, a tuple of arguments or a mapping of named ones, as the model takes it; its batch size
    does not matter. All that a channel owns is in its slices: filters and biases, entries of norms and their running
    statistics, kernels of depthwise convolutions, the columns of its readers; a group of a grouped convolution and a
    head of an attention are one channel. The model, its mode, gradients and statistics, and torch's random numbers stay
    as they are. What cannot be removed is in no group; `find_channels` says why. Raises MissingExtraError without
    torch-pruning, InputError if the model cannot be run or traced.
    """
    return list(find_channels(model, example_input).groups)


@torch.inference_mode(False)
def find_channels(model: nn.Module, example_input: Any) -> Channels:
    """Return the groups of `model`, and what is left alone and why; see `channel_groups`.

    Every group is proven on a copy with random weights: with half of its channels removed, the model runs and gives
    what it gives with their slices zero (with LayerNorm or GroupNorm over the channels: it runs).
    """
    plain = unwrap(model)
    devices = {p.device for p in plain.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=[d.index for d in devices]):
        trial = randomised(without_hooks(copy.deepcopy(plain)))
        example_input = mapped(example_input, torch.clone)
        found = trace(trial, example_input).groups()
        trial.requires_grad_(False)
        candidates, left_alone = _sorted_out(found)
        proof = _Proof(trial, example_input)
        proven = proof.passing([group for group in candidates if not group.is_output and group.channels > 1])
    names = {group.name for group in proven}
    groups = tuple(g for g in candidates if g.name in names or g.is_output or g.channels == 1)
    return Channels(groups, left_alone | proof.failures)


@torch.no_grad()
def randomised(model: nn.Module) -> nn.Module:
    """Give a private copy random weights and statistics of ordinary size, the same every time; return it.

    What leaves together does not depend on weights, and zeros, or a fresh layer's tiny scales, would hide mistakes.
    """
    generator = torch.Generator().manual_seed(derive("channel groups", 0))
    for tensor in model.parameters():
        if tensor.is_floating_point():
            draw = torch.randn(tensor.shape, generator=generator)
            fan = tensor[0].numel() if tensor.ndim > 1 else 1
            tensor.copy_(draw * fan**-0.5 if tensor.ndim > 1 else 1 + 0.3 * draw)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            draw = torch.rand(buffer.shape, generator=generator)
            buffer.copy_(draw - 0.5 if name.endswith("mean") else draw + 0.5)
    return model


@torch.no_grad()
def silence(model: nn.Module, groups: Iterable[ChannelGroup], removed: Mapping[str, Tensor]) -> None:
    """Set every parameter slice of the removed channels to zero, in place; statistics stay."""
    parameters = dict(model.named_parameters())
    for group in groups:
        for part in group.slices if group.name in removed else ():
            if part.name in parameters:
                index = part.index[removed[group.name]].flatten()
                parameters[part.name].index_fill_(part.dim, index.to(parameters[part.name].device), 0)


def _sorted_out(found: Sequence[tuple[ChannelGroup, frozenset[str]]]) -> tuple[list[ChannelGroup], dict[str, str]]:
    """Return the groups without a mark against them, and the reasons for the others."""
    candidates, left_alone = [], {}
    for group, marks in found:
        reasons = sorted(marks - {MIXES, OUTPUT})
        if reasons:
            left_alone[group.name] = "its channels pass " + ", ".join(reasons)
            continue
        if OUTPUT not in marks and not any(part.role == "in" for part in group.slices):
            left_alone[group.name] = "nothing was found to read its channels"
            continue
        candidates.append(replace(group, is_output=OUTPUT in marks, mixes=MIXES in marks))
    return candidates, left_alone


class _Proof:
    """Tries removals on a model with random weights; `failures` collects the reasons of groups that failed."""

    def __init__(self, model: nn.Module, example_input: Any) -> None:
        self.model, self.example_input = model, example_input
        self.failures: dict[str, str] = {}

    def passing(self, groups: list[ChannelGroup]) -> list[ChannelGroup]:
        """Return those of `groups` that can be removed from together; halves what fails until single ones are left."""
        reason = self._reason(groups) if groups else ""
        if not reason:
            return groups
        if len(groups) == 1:
            self.failures[groups[0].name] = reason
            return []
        half = len(groups) // 2
        first, second = self.passing(groups[:half]), self.passing(groups[half:])
        if len(first) + len(second) < len(groups) and not self._reason(first + second):
            return first + second
        return self._one_by_one(first, second)

    def _one_by_one(self, proven: list[ChannelGroup], others: list[ChannelGroup]) -> list[ChannelGroup]:
        """Return `proven` and those of `others` that can join them: groups may fail only in company."""
        for group in others:
            reason = self._reason([*proven, group])
            if reason:
                self.failures[group.name] = f"with other groups' channels gone, {reason}"
            else:
                proven = [*proven, group]
        return proven

    @torch.no_grad()
    def _reason(self, groups: list[ChannelGroup]) -> str:
        """Return why the model does not survive the removal of half of each group's channels; empty if it does."""
        removed = {group.name: _every_second(group) for group in groups}
        exact = {group.name: removed[group.name] for group in groups if not group.mixes}
        mixing = [group for group in groups if group.mixes]
        small = copy.deepcopy(self.model)
        try:
            apply_plan(small, plan_removal(small, groups, removed))
            outputs = flat_outputs(run(small, self.example_input))
            if mixing:  # the values change: it is enough that it runs, and that the others are exact on their own
                small = copy.deepcopy(self.model)
                apply_plan(small, plan_removal(small, groups, exact))
                outputs = flat_outputs(run(small, self.example_input))
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, InputError) as error:
            first = (str(error).strip().splitlines() or [""])[0]
            return f"the model does not run without some of its channels ({type(error).__name__}: {first[:120]})"
        silent = copy.deepcopy(self.model)
        silence(silent, groups, exact)
        wanted = flat_outputs(run(silent, self.example_input))
        return "" if agree(outputs, wanted, _AGREE) else "removing its channels changes what the others give"


def agree(outputs: Sequence[Tensor], wanted: Sequence[Tensor], share: float) -> bool:
    """Return whether all tensors have the same shapes, and differ by at most `share` of the largest wanted value."""
    return difference(outputs, wanted) <= share


def difference(outputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Return the largest difference as a share of the largest wanted value, infinite if shapes or NaNs differ."""
    if [tensor.shape for tensor in outputs] != [tensor.shape for tensor in wanted]:
        return float("inf")
    worst = 0.0
    for output, goal in zip(outputs, wanted, strict=True):
        if output.numel() == 0:
            continue
        scale = goal.abs().max().clamp_min(1e-12)
        gap = ((output - goal).abs().max() / scale).item()
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def _every_second(group: ChannelGroup) -> Tensor:
    """Return which channels a trial removes: an irregular half, at least one, never all."""
    generator = torch.Generator().manual_seed(derive("trial", 0, group.name))
    removed = torch.zeros(group.channels, dtype=torch.bool)
    removed[torch.randperm(group.channels, generator=generator)[: group.channels // 2]] = True
    return removed
