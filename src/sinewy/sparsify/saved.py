"""The state of a sparsifier on disk: settings, counters, masks and what a method remembers per weight."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sinewy.errors import CorruptFileError, InputError
from sinewy.masks import Masks

if TYPE_CHECKING:
    from sinewy.sparsify.base import Sparsifier

STATE_FORMAT = 2
_MASKS = ("mask", "first", "explored")
_COUNTERS = ("grown", "dropped")


def pack(sparsifier: Sparsifier) -> dict[str, Any]:
    """Return the state as tensors and plain values."""
    layers = sparsifier._layers
    return {
        "format": STATE_FORMAT,
        "method": type(sparsifier).__name__,
        "settings": sparsifier.settings(),
        "step": sparsifier.step,
        **{kind: Masks({name: getattr(layer, kind) for name, layer in layers.items()}).pack() for kind in _MASKS},
        **{kind: {name: getattr(layer, kind) for name, layer in layers.items()} for kind in _COUNTERS},
        "memory": {name: dict(layer.memory) for name, layer in layers.items()},
        "remembered": sparsifier.remembered(),
    }


def restore(sparsifier: Sparsifier, state: Mapping[str, Any]) -> None:
    """Put a state back; raises InputError or CorruptFileError as `Sparsifier.load_state_dict` says."""
    layers = sparsifier._layers
    if not layers:
        raise InputError(
            f"attach this {type(sparsifier).__name__} to the model and optimizer before loading its state."
        )
    _check_same_method(sparsifier, state)
    if set(state["mask"]) != set(layers):
        differing = sorted(set(state["mask"]) ^ set(layers))
        raise InputError(f"the saved masks are of another model: {differing[0]} is in only one of the two.")
    shapes = {name: layer.parameter.shape for name, layer in layers.items()}
    masks = {kind: Masks.unpack({name: state[kind][name] for name in shapes}, shapes) for kind in _MASKS}
    for name, layer in layers.items():
        layer.set_mask(masks["mask"][name])
        layer.first, layer.explored = (masks[kind][name].to(layer.mask.device) for kind in ("first", "explored"))
        layer.grown, layer.dropped = (int(state[kind][name]) for kind in _COUNTERS)
        layer.memory = {key: _like(value, layer.parameter) for key, value in state["memory"][name].items()}
    sparsifier.step = int(state["step"])
    sparsifier.remember(state.get("remembered", {}))


def settings(sparsifier: Sparsifier) -> dict[str, Any]:
    """Return what the constructor was given, as plain values."""
    plain: dict[str, Any] = {"sparsity": sparsifier.target}
    for name in constructor_options(type(sparsifier)):
        value = getattr(sparsifier, name, None)
        plain[name] = value if isinstance(value, (bool, int, float, str, type(None))) else _text(value)
    return plain


def constructor_options(cls: type) -> list[str]:
    """Return the keyword options of the constructor of `cls`, and of those it passes other options on to."""
    names: dict[str, None] = {}
    for base in cls.__mro__[:-1]:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names |= {p.name: None for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return list(names)


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy on the parameter's device, in its memory format if it has its shape."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter.detach(), dtype=value.dtype).copy_(value)


def _check_same_method(sparsifier: Sparsifier, state: Mapping[str, Any]) -> None:
    own = type(sparsifier).__name__
    try:
        version, method, before = state["format"], state["method"], state["settings"]
    except (KeyError, TypeError):
        raise CorruptFileError("this is not the state of a sparsifier.") from None
    if version != STATE_FORMAT or method != own:
        raise InputError(f"the state is of {method} (format {version}), this is {own} (format {STATE_FORMAT}).")
    for name, value in sparsifier.settings().items():
        if before.get(name) != value:
            raise InputError(f"the state was saved with {name}={before.get(name)!r}, this {method} has {value!r}.")


def _text(value: Any) -> str:
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, Mapping):
        return repr(dict(value))
    return repr([_text(entry) if isinstance(entry, type) else entry for entry in value])
