"""Whether a network can be looked at by running it: its weights are finite, and a pass that fails says where."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sinewy.errors import InputError
from sinewy.layers import unwrap

_SAMPLE = "pass inputs of the shape and type that the model takes"


def check_finite(model: nn.Module) -> None:
    """Raise InputError, with its name, for the first parameter of `model` that holds a NaN or an infinity."""
    for name, parameter in unwrap(model).named_parameters():
        if nn.parameter.is_lazy(parameter) or not parameter.is_floating_point():
            continue
        finite = parameter.detach().isfinite()
        if not finite.all():
            wrong = finite.numel() - int(finite.count_nonzero())
            raise InputError(
                f"{wrong} of the {finite.numel()} values of '{name}' in {type(unwrap(model)).__name__} are NaN or"
                " infinite; did its training diverge? Take an earlier checkpoint."
            )


@contextmanager
def explained(model: nn.Module, advice: str = _SAMPLE) -> Iterator[None]:
    """Turn what goes wrong in a forward pass of `model` into one InputError: module, reason, its type, and `advice`.

    Sentences that say so already, and a lack of memory, pass as they are.
    """
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{type(model).__name__} of {type_of(model)} does not run: {_innermost(model, error)} raised"
            f" {reason(error)}; {advice}."
        ) from error


def type_of(model: nn.Module) -> torch.dtype:
    """Return the floating-point type of the first parameter that has one; float32 if there is none."""
    floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return next(floating, torch.float32)


def reason(error: BaseException) -> str:
    """Return the type of an error and the first line of what it says."""
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"


def _innermost(model: nn.Module, error: BaseException) -> str:
    """Return which module of `model` was running when the error was raised."""
    names = {id(module): name for name, module in model.named_modules()}
    running = [id(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [names[key] for key in running if names.get(key)]
    return f"module '{inside[-1]}'" if inside else "the model itself"
