"""Images: where they come from, how they are split, and how they reach a model. Importing this loads no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy.data.images import ImageSet as ImageSet
    from sinewy.data.images import Splits as Splits
    from sinewy.data.images import as_image_set as as_image_set
    from sinewy.data.splits import load as load
    from sinewy.data.standing import present as present

DATASETS: dict[str, str] = {
    "digits": "sinewy.data.digits:load",
    "cifar10": "sinewy.data.cifar:load",
    "cifar100": "sinewy.data.cifar100:load",
    "svhn": "sinewy.data.svhn:load",
    "mnist": "sinewy.data.idx:mnist",
    "fashion-mnist": "sinewy.data.idx:fashion_mnist",
}

OUTLIER_SETS: dict[str, str] = {
    "textures": "sinewy.data.pictures:textures",
    "omniglot": "sinewy.data.pictures:omniglot",
}
"""Sets that serve as anomalies only (the probe "ood"): each returns the folder of its pictures."""

_HOMES = {
    "ImageSet": "sinewy.data.images",
    "Splits": "sinewy.data.images",
    "as_image_set": "sinewy.data.images",
    "load": "sinewy.data.splits",
    "present": "sinewy.data.standing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sinewy.data' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
