"""Static sparsity at fixed capacity: a wider or deeper network with as many weights as its base."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from sinewy.allocation import ALLOCATIONS
from sinewy.capacity import prunable_count
from sinewy.connectivity import warn_disconnected
from sinewy.errors import InputError
from sinewy.families import check_name
from sinewy.layers import Pattern, prunable, unwrap
from sinewy.models import MODELS, build
from sinewy.models.construct import takes_image_size
from sinewy.seeds import derive
from sinewy.sparsify.static import Static

FORMS = {name: ALLOCATIONS[name] for name in ("water-filling", "proportional")}

Init = Literal["connectivity", "ntk"] | None


class FixedCapacity(Static):
    """Random static masks that leave a wider or deeper network the weights of a smaller one (Timpl et al. 2022).

    After Golubeva et al. 2021 (wide-sparse-nets). `attach` derives the sparsity, 1 - capacity / prunable
    weights of the model; a model with just the capacity stays dense. Give `capacity`, a number of weights, or `base`, a
    network by name or by the options of `sinewy.models.build`, whose prunable weights (by the same `include` and
    `exclude`) are counted. Its `classes` and `image_size` are the model's where they are not given: the length of the
    last prunable weight, and the side of the RGB images that a fully connected first layer takes.

    `form` shares the capacity among the layers: "water-filling" (the code of 2021), "proportional" (the words of
    2022), or "package.module:function" as in `sinewy.allocate`. `init` re-draws weights and biases as that code does,
    since a neuron with fewer inputs needs larger ones: "connectivity" those of sparse layers, from U(-b, b) with b =
    1 / sqrt(fan_in * density), which in a dense layer is torch's own initialisation; "ntk" those of all layers, from
    N(0, b^2), for fully connected networks (the initial law of the NTK form, not its factors in the forward pass); None
    leaves them as they are, as do masks given to `attach`. Warns of neurons that the masks cut off.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        capacity: int | None = None,
        base: str | Mapping[str, Any] | None = None,
        form: str = "water-filling",
        init: Init = "connectivity",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        if sparsity:
            raise InputError(
                f"the sparsity of FixedCapacity follows from capacity or base; leave it out ({sparsity!r})."
            )
        if (capacity is None) == (base is None):
            raise InputError("FixedCapacity takes capacity=(a number of weights) or base=(a network), one of the two.")
        if capacity is not None and (not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1):
            raise InputError(f"capacity is a number of weights, at least 1; got {capacity!r}.")
        check_name("form", form, FORMS)
        if init not in ("connectivity", "ntk", None):
            raise InputError(f"init must be 'connectivity', 'ntk' or None; got {init!r}.")
        self._base = _network_options(base)
        super().__init__(allocation=form, include=include, exclude=exclude, dense=dense, seed=seed)
        self.capacity, self.form, self.init = capacity, form, init
        self.base = None if base is None else json.dumps(self._base, sort_keys=True, default=str)

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *args: Any,
        masks: Mapping[str, Tensor] | None = None,
        **options: Any,
    ) -> Self:
        """Do what `Sparsifier.attach` does, at the sparsity that follows from the capacity; re-draw what `init` says.

        Raises InputError as that does, and for a model with fewer weights than the capacity.
        """
        before, self.target = self.target, self._sparsity_of(model)
        try:
            super().attach(model, optimizer, *args, masks=masks, **options)
        except Exception:
            self.target = before
            raise
        if masks is None and self.init is not None:
            self._redraw(model)
        warn_disconnected(self.masks, model, stacklevel=2)
        return self

    def _sparsity_of(self, model: nn.Module) -> float:
        parameters = prunable(model, include=self.include, exclude=self.exclude)
        if self.init == "ntk" and any(parameter.ndim != 2 for parameter in parameters.values()):
            raise InputError("init='ntk' is for fully connected networks; take init='connectivity' or None.")
        capacity = self._count_base(model) if self.capacity is None else self.capacity
        total = sum(parameter.numel() for parameter in parameters.values())
        if total < capacity:
            raise InputError(
                f"the model has {total:,} prunable weights, fewer than the capacity of {capacity:,}; make it wider or"
                " deeper, or the base smaller."
            )
        return 1 - capacity / total

    def _count_base(self, model: nn.Module) -> int:
        network = build(**{**_data_options(model, self._base), **self._base})
        try:
            return prunable_count(network, include=self.include, exclude=self.exclude)
        except InputError as error:
            raise InputError(f"base {self._base['name']}: {error} Or give its weights: capacity=...") from None

    @torch.no_grad()
    def _redraw(self, model: nn.Module) -> None:
        named = dict(unwrap(model).named_parameters())
        for name, mask in self.masks.items():
            density = int(mask.sum()) / mask.numel()
            if self.init == "connectivity" and density == 1:
                continue
            scale = (named[name][0].numel() * density) ** -0.5
            self._draw(name, named[name], scale)
            named[name].masked_fill_(~mask, 0)
            bias = f"{name.removesuffix('weight')}bias"
            if bias in named:
                self._draw(bias, named[bias], scale)

    def _draw(self, name: str, parameter: Tensor, scale: float) -> None:
        # On the CPU, so that every device and rank draws the same numbers.
        generator = torch.Generator().manual_seed(derive("weights", self.seed, name))
        if self.init == "ntk":
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        else:
            parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * scale)


def _network_options(base: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of `build`; raises InputError where `base` does not name a network."""
    if base is None:
        return {}
    options = {"name": base} if isinstance(base, str) else dict(base) if isinstance(base, Mapping) else {}
    if not isinstance(options.get("name"), str):
        raise InputError(f"base names a network, as in {{'name': 'mlp', 'width': 100}}; got {base!r}.")
    check_name("model", options["name"], MODELS)
    return options


def _data_options(model: nn.Module, base: Mapping[str, Any]) -> dict[str, int]:
    """Return the `classes` and `image_size` that the model is made for, as far as its base needs and does not say."""
    weights = list(prunable(model).values())
    found = {"classes": len(weights[-1])}
    if "image_size" in base or not takes_image_size(base["name"]):
        return found
    features = weights[0].shape[1] if weights[0].ndim == 2 else 0
    channels = int(base.get("channels", 3))
    side = math.isqrt(features // channels)
    if not side or channels * side**2 != features:
        raise InputError(
            f"the model does not show the image_size of base {base['name']}; give it there: image_size=..."
        )
    return found | {"image_size": side}
