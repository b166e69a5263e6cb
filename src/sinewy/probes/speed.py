"""What networks take on this machine: bytes of their weights, and time by the clock, in a second or two."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.analysis.shown import Footprint, Speed
from sinewy.errors import InputError
from sinewy.layers import prunable, unwrap
from sinewy.masks import Masks
from sinewy.metrics.cost import measure_cost
from sinewy.probes.showing import filters_left
from sinewy.records import Cost

BATCHES = (1, 64)
SECONDS, PASSES = 0.12, 5
"""Time spent on one network and batch size beyond a warm-up, and the passes that are made at least."""

LONGEST = 3.0
"""Seconds that one round over all networks may take; a batch size that would take longer is left out."""

MOST = 4
"""Networks that are timed, the parent among them."""

COMPACTED = "{}, compacted"


def measure_speed(models: Mapping[str, nn.Module], example: Tensor) -> Speed:
    """Return bytes and the fastest pass of `models` (the parent first), and of what `sinewy.compact` makes of them.

    `example` is one input as the networks take it, (1, ...). Networks of which whole filters are zero are compacted;
    where that cannot be done, a note says why. The networks are timed in turn in evaluation mode, as they are, with
    torch's present number of threads.
    """
    notes: list[str] = []
    plain = {name: _copy(model) for name, model in list(models.items())[:MOST]}
    if len(models) > MOST:
        notes.append(f"Only the first {MOST} of {len(models)} networks were timed.")
    small = {COMPACTED.format(name): _compacted(name, model, example, notes) for name, model in plain.items()}
    compacted = {name: model for name, model in small.items() if model is not None}
    timed = _in_order(plain, compacted)
    seconds = _seconds(timed, example, notes)
    networks = {name: Footprint(_cost(model, example), _bytes(model), seconds[name]) for name, model in timed.items()}
    return Speed(networks, _device_name(example), torch.get_num_threads(), tuple(compacted), tuple(notes))


def _copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(unwrap(model)).eval()


def _in_order(plain: Mapping[str, nn.Module], compacted: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return every network with what it was compacted to right after it."""
    found: dict[str, nn.Module] = {}
    for name, model in plain.items():
        found[name] = model
        if COMPACTED.format(name) in compacted:
            found[COMPACTED.format(name)] = compacted[COMPACTED.format(name)]
    return found


def _compacted(name: str, model: nn.Module, example: Tensor, notes: list[str]) -> nn.Module | None:
    from sinewy.structured.compacting import compact

    try:
        rows = filters_left(Masks.of_zeros(prunable(model)))
        if all(left.filters == left.filters_left for left in rows):
            return None
        small = compact(model, example, timed=False, check=False)
    except Exception as error:  # whatever a network does, a page must not fail for want of a time
        notes.append(f"{name} could not be compacted: {_first_line(error)}")
        return None
    return small if _parameters(small) < _parameters(model) else None


@torch.no_grad()
def _seconds(models: Mapping[str, nn.Module], example: Tensor, notes: list[str]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {name: {} for name in models}
    for batch in BATCHES:
        slowest = sum(own[BATCHES[0]] for own in found.values() if BATCHES[0] in own)
        if slowest * batch > LONGEST:
            notes.append(f"Batches of {batch} would take too long here and were not timed.")
            continue
        inputs = example[:1].repeat(batch, *[1] * (example.ndim - 1))
        try:
            taken = fastest([_call(model, inputs) for model in models.values()])
        except Exception as error:  # out of memory, a network of one batch size, of another device
            notes.append(f"Batches of {batch} could not be timed: {_first_line(error)}")
            continue
        for name, seconds in zip(models, taken, strict=True):
            found[name][batch] = seconds
    return found


def fastest(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Return the seconds of the fastest pass of each call, made in turn after a warm-up.

    What else a machine does can only make a pass slower: with few passes the fastest says more than the median.
    """
    for call in calls:
        call()
    taken = [math.inf] * len(calls)
    begin, rounds = time.perf_counter(), 0
    while rounds < PASSES or time.perf_counter() - begin < SECONDS * len(calls):
        for number, call in enumerate(calls):
            start = time.perf_counter()
            call()
            taken[number] = min(taken[number], time.perf_counter() - start)
        rounds += 1
    return taken


def _call(model: nn.Module, inputs: Tensor) -> Callable[[], Any]:
    def call() -> None:
        model(inputs)
        if inputs.is_cuda:
            torch.cuda.synchronize(inputs.device)

    return call


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _cost(model: nn.Module, example: Tensor) -> Cost | None:
    """Return what a network costs at the density of its weights; None where that cannot be counted."""
    try:
        return measure_cost(model, example, Masks.of_zeros(prunable(model)))
    except InputError:
        return None


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _bytes(model: nn.Module) -> int:
    tensors = [v for v in model.state_dict().values() if isinstance(v, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _device_name(example: Tensor) -> str:
    return torch.cuda.get_device_name(example.device) if example.is_cuda else "CPU"
