"""The wide residual networks of ImageNet with a stem for small images: 3 x 3, stride 1, no pooling."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.errors import InputError


def resnet18(*, classes: int, width: int = 64) -> nn.Module:
    """Return ResNet-18, 11 173 962 parameters with 10 classes; `width` is the first stage's (paper 000 varies it)."""
    return WideStemResNet((2, 2, 2, 2), classes, width)


def resnet34(*, classes: int, width: int = 64) -> nn.Module:
    """Return ResNet-34; 21 311 168 prunable weights with 100 classes and width 64."""
    return WideStemResNet((3, 4, 6, 3), classes, width)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(before, after, 3, stride)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = conv(after, after, 3, 1)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class WideStemResNet(nn.Module):
    """Four stages of 1, 2, 4 and 8 x `width` channels (He et al. 2016, table 1).

    `block` makes one block from the channels that come in, its own and the stride; `expansion` times its own come out.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        classes: int,
        width: int = 64,
        block: Callable[[int, int, int], nn.Module] = BasicBlock,
        expansion: int = 1,
    ) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"width={width} must be at least 1.")
        self.conv1 = conv(3, width, 3, 1)
        self.bn1 = nn.BatchNorm2d(width)
        out = expansion * width
        self.layer1 = _stage(block, blocks[0], width, width, expansion, 1)
        self.layer2 = _stage(block, blocks[1], out, 2 * width, expansion, 2)
        self.layer3 = _stage(block, blocks[2], 2 * out, 4 * width, expansion, 2)
        self.layer4 = _stage(block, blocks[3], 4 * out, 8 * width, expansion, 2)
        self.fc = nn.Linear(8 * out, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def shortcut(before: int, after: int, stride: int) -> nn.Module:
    """Return the identity, or a 1 x 1 convolution where the shape changes (option B)."""
    same = stride == 1 and before == after
    return nn.Identity() if same else nn.Sequential(conv(before, after, 1, stride), nn.BatchNorm2d(after))


def conv(before: int, after: int, kernel: int, stride: int) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size at stride 1, with He et al.'s initial weights."""
    layer = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _stage(
    make: Callable[[int, int, int], nn.Module], blocks: int, before: int, width: int, expansion: int, stride: int
) -> nn.Sequential:
    rest = (make(expansion * width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(make(before, width, stride), *rest)
