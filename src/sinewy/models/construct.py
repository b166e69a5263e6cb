"""How a name becomes a network with its initial weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sinewy.errors import InputError, MissingExtraError, unknown_name
from sinewy.families import resolve
from sinewy.models import MODELS
from sinewy.seeds import derive


def build(name: str, *, classes: int, seed: int = 0, image_size: int = 32, **options: Any) -> nn.Module:
    """Return a new network for RGB images (N,3,image_size,image_size) that gives logits (N,classes), in training mode.

    `name` is one of MODELS, "timm:NAME", "torchvision:NAME", or your own "package.module:function", which is called
    with `classes` or `num_classes`, whichever it names, `image_size` if it names it, and the `options`, or without
    anything if it takes nothing. The initial weights depend on (name, seed, options) only, and the caller's random
    numbers go on undisturbed. Raises InputError for an unknown name, an option that the network does not have, and
    fewer than 1 class; MissingExtraError where timm is not installed.
    """
    if classes < 1 or image_size < 1:
        raise InputError(f"classes={classes} and image_size={image_size} must be at least 1.")
    library, _, rest = name.partition(":")
    make = {"timm": _timm, "torchvision": _torchvision}.get(library, _ours) if rest else _ours
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators too.
        torch.default_generator.manual_seed(derive("model", name, seed))
        model = make(name, classes, image_size, options)
    if not isinstance(model, nn.Module):
        raise InputError(f"model '{name}' returned {type(model).__name__}; return a torch.nn.Module.")
    return model


def takes_image_size(name: str) -> bool:
    """Return whether the network of that name depends on the size of the images; a library's does not here."""
    if name.startswith(("timm:", "torchvision:")):
        return False
    return "image_size" in inspect.signature(resolve("model", name, MODELS)).parameters


def _ours(name: str, classes: int, image_size: int, options: dict[str, Any]) -> Any:
    make = resolve("model", name, MODELS)
    named = inspect.signature(make).parameters
    given = {"num_classes" if "num_classes" in named else "classes": classes, **options}
    if not named and not options:  # a network of one's own that comes in one form
        given = {}
    if "image_size" in named:
        given.setdefault("image_size", image_size)
    return _call(name, make, given)


def _timm(name: str, classes: int, image_size: int, options: dict[str, Any]) -> Any:
    del image_size
    try:
        import timm
    except ModuleNotFoundError:
        raise MissingExtraError(f"model '{name}' needs timm: pip install 'sinewy[models]'") from None
    inner = name.partition(":")[2]
    if not timm.is_model(inner):
        raise unknown_name("timm model", inner, timm.list_models())
    return _call(name, timm.create_model, {"model_name": inner, "num_classes": classes, **options})


def _torchvision(name: str, classes: int, image_size: int, options: dict[str, Any]) -> Any:
    del image_size
    import torchvision

    inner = name.partition(":")[2]
    if inner not in torchvision.models.list_models(module=torchvision.models):
        raise unknown_name("torchvision model", inner, torchvision.models.list_models(module=torchvision.models))
    return _call(name, torchvision.models.get_model, {"name": inner, "num_classes": classes, **options})


def _call(name: str, make: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Return make(**given); an argument it does not take is the user's mistake, any other TypeError is not."""
    try:
        inspect.signature(make).bind(**given)
    except TypeError as error:
        options = ", ".join(inspect.signature(make).parameters)
        raise InputError(f"model '{name}': {error}; it takes: {options}.") from None
    return make(**given)
