"""Networks: the papers' own, timm's and torchvision's by name, and yours. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy.models.construct import build as build

MODELS: dict[str, str] = {
    "convnet": "sinewy.models.convnet:convnet",
    "mlp": "sinewy.models.mlp:mlp",
    "lenet-300-100": "sinewy.models.mlp:lenet_300_100",
    "lenet5": "sinewy.models.lenet:lenet5",
    "resnet20": "sinewy.models.resnet_cifar:resnet20",
    "resnet32": "sinewy.models.resnet_cifar:resnet32",
    "resnet56": "sinewy.models.resnet_cifar:resnet56",
    "resnet110": "sinewy.models.resnet_cifar:resnet110",
    "resnet18": "sinewy.models.resnet18:resnet18",
    "resnet34": "sinewy.models.resnet18:resnet34",
    "resnet50": "sinewy.models.resnet50:resnet50",
    "vgg11": "sinewy.models.vgg:vgg11",
    "vgg13": "sinewy.models.vgg:vgg13",
    "vgg16": "sinewy.models.vgg:vgg16",
    "vgg19": "sinewy.models.vgg:vgg19",
}


def __getattr__(name: str) -> Any:
    if name != "build":
        raise AttributeError(f"module 'sinewy.models' has no attribute '{name}'")
    from sinewy.models.construct import build

    return build
