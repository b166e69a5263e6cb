"""How a network is looked at without being touched: on a private copy, with everyone's random numbers put back."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sinewy.criteria.batches import mapped
from sinewy.criteria.criterion import Batch, Loss, Subject
from sinewy.criteria.losses import cross_entropy
from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.masks import Masks
from sinewy.seeds import derive

_HALF = (torch.float16, torch.bfloat16)

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Where a module keeps what the user asked torch to call when it runs."""


@contextmanager
def private(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    *,
    batches: Sequence[Batch] = (),
    masks: Mapping[str, Tensor] | None = None,
    train_mode: bool = False,
    loss: Loss | None = None,
    seed: int = 0,
) -> Iterator[Subject]:
    """Yield a Subject: a copy of `model`, in evaluation mode unless `train_mode`, with `masks` applied.

    Of the copy's parameters those named in `parameters` ask for gradients, also if the user froze them, and no others.
    Inside, gradients are on whatever the caller's mode; afterwards torch's random numbers go on as if nothing had been
    drawn. A model of half precision, in which products such as w (H g) underflow, is copied in float32 and its batches
    with it. The user's hooks do not fire. Raises InputError for a model that cannot be copied.
    """
    plain = unwrap(model)
    devices = sorted({p.device.index for p in plain.parameters() if p.is_cuda})
    with torch.inference_mode(False), torch.enable_grad(), _own_numbers(devices, seed):
        twin = _copy(plain).train(train_mode)
        if any(parameter.dtype in _HALF for parameter in twin.parameters()):
            twin.float()
            batches = [mapped(batch, _widened) for batch in batches]
        named = dict(twin.named_parameters())
        for name, parameter in named.items():
            parameter.requires_grad_(name in parameters)
        whole = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}
        kept = Masks(whole if masks is None else masks)
        if masks is not None:
            kept.apply_(twin)
        generator = torch.Generator().manual_seed(derive("criterion", seed))
        yield Subject(twin, {name: named[name] for name in parameters}, kept, batches, loss or cross_entropy, generator)


def _copy(model: nn.Module) -> nn.Module:
    try:
        return without_hooks(copy.deepcopy(model))
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{type(model).__name__} cannot be copied for scoring: {error}") from None


def without_hooks(model: nn.Module) -> nn.Module:
    """Take the hooks off every module of a private copy, but those by which torch itself makes weights; return it.

    Observers would see passes that are not theirs. What torch.nn.utils installs (weight_norm, spectral_norm, prune) is
    part of the network.
    """
    for module in model.modules():
        for kind in _HOOKS:
            kept = {key: hook for key, hook in getattr(module, kind).items() if _makes_weights(hook)}
            setattr(module, kind, OrderedDict(kept))
    return model


def _makes_weights(hook: object) -> bool:
    return type(hook).__module__.startswith("torch.nn.utils.")


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in _HALF else tensor


@contextmanager
def _own_numbers(devices: list[int], seed: int) -> Iterator[None]:
    """Give dropout and its like numbers that depend on `seed` only."""
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which would seed every accelerator.
        for generator in (torch.default_generator, *(torch.cuda.default_generators[index] for index in devices)):
            generator.manual_seed(derive("scoring", seed))
        yield
