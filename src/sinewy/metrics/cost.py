"""What a model costs to run: parameters and FLOPs, dense and with its masks."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sinewy.errors import InputError
from sinewy.layers import PRUNABLE_TYPES, unwrap
from sinewy.records import Cost

aten = torch.ops.aten
COUNTED = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution, aten._convolution}
"""The operations in which a weight of a convolution or linear layer meets its input."""


def measure_cost(model: nn.Module, example_input: Tensor, masks: Mapping[str, Tensor] | None = None) -> Cost:
    """Return what one example costs, by the convention of `sinewy.records.Cost`; the training fields stay None.

    `example_input` is a batch, of which the first example is run; `masks` (True = kept) are by parameter name. The
    count is of all parameters, less those that `masks` prune. Nothing about `model` changes. Raises InputError as
    `layer_flops` does.
    """
    dense, sparse = inference_flops(model, example_input, masks)
    parameters = sum(parameter.numel() for parameter in unwrap(model).parameters())
    pruned = sum(mask.numel() - int(mask.count_nonzero()) for mask in (masks or {}).values())
    return Cost(parameters, parameters - pruned, dense, sparse)


def inference_flops(
    model: nn.Module, example: Tensor, masks: Mapping[str, Tensor] | None = None
) -> tuple[float, float]:
    """Return the FLOPs of one example, dense, and with each weight's share multiplied by the density of its mask."""
    flops = layer_flops(model, example)
    densities = _densities(unwrap(model), masks or {})
    return sum(flops.values()), sum(count * densities.get(name, 1.0) for name, count in flops.items())


def layer_flops(model: nn.Module, example: Tensor) -> dict[str, float]:
    """Return the FLOPs of one example by the name of the weight that causes them, in the order of execution.

    One multiply-accumulate is 2 FLOPs, as in `torch.utils.flop_counter`; only products with a weight count
    (convolution, linear, projections of attention), so neither attention itself nor norms. A weight shared by layers
    has the sum, under its first name; one made by a parametrization is called "layer.weight". The first example of the
    batch `example` is run through a copy of the model in evaluation mode. Raises InputError if the model cannot run on
    it.
    """
    if example.ndim < 1 or not len(example):
        raise InputError(f"the example must be a batch with at least one example, got shape {tuple(example.shape)}.")
    clone = copy.deepcopy(unwrap(model)).eval()
    first = next(clone.parameters(), torch.empty(0))
    counter = _Counter(clone)
    try:
        with _undisturbed(first.device), counter:
            clone(example[:1].to(first.device))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shape = tuple(example[:1].shape)
        raise InputError(
            f"the model cannot run on an example of shape {shape} and type {example.dtype}: {error}"
        ) from error
    return counter.flops


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the FLOPs of each operation under the weight whose memory it reads, else under the layer that runs it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: dict[str, float] = {}
        self._names = {_memory(p): name for name, p in reversed(list(model.named_parameters()))}
        self._running: list[str] = []
        for name, module in model.named_modules():
            if isinstance(module, PRUNABLE_TYPES) and not isinstance(module, nn.MultiheadAttention):
                self._track(f"{name}.weight" if name else "weight", module)

    def _track(self, name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda *_: self._running.append(name))
        module.register_forward_hook(lambda *_: self._leave())

    def _leave(self) -> None:
        self._running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        name = self._name(args) if packet in COUNTED else None
        if name is not None:
            count = float(flop_registry[packet](*args, **(kwargs or {}), out_val=out))
            self.flops[name] = self.flops.get(name, 0.0) + count
        return out

    def _name(self, args: tuple[Any, ...]) -> str | None:
        owners = (self._names.get(_memory(arg)) for arg in args if isinstance(arg, Tensor) and arg.ndim > 1)
        return next((owner for owner in owners if owner), self._running[-1] if self._running else None)


def _memory(tensor: Tensor) -> int:
    """Return what identifies the storage of `tensor`; views and transposes share it."""
    return int(tensor.untyped_storage()._cdata)


@contextlib.contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Run without gradients, with the random state put back, and attention as its single operations."""
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        mha.set_fastpath_enabled(fast)


def _densities(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the share kept by each mask; raises InputError for a mask of no parameter or of another shape."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            wanted = tuple(parameters[name].shape) if name in parameters else "no such parameter"
            raise InputError(f"mask '{name}' has shape {tuple(mask.shape)}, the model {wanted}; pass its own masks.")
    return {name: float(mask.count_nonzero()) / mask.numel() for name, mask in masks.items()}
