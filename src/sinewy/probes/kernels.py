"""The kernels probe: where the weights of each layer are. It reads weights, and no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sinewy.analysis import kernel_counts
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.analysis.kernel_counts import key
from sinewy.analysis.maps import Map, shrunk
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.layers import prunable
from sinewy.metrics.spatial import SIDES, concentration, kernel_maps
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe

DRAWN = 3
"""Layers whose maps are kept unless others are named."""


class KernelsProbe(Probe):
    """How unevenly the channels of each layer share its weights, against chance, and maps of the kernels.

    Wu et al. 2025, section 5.1. The concentration is that of all prunable layers, next to `draws` random masks of the
    same count; maps are kept of `layers`, by default of three convolutions from the middle of the network to its end.
    """

    name = "kernels"
    shifts = False

    def __init__(self, layers: Sequence[str] | None = None, *, masks: int = 1000, seed: int = 0) -> None:
        if masks < 2:
            raise InputError(f"masks={masks} must be at least 2: chance is a range over random masks.")
        named = (layers,) if isinstance(layers, str) else layers
        self.layers, self.masks, self.seed = None if named is None else tuple(named), masks, seed

    @property
    def kinds(self) -> tuple[str, ...]:
        """The one kind of measurement."""
        return (kernel_counts.KIND,)

    def protocol(self) -> dict[str, Any]:
        """Return the layers that are drawn, and how many random masks stand for chance."""
        return {
            "layers": list(self.layers or ["three from the middle to the end"]),
            "masks": self.masks,
            "seed": self.seed,
        }

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the concentration of every layer, and the maps of some; raises InputError for an unknown layer."""
        del data
        return Measurement(kind, {}, {}, {name: self._scores(evaluator, name) for name in evaluator.names})

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the concentration of the channels."""
        return kernel_counts.findings(evidence)

    def maps(self, evidence: Evidence) -> list[Map]:
        """Return the maps of kernels."""
        return kernel_counts.maps(evidence)

    def _scores(self, evaluator: Evaluator, name: str) -> dict[str, NDArray[Any]]:
        weights = {layer: weight.detach().cpu() for layer, weight in prunable(evaluator.plain(name)).items()}
        found: dict[str, NDArray[Any]] = {}
        drawn = self._drawn(name, weights)
        for number, (layer, weight) in enumerate(weights.items()):
            found |= {key(side, number, layer): self._concentration(weight, side) for side in SIDES}
            if layer in drawn:
                maps = kernel_maps(weight)
                found |= {key(of, number, layer): shrunk(values) for of, values in maps._asdict().items()}
                found[key("shape", number, layer)] = np.array(maps.nonzero.shape)
        return found

    def _concentration(self, weight: Tensor, side: str) -> NDArray[np.float64]:
        own = concentration(weight, side, draws=self.masks, seed=self.seed)
        magnitude = concentration(weight, side, of="magnitude")
        return np.array(
            [own.gini, own.empty, own.chance, own.low, own.high, magnitude.gini, weight.count_nonzero().item()]
        )

    def _drawn(self, name: str, weights: Mapping[str, Tensor]) -> list[str]:
        if self.layers is None:
            names = [layer for layer, weight in weights.items() if weight.ndim > 2] or list(weights)
            chosen = {round(len(names) / 2 + i * (len(names) / 2 - 1) / (DRAWN - 1)) for i in range(DRAWN)}
            return [names[index] for index in sorted(chosen) if 0 <= index < len(names)]
        for layer in self.layers:
            if layer not in weights:
                raise unknown_name(f"layer of {name}", layer, weights)
        return list(self.layers)
