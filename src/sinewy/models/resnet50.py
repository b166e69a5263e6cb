"""ResNet-50 with a stem for small images: the deepest network of paper 000's residual family."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.models.resnet18 import WideStemResNet, conv, shortcut

EXPANSION = 4


def resnet50(*, classes: int, width: int = 64) -> nn.Module:
    """Return ResNet-50, 23 467 712 prunable weights with 10 classes and width 64 (the first stage's)."""
    return WideStemResNet((3, 4, 6, 3), classes, width, Bottleneck, EXPANSION)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut; the 3 x 3 one has the stride, as in torchvision."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = EXPANSION * width
        self.conv1 = conv(before, width, 1, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, after, 1, 1)
        self.bn3 = nn.BatchNorm2d(after)
        self.shortcut = shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))
