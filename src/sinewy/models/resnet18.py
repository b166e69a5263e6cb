"""The wide residual networks of ImageNet with a stem for small images: 3 x 3, stride 1, no pooling."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.errors import InputError


def resnet18(*, classes: int, width: int = 64) -> nn.Module:
    """Return ResNet-18, 11 173 962 parameters with 10 classes; `width` is the first stage's (paper 000 varies it)."""
    return WideStemResNet((2, 2, 2, 2), classes, width)


def resnet34(*, classes: int, width: int = 64) -> nn.Module:
    """Return ResNet-34; 21 311 168 prunable weights with 100 classes and width 64."""
    return WideStemResNet((3, 4, 6, 3), classes, width)


class WideStemResNet(nn.Module):
    """Four stages of basic blocks with 1, 2, 4 and 8 x `width` channels (He et al. 2016, table 1)."""

    def __init__(self, blocks: tuple[int, int, int, int], classes: int, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"width={width} must be at least 1.")
        self.conv1 = _conv(3, width, 3, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(blocks[0], width, width, 1)
        self.layer2 = _stage(blocks[1], width, 2 * width, 2)
        self.layer3 = _stage(blocks[2], 2 * width, 4 * width, 2)
        self.layer4 = _stage(blocks[3], 4 * width, 8 * width, 2)
        self.fc = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions; where the shape changes, the shortcut is a 1 x 1 convolution (option B)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(before, after, 3, stride)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = _conv(after, after, 3, 1)
        self.bn2 = nn.BatchNorm2d(after)
        same = stride == 1 and before == after
        self.shortcut = nn.Identity() if same else nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def _stage(blocks: int, before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(before, after, stride), *(BasicBlock(after, after, 1) for _ in range(blocks - 1)))


def _conv(before: int, after: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
