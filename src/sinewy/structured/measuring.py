"""What running a model costs on this machine: parameters, arithmetic, bytes, memory, and time by the clock."""

from __future__ import annotations

import copy
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sinewy.metrics.cost import measure_cost
from sinewy.structured.tracing import mapped, run

BATCHES = (1, 64)
"""Batch sizes at which memory and latency are measured."""

_SECONDS = 0.3
"""Time spent on each latency, beyond one warm-up; at least three runs."""


@dataclass(frozen=True)
class Measured:
    """What a model costs. `macs` are of one example (1 multiply-accumulate = 2 FLOPs), None if the input is no tensor.

    `file_bytes` are those of the weights on disk. `memory` is the peak of parameters and activations in bytes, and
    `latency` the median seconds of a forward pass, by batch size, in `formats`, the faster memory format of each; both
    empty where they were not measured.
    """

    parameters: int
    macs: float | None
    file_bytes: int
    memory: Mapping[int, int]
    latency: Mapping[int, float]
    formats: Mapping[int, str]

    def as_json(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "file_bytes": self.file_bytes,
            "memory_bytes": {str(batch): value for batch, value in self.memory.items()},
            "latency_seconds": {str(batch): value for batch, value in self.latency.items()},
            "memory_formats": {str(batch): value for batch, value in self.formats.items()},
        }


def measure(models: Sequence[nn.Module], example_input: Any, *, timed: bool = True) -> list[Measured]:
    """Return what each of `models`, in eval mode, costs on this machine with torch's present number of threads.

    They are timed in turn. The first example of the example input, repeated, makes the batches. Without `timed`, memory
    and latency are left out.
    """
    memory: list[dict[int, int]] = [{} for _ in models]
    times: list[dict[int, float]] = [{} for _ in models]
    formats: list[dict[int, str]] = [{} for _ in models]
    for batch in BATCHES if timed else ():
        inputs = mapped(example_input, lambda tensor, batch=batch: _repeated(tensor, batch))  # type: ignore[misc]
        for number, (model, (name, seconds)) in enumerate(zip(models, _fastest(models, inputs), strict=True)):
            memory[number][batch] = _held(model) + peak_of_activations(model, inputs)
            formats[number][batch], times[number][batch] = name, seconds
    return [
        Measured(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            macs=_macs(model, example_input),
            file_bytes=sum(value.numel() * value.element_size() for value in model.state_dict().values()),
            memory=memory[number],
            latency=times[number],
            formats=formats[number],
        )
        for number, model in enumerate(models)
    ]


@torch.no_grad()
def latencies(calls: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """Return the median seconds of each call, made in turn, so that a slow spell of the machine hits all of them."""
    for call in calls:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    begin = time.perf_counter()
    while len(taken[0]) < 3 or time.perf_counter() - begin < seconds * len(calls):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


@torch.no_grad()
def peak_of_activations(model: nn.Module, inputs: Any) -> int:
    """Return the most bytes that tensors made by one forward pass hold at once; kernels' own workspace is not seen."""
    counter = _LiveBytes()
    with counter:
        run(model, inputs)
    return counter.peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages from when an operation returns them to when the last tensor on them is gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {tensor.untyped_storage()._cdata for tensor in args if isinstance(tensor, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self._note(tensor, before)
        self.peak = max(self.peak, self.live)
        return out

    def _note(self, tensor: Tensor, before: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in before and key not in self._known:  # a view of a weight or of the input
            return
        if key not in self._known:
            self._known[key] = 0
            self.live += storage.nbytes()
        self._known[key] += 1
        weakref.finalize(tensor, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._known[key] -= 1
        if not self._known[key]:
            del self._known[key]
            self.live -= size


def _macs(model: nn.Module, example_input: Any) -> float | None:
    return measure_cost(model, example_input).dense_inference_flops / 2 if isinstance(example_input, Tensor) else None


def _held(model: nn.Module) -> int:
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}.values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _fastest(models: Sequence[nn.Module], inputs: Any) -> list[tuple[str, float]]:
    """Return each model's faster memory format, of the two that convolutions of images know, and its latency."""
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    if not (isinstance(inputs, Tensor) and inputs.ndim == 4):
        return [("contiguous", seconds) for seconds in latencies([_timed(m, inputs) for m in models], _SECONDS)]
    calls = [
        _timed(copy.deepcopy(model).to(memory_format=layout), inputs.contiguous(memory_format=layout))
        for model in models
        for layout in formats.values()
    ]
    found = list(zip([*formats] * len(models), latencies(calls, _SECONDS), strict=True))
    return [min(found[i : i + len(formats)], key=lambda pair: pair[1]) for i in range(0, len(found), len(formats))]


def _timed(model: nn.Module, inputs: Any) -> Callable[[], Any]:
    is_cuda = next((p.is_cuda for p in model.parameters()), False)

    def call() -> None:
        run(model, inputs)
        if is_cuda:
            torch.cuda.synchronize()

    return call


def _repeated(tensor: Tensor, batch: int) -> Tensor:
    return tensor[:1].repeat(batch, *[1] * (tensor.ndim - 1)) if tensor.ndim else tensor
