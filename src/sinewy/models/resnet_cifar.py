"""The thin residual networks for CIFAR-10 of He et al. 2016, section 4.2, with parameter-free shortcuts (option A)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.errors import InputError


def resnet20(*, classes: int, width: int = 16) -> nn.Module:
    """Return ResNet-20: 268 336 prunable weights, 40 551 040 multiply-accumulates (10 classes, 32 x 32)."""
    return ResNet(3, classes, width)


def resnet32(*, classes: int, width: int = 16) -> nn.Module:
    """Return ResNet-32."""
    return ResNet(5, classes, width)


def resnet56(*, classes: int, width: int = 16) -> nn.Module:
    """Return ResNet-56."""
    return ResNet(9, classes, width)


def resnet110(*, classes: int, width: int = 16) -> nn.Module:
    """Return ResNet-110."""
    return ResNet(18, classes, width)


class ResNet(nn.Module):
    """Three stages of `blocks` basic blocks with width, 2 x width and 4 x width channels; logits (N,classes)."""

    def __init__(self, blocks: int, classes: int, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"width={width} must be at least 1.")
        self.conv1 = _conv3x3(3, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(blocks, width, width, 1)
        self.layer2 = _stage(blocks, width, 2 * width, 2)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, 2)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions; where the shape changes, the shortcut takes every second pixel and adds zero channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(before, after, stride)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = _conv3x3(after, after, 1)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.added = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.added == 0:
            return x
        # Every second pixel by a window of one: the gradient of a slice would lose the memory format, which costs time.
        x = F.avg_pool2d(x, 1, self.stride)
        return F.pad(x, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


def _stage(blocks: int, before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(before, after, stride), *(BasicBlock(after, after, 1) for _ in range(blocks - 1)))


def _conv3x3(before: int, after: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
