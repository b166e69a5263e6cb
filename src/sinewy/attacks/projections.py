"""The images an attack may show: those in [0, 1] within eps of the clean ones. How to stay, climb and start there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from sinewy.attacks import draws
from sinewy.seeds import derive


@dataclass(frozen=True)
class Ball(ABC):
    """The allowed images around each of `clean` (N, ...), which lie in [0, 1]; `eps` is above 0, in the same units."""

    clean: Tensor
    eps: float

    def take(self, places: Tensor) -> Self:
        """Return the balls around some of the images only."""
        return replace(self, clean=self.clean[places])

    @abstractmethod
    def project(self, images: Tensor) -> Tensor:
        """Return the images moved to within eps of the clean ones, and then into [0, 1], which keeps them there."""

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Return the unit step (of norm 1, or 0 where the gradient is 0) that a linear function rises most along."""

    @abstractmethod
    def inside(self, seed: int, numbers: Tensor) -> Tensor:
        """Return images drawn uniformly within eps of the clean ones, then moved into [0, 1]; see `draws` for both."""

    @abstractmethod
    def edge(self, seed: int, numbers: Tensor) -> Tensor:
        """Return images in random directions at distance eps from the clean ones, then moved into [0, 1]."""

    def _at(self, offsets: Tensor) -> Tensor:
        return (self.clean + offsets.to(self.clean.dtype)).clamp_(0, 1)


class LinfBall(Ball):
    """No value changes by more than eps."""

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        return (self.clean - self.eps).clamp_(min=0), (self.clean + self.eps).clamp_(max=1)

    def project(self, images: Tensor) -> Tensor:
        """Return the nearest allowed images."""
        low, high = self._bounds
        return torch.clamp(images, low, high)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the sign of the gradient."""
        return gradient.sign()

    def inside(self, seed: int, numbers: Tensor) -> Tensor:
        """Return images whose every value is moved by a number uniform on [-eps, eps)."""
        return self._at(self.eps * (2 * draws.uniform(seed, numbers, self.clean.shape[1:]) - 1))

    def edge(self, seed: int, numbers: Tensor) -> Tensor:
        """Return images moved by a uniform draw from the cube, stretched until it reaches a face."""
        offsets = 2 * draws.uniform(seed, numbers, self.clean.shape[1:]) - 1
        return self._at(self.eps * offsets / _per_image(offsets.flatten(1).abs().amax(1), offsets.shape))


class L2Ball(Ball):
    """The root of the sum of all squared changes of an image is at most eps."""

    def project(self, images: Tensor) -> Tensor:
        """Return the images pulled straight towards the clean ones, then moved into [0, 1]."""
        offsets = images - self.clean
        shrink = (self.eps / offsets.flatten(1).norm(dim=1)).clamp_(max=1)
        return offsets.mul_(_per_image(shrink, offsets.shape)).add_(self.clean).clamp_(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the gradient over its length."""
        # Over the largest entry first: the squares of a small gradient would round to zero.
        peak = gradient.flatten(1).abs().amax(1).clamp_(min=torch.finfo(gradient.dtype).tiny)
        scaled = gradient / _per_image(peak, gradient.shape)
        return scaled.div_(_per_image(scaled.flatten(1).norm(dim=1).clamp_(min=1), scaled.shape))

    def inside(self, seed: int, numbers: Tensor) -> Tensor:
        """Return images moved in a uniform direction by eps * u^(1/d), u uniform, d the number of values."""
        shape = self.clean.shape[1:]
        radius = draws.uniform(derive("radius", seed), numbers, (1,)).pow(1 / shape.numel())
        return self._at(self.eps * _per_image(radius, self.clean.shape) * _directions(seed, numbers, shape))

    def edge(self, seed: int, numbers: Tensor) -> Tensor:
        """Return images moved in a uniform direction by eps."""
        return self._at(self.eps * _directions(seed, numbers, self.clean.shape[1:]))


BALLS: dict[str, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}


def _directions(seed: int, numbers: Tensor, shape: Sequence[int]) -> Tensor:
    gaussian = draws.normal(seed, numbers, shape)
    return gaussian / _per_image(gaussian.flatten(1).norm(dim=1), gaussian.shape)


def _per_image(values: Tensor, shape: Sequence[int]) -> Tensor:
    return values.view(-1, *[1] * (len(shape) - 1))
