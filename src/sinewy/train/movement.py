"""What the masks did from epoch to epoch: how far they moved, what they have explored, whom they left dead."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sinewy.masks import Masks
from sinewy.records import LayerMovement, Movement
from sinewy.select import count
from sinewy.sparsify.base import Sparsifier


class MovementMeter:
    """Measures a sparsifier once per epoch, against the masks and counters at the last measurement."""

    def __init__(self, sparsifier: Sparsifier) -> None:
        self._sparsifier = sparsifier
        self._remember()

    def _remember(self) -> None:
        layers = self._sparsifier._layers
        self._masks = Masks({name: layer.mask.clone() for name, layer in layers.items()})
        self._grown = {name: layer.grown for name, layer in layers.items()}
        self._dropped = {name: layer.dropped for name, layer in layers.items()}

    def measure(self) -> Movement:
        """Return what happened since the last measurement."""
        layers = self._sparsifier._layers
        kept = {name: count(layer.mask) for name, layer in layers.items()}
        shared = sum(count(layer.mask & layer.first) for layer in layers.values())
        rows = tuple(
            LayerMovement(
                name,
                kept[name],
                layer.grown - self._grown[name],
                layer.dropped - self._dropped[name],
                _dead_neurons(layer.mask),
            )
            for name, layer in layers.items()
        )
        movement = Movement(
            distance=self._masks.distance(self._sparsifier.masks),
            overlap=shared / max(sum(kept.values()), 1),
            explored=sum(count(layer.explored) for layer in layers.values()) / self._masks.total,
            dead=sum(row.dead for row in rows),
            layers=rows,
        )
        self._remember()
        return movement

    def state_dict(self) -> dict[str, Any]:
        """Return the masks and counters at the last measurement."""
        return {"masks": self._masks.pack(), "grown": self._grown, "dropped": self._dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; call it after the sparsifier's state is loaded."""
        devices = {name: mask.device for name, mask in self._masks.items()}
        shapes = {name: mask.shape for name, mask in self._masks.items()}
        masks = Masks.unpack(state["masks"], shapes)
        self._masks = Masks({name: mask.to(devices[name]) for name, mask in masks.items()})
        self._grown, self._dropped = dict(state["grown"]), dict(state["dropped"])


def _dead_neurons(mask: Tensor) -> int:
    return len(mask) - count(mask.flatten(1).any(1))
