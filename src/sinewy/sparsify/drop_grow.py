"""The published drop-and-grow methods: each is the one engine with the defaults of its paper."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.select import count, largest_mask
from sinewy.sparsify.closed_form import mean_forward
from sinewy.sparsify.dynamic import DynamicSparsifier, require
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.saliency import Saliency
from sinewy.sparsify.timing import Moment


class SET(DynamicSparsifier):
    """Drop the smallest magnitudes of each tensor, grow at random (sparse evolutionary training, Mocanu et al. 2018).

    The per-tensor magnitude variant of the RigL, ITOP and wu2025 codes: `every` 100, `fraction` 0.3, cosine, until 0.75
    of training. Options as in `DynamicSparsifier`; `SETOriginal` is the method of the first paper.
    """


class SETOriginal(DynamicSparsifier):
    """SET as first published: the smallest positive and largest negative weights go, each epoch (Mocanu et al. 2018).

    floor(zeta n) of each sign's n weights, zeta = `fraction` 0.3 throughout; then as many grow at random; the optimizer
    forgets its state, since the code makes a new one each epoch. Weights that are exactly 0 belong to no sign and go.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        every: Moment = "1ep",
        schedule: str | None = "constant",
        stop: float = 1.0,
        allocation: str = "er",
        replace_step: bool = False,
        reset_state: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            sparsity,
            every=every,
            schedule=schedule,
            stop=stop,
            allocation=allocation,
            replace_step=replace_step,
            reset_state=reset_state,
            **options,
        )
        if self.drop != "magnitude":
            raise InputError(f"SETOriginal drops by sign and magnitude; drop={self.drop!r} is an option of SET.")

    def survivors(self, layer: SparseLayer, gradient: Tensor | None, budget: int) -> Tensor:
        """Return the kept weights without the ones closest to zero of either sign."""
        del gradient
        fraction, weight = self.drop_fraction(self.step), layer.weight
        kept = torch.zeros_like(layer.mask)
        for side in (weight > 0, weight < 0):
            side &= layer.mask
            number = count(side)
            kept |= largest_mask(weight.abs(), number - int(number * fraction), among=side)
        return kept if count(kept) <= budget else largest_mask(weight.abs(), budget, among=kept)


class RigL(DynamicSparsifier):
    """Drop the smallest magnitudes of each tensor, grow where the dense gradient is largest (Evci et al. 2020).

    The gradient is that of the update's own batch, before any weight changes. Options as in `DynamicSparsifier`.
    """

    def __init__(self, sparsity: float = 0.0, *, grow: str | Saliency = "gradient", **options: Any) -> None:
        super().__init__(sparsity, grow=grow, **options)

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return (3 f_S every + 2 f_S + f_D) / (every + 1), while masks move (Evci et al. 2020, appendix H)."""
        every = self._timing.every
        return (3 * sparse * every + 2 * sparse + dense) / (every + 1)


class MEST(DynamicSparsifier):
    """A soft memory bound: start `soft_bound` above the target density, decay to it (Yuan et al. 2021, as in wu2025).

    The variant of Wu et al. 2025, section 3.2 and Table 4: magnitude removal, `grow` "random" (MEST_r) or "gradient"
    (MEST_g), the density starts at (1 + `soft_bound`) times the target and comes down along a cubic to the end of
    training (the paper says "polynomial", no degree), `fraction` 0.1 (1 - t/T)^0.01, updates after the step.
    `MESTOriginal` is the method of the first paper.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        soft_bound: float = 0.1,
        fraction: float = 0.1,
        schedule: str | None = "polynomial",
        stop: float = 1.0,
        replace_step: bool = False,
        initial: float | None = None,
        **options: Any,
    ) -> None:
        require("soft_bound", soft_bound, soft_bound >= 0, "at least 0, relative to the target density")
        self.soft_bound = soft_bound
        super().__init__(
            sparsity,
            fraction=fraction,
            schedule=schedule,
            stop=stop,
            replace_step=replace_step,
            initial=max(0.0, sparsity - (1 - sparsity) * soft_bound) if initial is None else initial,
            **options,
        )

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 3 (1 + soft_bound) f_S: the paper counts the bound as if it never decayed (Tables 5-8)."""
        return 3 * min((1 + self.soft_bound) * sparse, dense)


class MESTOriginal(MEST):
    """MEST as first published: drop by |w| + 0.01 |gradient|, grow at random, every 5 epochs (Yuan et al. 2021).

    Elastic mutation (EM): a fifth of the weights moves, falling to none at three quarters of training. EM&S, with the
    soft memory bound, is `soft_bound` 0.5: from 1.5 times the target density down to it. The gradient is live, as the
    paper means it; in the authors' code it is 0 by the time it is read.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        soft_bound: float = 0.0,
        drop: str | Saliency = "magnitude+gradient",
        every: Moment = "5ep",
        fraction: float = 0.2,
        schedule: str | None = "linear",
        stop: float = 0.75,
        **options: Any,
    ) -> None:
        super().__init__(
            sparsity,
            soft_bound=soft_bound,
            drop=drop,
            every=every,
            fraction=fraction,
            schedule=schedule,
            stop=stop,
            **options,
        )


