"""What `limit` is given, in one form: a parent, images to train and to test on, and how to retrain."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sinewy.data import ImageSet, Splits, as_image_set
from sinewy.errors import InputError
from sinewy.limits.describing import described
from sinewy.masks import Masks
from sinewy.probes.stored import image_fingerprint
from sinewy.recipe import TrainOptions, parse

Retrain = Callable[[nn.Module, Masks], Any]
"""Trains the model in place and returns None; pruned weights may move, and are put back to 0 afterwards."""

LEARNING_RATE = 0.01
"""Where short retraining starts unless `training` says otherwise: a tenth of what training from scratch takes."""

GIVEN = {
    "sparsity": "tries many sparsities; pass them as grid=[...]",
    "data": "scores weights on the training data; pass that as train",
    "example_input": "takes the shape of inputs from the test images",
}
"""Arguments of `sinewy.prune` that a limit fills in, and how."""

_EPOCHS = re.compile(r"([1-9]\d*)\s*ep(?:ochs?)?")


@dataclass(frozen=True)
class Retraining:
    """How the levels are retrained: not at all, by our loop, or by the user's function; `name` tells runs apart."""

    name: str
    options: TrainOptions | None = None
    function: Retrain | None = None

    def __bool__(self) -> bool:
        return self.options is not None or self.function is not None


def retraining(value: str | Retrain | None, training: Mapping[str, Any] | None) -> Retraining:
    """Return what `retrain` asks for; raises InputError for anything but None, "10ep" and a function."""
    if value is None:
        if training:
            raise InputError("training options were given, but nothing is retrained; add retrain='10ep'.")
        return Retraining("none")
    if isinstance(value, str):
        found = _EPOCHS.fullmatch(value.strip())
        if not found:
            raise InputError(f"retrain='{value}' is not understood; write the epochs as '10ep', or pass a function.")
        options = {"lr": LEARNING_RATE, **(training or {}), "epochs": int(found.group(1))}
        return Retraining(f"{found.group(1)}ep", options=parse(TrainOptions, options, "training"))
    if not callable(value):
        raise InputError(f"retrain must be None, '10ep' or a function of (model, masks), got {type(value).__name__}.")
    if training:
        raise InputError("training options belong to retrain='10ep'; a function of your own takes none of them.")
    if isinstance(value, functools.partial):
        return Retraining(described(value), function=value)
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return Retraining(f"{getattr(value, '__module__', '')}:{name}", function=value)


def test_images(data: Any, *, mean: Any, std: Any) -> ImageSet:
    """Return the images to measure on; of a loader its data set, of splits the test part."""
    if isinstance(data, Splits):
        return data.test
    found = as_image_set(_data_set(data), name="test", split="test", mean=mean, std=std)
    if found.split == "train":
        raise InputError(f"the test images are marked as training images of {found.name}; pass the part .test.")
    if len(found) == 0:
        raise InputError("the test set is empty.")
    return found


def train_images(data: Any, *, mean: Any, std: Any, needed: bool) -> Any:
    """Return the training images as an ImageSet where they can be one, else as they came, for criteria and loaders.

    Raises InputError for test images, and for what our loop cannot train on if it is `needed`.
    """
    if data is None:
        if needed:
            raise InputError("retraining needs training images; pass them as train=.")
        return None
    if isinstance(data, Splits):
        data = data.train
    if isinstance(data, ImageSet):
        if data.split == "test":
            raise InputError(f"{data.name} is marked as test images; train and choose weights with the part .train.")
        return data
    try:
        return as_image_set(_data_set(data), name="train", split="train", mean=mean, std=std)
    except InputError:
        if needed:
            raise
        return data


def _data_set(data: Any) -> Any:
    is_loader = hasattr(data, "dataset") and hasattr(data, "batch_size")
    return data.dataset if is_loader else data


def pruning_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what goes to `sinewy.prune`; raises InputError for what a limit gives it itself."""
    for name, instead in GIVEN.items():
        if name in options:
            raise InputError(f"{name}= is not for limit, which {instead}.")
    return dict(options)


def data_fingerprint(data: Any) -> str:
    """Return what tells training data apart: hash, mean and std of an ImageSet, else its type and length."""
    if isinstance(data, ImageSet):
        return image_fingerprint(data)
    length = len(data) if hasattr(data, "__len__") else "?"
    return "none" if data is None else f"{type(data).__name__} of {length}"
