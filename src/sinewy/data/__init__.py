"""Images: where they come from, how they are split, and how they reach a model. Importing this loads no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy.data.images import ImageSet as ImageSet
    from sinewy.data.images import Splits as Splits
    from sinewy.data.images import as_image_set as as_image_set
    from sinewy.data.splits import load as load
    from sinewy.data.splits import present as present

DATASETS: dict[str, str] = {
    "digits": "sinewy.data.digits:load",
    "cifar10": "sinewy.data.cifar:load",
    "mnist": "sinewy.data.idx:mnist",
    "fashion-mnist": "sinewy.data.idx:fashion_mnist",
}

_HOMES = {
    "ImageSet": "sinewy.data.images",
    "Splits": "sinewy.data.images",
    "as_image_set": "sinewy.data.images",
    "load": "sinewy.data.splits",
    "present": "sinewy.data.splits",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sinewy.data' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
