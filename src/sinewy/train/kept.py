"""The networks that training leaves on its way: at the end of each round but the last, and of chosen epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from sinewy.errors import InputError
from sinewy.masks import Masks
from sinewy.modelfile import save_model

LEVELS = "levels"
EPOCHS = "epochs"


class KeptNetworks:
    """Saves networks of a run in its folder, with `about` as their description; without a folder it saves none.

    `epochs` count from 1: 30 is the network that 30 epochs have trained. Raises InputError if they have no folder.
    """

    def __init__(self, folder: Path | None, about: Mapping[str, Any], epochs: Iterable[int]) -> None:
        self.folder, self.about, self.epochs = folder, about, frozenset(epochs)
        if self.epochs and folder is None:
            raise InputError("keep_epochs needs a folder to keep the networks in: fit(..., folder=...).")

    def check(self, last: int) -> None:
        """Raise InputError if an epoch to keep is not one of a training of `last` epochs."""
        outside = sorted(epoch for epoch in self.epochs if not 1 <= epoch <= last)
        if outside:
            raise InputError(f"keep_epochs: {outside[0]} is not an epoch of this training, which has 1 to {last}.")

    def save_round(self, number: int, model: nn.Module, masks: Masks, accuracy: float | None) -> None:
        """Save the network of a round; its sparsity is part of its name."""
        self._save(f"{LEVELS}/{number:02d}-{masks.sparsity:.4f}", model, masks, round=number, accuracy=accuracy)

    def save_epoch(self, ended: int, model: nn.Module, masks: Masks, accuracy: float | None) -> None:
        """Save the network after `ended` epochs, if it is one to keep."""
        if ended in self.epochs:
            self._save(f"{EPOCHS}/{ended:04d}", model, masks, epochs=ended, accuracy=accuracy)

    def _save(self, name: str, model: nn.Module, masks: Masks, *, accuracy: float | None, **when: int) -> None:
        if self.folder is not None:
            about = {**self.about, **when, "validation_accuracy": accuracy}
            save_model(self.folder / f"{name}.safetensors", model, masks, about)