class GraNet(DynamicSparsifier):
    """Start denser and grow less than is dropped, along a cubic to the target (Liu et al. 2021, as in wu2025).

    The variant of Wu et al. 2025, section 3.2 and appendix A.3: from density 0.8 (`initial` 0.2) to the target at half
    of training, each tensor on its own, magnitude removal, `grow` "gradient" (GraNet_g) or "random" (GraNet_r),
    `fraction` 0.1 (1 - t/T)^0.01 to the end, updates after the step. `GraNetOriginal` is the method of the first paper.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        grow: str | Saliency = "gradient",
        fraction: float = 0.1,
        schedule: str | None = "polynomial",
        stop: float = 1.0,
        initial: float | None = 0.2,
        sparsity_stop: float | None = 0.5,
        replace_step: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            sparsity,
            grow=grow,
            fraction=fraction,
            schedule=schedule,
            stop=stop,
            initial=None if initial is None else min(initial, sparsity),
            sparsity_stop=sparsity_stop,
            replace_step=replace_step,
            **options,
        )

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 3 f at the mean density over the updates, FLOPs taken as linear in density."""
        return 3 * mean_forward(self, sparse, dense)


class GraNetOriginal(GraNet):
    """GraNet as first published: gradual global pruning, then a regeneration of each tensor (Liu et al. 2021).

    At each update the weights of smallest magnitude over all tensors go, down to the cubic schedule's number; then
    ceil(n * fraction) of the n left in each tensor are dropped and as many grown by gradient. From density 0.5
    (`initial` 0 is the paper's dense-to-sparse setting), every 1000 steps, the fraction falling from 0.5 to 0.005 along
    a cosine over the whole of training. The target is met exactly; the authors' code stops one update short of it.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        every: Moment = 1000,
        fraction: float = 0.5,
        fraction_end: float = 0.005,
        schedule: str | None = "cosine",
        initial: float | None = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(
            sparsity,
            every=every,
            fraction=fraction,
            fraction_end=fraction_end,
            schedule=schedule,
            initial=initial,
            **options,
        )

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the new masks: prune over all tensors together, then regenerate each."""
        self._left = self.strongest(self.sparsity_at(self.step))
        self._budgets = {name: count(mask) for name, mask in self._left.items()}
        return {name: self.named_update(layer, gradients[name]) for name, layer in self.movable.items()}

    def survivors(self, layer: SparseLayer, gradient: Tensor | None, budget: int) -> Tensor:
        """Return what regeneration leaves of the weights that the global pruning left."""
        drops = min(ceil(budget * self.drop_fraction(self.step)), layer.mask.numel() - budget)
        return largest_mask(self._noisy(layer, self._saliency(layer, gradient)), budget - drops, self._left[layer.name])
