"""What can be attacked, and how: everything a caller gives, refused in one sentence before any work starts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.attacks import ATTACKS, LOSSES, NORMS
from sinewy.attacks.victim import Loss
from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve


def check_model(model: Any) -> None:
    """Refuse what is not a module: its mode could not be set, nor its parameters left alone."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")


def check_images(images: Any) -> None:
    """Refuse anything but float32 or float64 (N, C, H, W) in [0, 1]."""
    if not isinstance(images, Tensor):
        hint = " Use torch.from_numpy(images)." if type(images).__module__ == "numpy" else ""
        raise InputError(f"images must be a float tensor (N, 3, H, W) in [0, 1], got {type(images).__name__}.{hint}")
    if images.dtype not in (torch.float32, torch.float64):
        hint = " Use images.float() / 255." if images.dtype == torch.uint8 else " Use images.float()."
        raise InputError(f"images must be float32 or float64 in [0, 1], got {images.dtype}.{hint}")
    if images.ndim != 4 or 0 in images.shape[1:]:
        hint = " Use images[None] for a single image." if images.ndim == 3 else ""
        raise InputError(f"images must have shape (N, 3, H, W), got {tuple(images.shape)}.{hint}")
    if images.isnan().any():
        raise InputError(f"{int(images.isnan().flatten(1).any(1).sum())} of {len(images)} images contain NaN.")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        raise InputError(
            f"images must lie in [0, 1], got {images.min():.4g} to {images.max():.4g}."
            " Give pixels before normalisation, and the normalisation as mean and std."
        )


def check_classes(what: str, values: Any, count: int) -> None:
    """Refuse labels or targets that are not one whole number for each image."""
    if not isinstance(values, Tensor) or values.dtype.is_floating_point or values.dtype == torch.bool:
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{what} must be a tensor of whole numbers, got {got}.")
    if values.shape != (count,):
        raise InputError(f"{what} must have shape ({count},), one for each image, got {tuple(values.shape)}.")


def check_range(what: str, values: Tensor, classes: int) -> None:
    """Refuse labels or targets that the model has no logit for."""
    if len(values) and not (values.min() >= 0 and values.max() < classes):
        raise InputError(
            f"{what} must be 0 to {classes - 1}, for the model has {classes} classes;"
            f" got {int(values.min())} to {int(values.max())}."
        )


def checked_eps(eps: Any, norm: str) -> list[float]:
    """Return the radii as a list of floats; refuses what is not a number at least 0, and for Linf above 1."""
    values = eps if isinstance(eps, Sequence | Tensor) or hasattr(eps, "__iter__") else [eps]
    if isinstance(eps, bool):
        raise InputError(f"eps must be a number or a sequence of numbers, got {eps}.")
    try:
        radii = [float(value) for value in values]
    except (TypeError, ValueError):
        raise InputError(f"eps must be a number or a sequence of numbers, got {eps!r}.") from None
    for radius in radii:
        if not 0 <= radius < math.inf:
            raise InputError(f"eps={radius:g} must be at least 0 and finite.")
        if norm == "linf" and radius > 1:
            raise InputError(f"eps={radius:g} is more than all of [0, 1]; did you mean {radius:g}/255?")
    return radii


def check_norm(norm: str) -> None:
    """Refuse a norm that is not in NORMS."""
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)


def check_count(name: str, value: Any) -> None:
    """Refuse what is not a whole number from 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} must be a whole number from 1, got {value!r}.")


def check_flags(**flags: Any) -> None:
    """Refuse what is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} must be True or False, got {value!r}.")


def check_step_size(value: Any) -> None:
    """Refuse what is neither None nor a finite number above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value < math.inf):
        raise InputError(f"step_size={value} must be above 0, in image units: 2/255, for example.")


def check_numbering(seed: Any, start: Any) -> None:
    """Refuse a seed or a first number that is not a whole number from 0."""
    for name, value in (("seed", seed), ("start", start)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise InputError(f"{name} must be a whole number from 0, got {value!r}.")


def checked_normalisation(
    mean: float | Sequence[float] | None, std: float | Sequence[float] | None, channels: int
) -> tuple[list[float] | None, list[float] | None]:
    """Return mean and std per channel, or None for both."""
    if (mean is None) != (std is None):
        raise InputError(f"mean={mean} and std={std}: give both, or neither if the model normalises by itself.")
    if mean is None or std is None:
        return None, None
    try:
        lists = [[float(x)] * channels if isinstance(x, int | float) else [float(v) for v in x] for x in (mean, std)]
    except (TypeError, ValueError):
        raise InputError(f"mean={mean!r} and std={std!r} must be numbers, one or {channels} of them.") from None
    for name, values in zip(("mean", "std"), lists, strict=True):
        if len(values) != channels or not all(map(math.isfinite, values)):
            raise InputError(f"{name}={values} must be {channels} finite numbers, one per channel.")
    if min(lists[1]) <= 0:
        raise InputError(f"std={lists[1]} must be above 0.")
    return lists[0], lists[1]


def make_attack(name: str, common: Mapping[str, Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the attack of that name; refuses an unknown name and an option that it does not have."""
    if not isinstance(name, str):
        raise InputError(f"the attack must be a name, got {name!r}; the names are {', '.join(ATTACKS)}.")
    make = resolve("attack", name, ATTACKS)
    known = inspect.signature(make).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for option in options:
        if option not in known and not free:
            raise unknown_name(f"option of attack '{name}'", option, [key for key in known if key not in common])
    attack: Callable[..., Any] = make(**common, **options)
    return attack


def resolve_loss(loss: str | Loss) -> Loss:
    """Return the loss of that name, or the caller's own function."""
    if callable(loss):
        return loss
    if not isinstance(loss, str):
        raise InputError(f"loss must be a function or one of {', '.join(LOSSES)}, got {loss!r}.")
    found: Loss = resolve("loss", loss, LOSSES)
    return found
