"""One level of a limit: prune the network, retrain it where asked, save it. A level that is saved is not made again."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.criteria.losses import float_tensors
from sinewy.data import ImageSet, Splits
from sinewy.data.batches import normalise
from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.limits.inputs import Retraining
from sinewy.masks import Masks
from sinewy.modelfile import load_model, save_model
from sinewy.probes.evaluate import input_type
from sinewy.pruning import data_needed, prune
from sinewy.seeds import derive
from sinewy.sparsify.base import Sparsifier
from sinewy.train import fit

MODEL_FILE = "model.safetensors"

Event = dict[str, Any]


class Held(Sparsifier):
    """Masks that were chosen already, and are kept."""

    def __init__(self, masks: Masks) -> None:
        super().__init__(masks.sparsity)
        self.chosen = masks

    def pick(self, model: nn.Module) -> dict[str, nn.Parameter]:
        parameters = dict(unwrap(model).named_parameters())
        return {name: parameters[name] for name in self.chosen}

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        del model, parameters
        return self.chosen


@dataclass(frozen=True)
class Maker:
    """Makes levels: what all of them share. `about` is written into their files."""

    parent: nn.Module
    method: str
    options: Mapping[str, Any]
    retrain: Retraining
    train: Any
    test: ImageSet
    seed: int
    device: torch.device
    about: Mapping[str, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    """The warnings of pruning that were given already; most hold for every level after the first as well."""

    @property
    def example(self) -> Tensor:
        """One test image as the network takes it."""
        image = normalise(torch.from_numpy(self.test.images[:1]), self.test.mean, self.test.std)
        return image.contiguous().to(self.device, input_type(self.parent))

    def level(self, folder: Path, sparsity: float, before: Path | None, on_event: Callable[[Event], None]) -> Masks:
        """Prune to `sparsity` what is saved in `before` (else the parent), retrain it, and save it in `folder`.

        Returns the masks of the level. Raises InputError if it cannot be pruned so far, or retraining broke it.
        """
        model = copy.deepcopy(self.parent)
        if (folder / MODEL_FILE).is_file():
            return load_model(folder / MODEL_FILE, model)
        if before is not None and self.retrain:
            load_model(before / MODEL_FILE, model)
        model.to(self.device)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            masks = self._pruned(model, sparsity)
        self._warn_once(found, sparsity)
        if self.retrain:
            self._retrain(model, masks, folder, sparsity, on_event)
        cell = self.about.get("cell")
        sparsifier = {"name": self.method, "sparsity": round(masks.sparsity, 4)}
        about = {**self.about} | ({"cell": {**cell, "sparsifier": sparsifier}} if cell is not None else {})
        save_model(folder / MODEL_FILE, model, masks, about)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        return masks

    def rehearse(self, folder: Path, sparsity: float) -> None:
        """Prune a copy, so that a method or option that does not fit is found before any work is done."""
        if self.train is None and data_needed(self.method) in ("inputs", "labels"):
            raise InputError(f"method '{self.method}' looks at training data; pass train, which is None.")
        if not (folder / MODEL_FILE).is_file():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                masks = self._pruned(copy.deepcopy(self.parent).to(self.device), sparsity)
            if self.retrain.options is not None:
                self._check_trainable(masks)

    @torch.no_grad()
    def _check_trainable(self, masks: Masks) -> None:
        """Refuse what our loop cannot retrain: nothing but frozen tensors, other types, outputs but logits."""
        parameters = dict(self.parent.named_parameters())
        frozen = [name for name in masks if not parameters[name].requires_grad]
        advice = f"pass exclude={frozen} to leave what is frozen dense"
        if len(frozen) == len(masks):
            raise InputError(f"everything that was pruned is frozen (requires_grad=False); unfreeze it, or {advice}.")
        if frozen:
            warnings.warn(
                f"'{frozen[0]}' is frozen (requires_grad=False): it is pruned, and retraining leaves it so; {advice}.",
                stacklevel=4,
            )
        kind = input_type(self.parent)
        if kind is not torch.float32:
            raise InputError(f"the model is {kind}, and retraining by epochs trains float32; pass model.float().")
        outputs = copy.deepcopy(self.parent).to(self.device)(self.example)
        if not isinstance(outputs, Tensor):
            raise InputError(
                f"the model returns {type(outputs).__name__}, and retraining by epochs needs logits (N, classes); wrap"
                " it in a module that returns them, or retrain by a function of your own."
            )

    def load(self, folder: Path) -> nn.Module:
        """Return the network saved in `folder`."""
        model = copy.deepcopy(self.parent)
        load_model(folder / MODEL_FILE, model)
        return model

    def _pruned(self, model: nn.Module, sparsity: float) -> Masks:
        return prune(
            model.eval(),
            self.method,
            sparsity=sparsity,
            data=self.train,
            example_input=torch.zeros_like(self.example),  # its shape: test images must not choose weights
            seed=derive("limit", self.seed) % 2**31,
            **self.options,
        )

    def _warn_once(self, found: list[warnings.WarningMessage], sparsity: float) -> None:
        for warning in found:
            kind = re.split(r"[.:;] ", str(warning.message))[-1]  # names and figures come first, and differ by level
            if kind not in self.said:
                self.said.add(kind)
                warnings.warn(f"first at sparsity {sparsity:.4g}: {warning.message}", warning.category, stacklevel=5)

    def _retrain(
        self, model: nn.Module, masks: Masks, folder: Path, sparsity: float, on_event: Callable[[Event], None]
    ) -> None:
        if self.retrain.function is not None:
            _by_function(self.retrain.function, model.train(), masks, sparsity)
        elif self.retrain.options is not None:
            trained = fit(
                model,
                Splits(self.train, None, self.test),
                Held(masks),
                seed=derive("limit", self.seed, f"{sparsity:.6g}") % 2**31,
                device=self.device,
                folder=folder,
                on_event=lambda event: on_event({**event, "sparsity": sparsity}),
                **self.retrain.options.model_dump(),
            )
            if trained.model is not model:  # the moving average, which is the result where one was asked for
                model.load_state_dict(unwrap(trained.model).state_dict())
        _check_finite(model, sparsity)
        masks.apply_(model)
        masks.check(model)
        self._check_answer(model.eval(), sparsity)

    @torch.no_grad()
    def _check_answer(self, model: nn.Module, sparsity: float) -> None:
        """Refuse weights so large that they overflow, before they are saved."""
        outputs = model(self.example.to(next(model.parameters())))
        if not all(part.isfinite().all() for part in float_tensors(outputs)):
            rate = f" (lr={self.retrain.options.lr:g})" if self.retrain.options is not None else ""
            raise InputError(
                f"after retraining at sparsity {sparsity:.4g}, the network answers NaN or infinity; lower the learning"
                f" rate{rate}."
            )


def _by_function(function: Callable[[nn.Module, Masks], Any], model: nn.Module, masks: Masks, sparsity: float) -> None:
    names = {name: value.shape for name, value in model.state_dict().items()}
    returned = function(model, masks)
    if returned is not None:
        raise InputError(
            f"retrain must train the model in place and return None, it returned {type(returned).__name__}."
        )
    if {name: value.shape for name, value in model.state_dict().items()} != names:
        raise InputError("retrain changed the model's layers; it must keep parameters and buffers as they are named.")
    _check_finite(model, sparsity)
    parameters = dict(unwrap(model).named_parameters())
    revived = sum(int((parameters[n].detach()[~mask.to(parameters[n].device)] != 0).sum()) for n, mask in masks.items())
    if revived:
        warnings.warn(
            f"retrain gave {revived:,} pruned weights a value, and they were put back to 0 after it; hold the masks "
            "while training: sinewy.Static().attach(model, optimizer, masks=masks).",
            stacklevel=5,
        )


def _check_finite(model: nn.Module, sparsity: float) -> None:
    broken = next((n for n, v in model.state_dict().items() if v.is_floating_point() and not v.isfinite().all()), None)
    if broken is not None:
        raise InputError(
            f"after retraining at sparsity {sparsity:.4g}, '{broken}' holds NaN or infinity; lower the learning rate."
        )
