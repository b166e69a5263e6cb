"""Which tensors of a model can be sparse: decided by module type, never by guessing at names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from sinewy.errors import InputError

Pattern = str | type[nn.Module]
"""A shell-style pattern on parameter names ("layer3.*"), or a module type (nn.Linear)."""

PRUNABLE_TYPES: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.MultiheadAttention,
)
"""Modules whose weights (for attention: projections) are prunable by default; norms, biases and embeddings stay
dense."""


def unwrap(model: nn.Module) -> nn.Module:
    """Return the user's module inside wrappers that only prefix parameter names (compile, DDP, DataParallel, EMA)."""
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, wrappers) or type(model).__name__ == "AveragedModel":
            model = model.module  # type: ignore[assignment]
        else:
            return model


def prunable(
    model: nn.Module, *, include: Sequence[Pattern] | None = None, exclude: Sequence[Pattern] = ()
) -> dict[str, nn.Parameter]:
    """Return the prunable parameters of `model` by name, in model order; a shared one appears once, by its first name.

    By default these are the weights of PRUNABLE_TYPES. `include` replaces that choice: every floating-point parameter
    with at least two dimensions whose name or module type matches one of its entries. `exclude` then takes away. Raises
    InputError if an entry matches nothing, or nothing is left.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    used: set[Pattern] = set()
    first_names = {id(parameter): name for name, parameter in unwrap(model).named_parameters()}
    for module, name, parameter in _matrices(unwrap(model)):
        matches = {pattern for pattern in (*(include or ()), *exclude) if _matches(pattern, module, name)}
        used |= matches
        wanted = isinstance(module, PRUNABLE_TYPES) if include is None else bool(matches & set(include))
        if wanted and not matches & set(exclude) and id(parameter) not in seen:
            seen.add(id(parameter))
            found[first_names[id(parameter)]] = parameter
    for pattern in (*(include or ()), *exclude):
        if pattern not in used:
            raise InputError(f"no weight matches {_text(pattern)}; the model's weights are: {_names(model)}.")
    if not found:
        raise InputError(
            f"{type(unwrap(model)).__name__} has no prunable weight (Linear, convolution or attention projection"
            f"{' left after include/exclude' if include or exclude else ''}); name some with include=[...]."
        )
    return found


def _matrices(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Yield (module, full name, parameter) for every floating-point parameter with two or more dimensions."""
    for prefix, module in model.named_modules():
        if hasattr(module, "parametrizations") and isinstance(module, PRUNABLE_TYPES):
            warnings.warn(f"{prefix}: its weight is parametrized and stays dense.", stacklevel=4)
            continue
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            if isinstance(parameter, nn.UninitializedParameter):
                raise InputError(f"{full} is not initialised yet; run one batch through the model first.")
            if parameter.ndim >= 2 and parameter.is_floating_point() and "bias" not in name:
                yield module, full, parameter


def _matches(pattern: Pattern, module: nn.Module, name: str) -> bool:
    return fnmatchcase(name, pattern) if isinstance(pattern, str) else isinstance(module, pattern)


def _text(pattern: Pattern) -> str:
    return f"'{pattern}'" if isinstance(pattern, str) else pattern.__name__


def _names(model: nn.Module, most: int = 8) -> str:
    names = [name for _, name, _ in _matrices(unwrap(model))]
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
