"""What is attacked: a batch of images, what counts as success on each, and where its random numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.seeds import derive

Result = tuple[Tensor, Tensor]
"""Adversarial images (N, C, H, W) and which of them fool the model, bool (N,)."""


@dataclass(frozen=True)
class Examples:
    """Images (N, C, H, W) in [0, 1], their labels (N,), the wanted classes (N,) or None, and their numbers in the set.

    An image with a number draws the same random numbers in every batch.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    numbers: Tensor
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def take(self, places: Tensor) -> Examples:
        """Return some of the examples; `places` is int64."""
        targets = None if self.targets is None else self.targets[places]
        return Examples(self.images[places], self.labels[places], targets, self.numbers[places], self.seed)

    def first(self, count: int) -> Examples:
        """Return the first of the examples."""
        return self.take(torch.arange(min(count, len(self)), device=self.images.device))

    def fooled(self, logits: Tensor) -> Tensor:
        """Return bool (N,): the predicted class is not the label, or, where there are targets, is the target.

        Raises InputError for NaN, which is no answer.
        """
        refuse_nan(logits)
        prediction = logits.argmax(1)
        return prediction != self.labels if self.targets is None else prediction == self.targets

    def stream(self, *purpose: int | str) -> int:
        """Return the seed of the random numbers for one purpose."""
        return derive("attack", self.seed, *purpose)


def refuse_nan(logits: Tensor) -> None:
    """Raise InputError if any of the logits (N, classes) is NaN."""
    if logits.isnan().any():
        raise InputError(f"the model returns NaN for {int(logits.isnan().any(1).sum())} of {len(logits)} images.")


class Fallen:
    """Keeps the adversarial images of a batch in its order while the attack goes on with the part still standing."""

    def __init__(self, examples: Examples) -> None:
        self.adversarial = examples.images.clone()
        self.fooled = torch.zeros(len(examples), dtype=torch.bool, device=examples.images.device)
        self._places = torch.arange(len(examples), device=examples.images.device)

    def record(self, images: Tensor, fooled: Tensor) -> None:
        """Keep the images that fool the model; both are in the order of the part still standing."""
        places = self._places[fooled]
        self.adversarial[places] = images[fooled]
        self.fooled[places] = True

    def leave(self, fooled: Tensor) -> Tensor:
        """Take those fooled out of the part still standing, and return the places in it of the others."""
        rest = (~fooled).nonzero().squeeze(1)
        self._places = self._places[rest]
        return rest

    def close(self, images: Tensor) -> Result:
        """Return the result, with these images for those still standing that never fooled the model."""
        unfooled = ~self.fooled[self._places]
        self.adversarial[self._places[unfooled]] = images[unfooled]
        return self.adversarial, self.fooled


def in_turn(attempts: Iterable[Callable[[Examples], Result]], examples: Examples) -> Result:
    """Return the result of several attempts, each at what the ones before left standing; if none wins, the first's."""
    first, *others = attempts
    adversarial, fooled = first(examples)
    for attempt in others:
        standing = (~fooled).nonzero().squeeze(1)
        if len(standing) == 0:
            break
        images, won = attempt(examples.take(standing))
        adversarial[standing[won]] = images[won]
        fooled[standing[won]] = True
    return adversarial, fooled
