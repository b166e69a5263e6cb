"""Objectives with a goal beyond accuracy: attacks, noise, outliers (Ayle et al. 2022, section 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.attacks import run
from sinewy.data import ImageSet, load
from sinewy.data.batches import normalise
from sinewy.errors import InputError
from sinewy.objectives.plain import Objective
from sinewy.seeds import derive


class Adversarial(Objective):
    """Cross-entropy plus `weight` x KL(f(X) || f(X')), X' the batch under attack.

    `attack` is a name of `sinewy.attacks` with its `steps` where it takes any, `eps` its radius in units of [0,1]
    pixels and `norm` how that is measured. The weight 6 is the paper's; it names neither attack nor eps for training,
    and these are those of TRADES (Zhang et al. 2019), whose attack climbs the divergence where this one climbs
    cross-entropy.
    """

    def __init__(
        self,
        data: ImageSet,
        *,
        weight: float = 6.0,
        attack: str = "pgd",
        eps: float = 8 / 255,
        norm: str = "linf",
        steps: int | None = 10,
        **options: Any,
    ) -> None:
        super().__init__(data, **options)
        _require("weight", weight, weight >= 0, "at least 0")
        _require("eps", eps, eps > 0, "above 0")
        self.weight, self.attack, self.eps, self.norm = weight, attack, eps, norm
        self.options: dict[str, Any] = {} if steps is None else {"steps": steps}

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss, and the logits of the clean batch."""
        attacked = self._attacked(model, images, labels, step)
        logits, other = model(images), model(attacked)
        divergence = F.kl_div(
            other.float().log_softmax(1), logits.float().log_softmax(1), log_target=True, reduction="batchmean"
        )
        return self.cross_entropy(logits, labels) + self.weight * divergence, logits

    def _attacked(self, model: nn.Module, images: Tensor, labels: Tensor, step: int) -> Tensor:
        mean, std = (_channels(values, images) for values in (self.data.mean, self.data.std))
        [(attacked, _)] = run(
            self.attack,
            model,
            (images.detach().float() * std + mean).clamp_(0, 1),
            labels,
            eps=self.eps,
            norm=self.norm,
            mean=self.data.mean,
            std=self.data.std,
            seed=derive("attack", self.seed, step),
            batch=len(images),
            stop_when_fooled=False,
            **self.options,
        )
        return (attacked - mean) / std


class Noise(Objective):
    """Cross-entropy on the batch with Gaussian noise of deviation `deviation`, in units of [0,1] pixels, not clipped.

    The paper does not print its deviation; 0.1 is that of Diffenderfer et al. 2021, whom it follows.
    """

    def __init__(self, data: ImageSet, *, deviation: float = 0.1, **options: Any) -> None:
        super().__init__(data, **options)
        _require("deviation", deviation, deviation > 0, "above 0")
        self.deviation = deviation

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits of the noisy batch."""
        generator = torch.Generator().manual_seed(derive("noise", self.seed, step))
        noise = torch.randn(images.shape, generator=generator).to(images)
        logits = model(images + noise * (self.deviation / _channels(self.data.std, images)))
        return self.cross_entropy(logits, labels), logits


class Outliers(Objective):
    """Cross-entropy plus `weight` x the cross-entropy of the uniform distribution on a batch of outliers.

    `outliers` is the name of a data set (its training part), or images uint8 (N,3,H,W) of the same size; keep the set
    apart from those on which detection is measured, or the result says nothing about unknown outliers.
    """

    def __init__(
        self, data: ImageSet, *, outliers: str | Tensor, weight: float = 1.0, root: str | None = None, **options: Any
    ) -> None:
        super().__init__(data, **options)
        _require("weight", weight, weight >= 0, "at least 0")
        self.weight = weight
        self._outliers = load(outliers, root=root).train.images if isinstance(outliers, str) else outliers.numpy()
        if self._outliers.dtype != np.uint8 or self._outliers.shape[1:] != data.images.shape[1:]:
            raise InputError(
                f"outliers are {self._outliers.dtype} of shape {self._outliers.shape[1:]}, the training images uint8 of"
                f" {data.images.shape[1:]}; bring them to the same size."
            )

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss, and the logits of the batch itself."""
        words = np.random.Philox(key=derive("outliers", self.seed, step)).random_raw(len(images))
        chosen = torch.from_numpy(self._outliers[(words % len(self._outliers)).astype(np.intp)])
        others = normalise(chosen.to(images.device), self.data.mean, self.data.std).to(images.dtype)
        logits = model(images)
        uniform = -model(others).log_softmax(1).mean()
        return self.cross_entropy(logits, labels) + self.weight * uniform, logits


def _channels(values: tuple[float, ...], images: Tensor) -> Tensor:
    return torch.tensor(values, device=images.device).view(1, -1, 1, 1)


def _require(name: str, value: float, good: bool, what: str) -> None:
    if not good:
        raise InputError(f"{name} must be {what}; got {value!r}.")
