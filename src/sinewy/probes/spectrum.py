"""The spectrum probe: how accurate models stay as low or high frequencies are taken away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinewy.analysis import spectral
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.analysis.maps import Map
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.metrics.radius_curves import ATTENUATIONS, fourier_errors
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe, pixel_blocks
from sinewy.shifts.frequency import SHAPES

MOST = 16
"""Radii that are measured unless others are asked for."""


class SpectrumProbe(Probe):
    """Accuracy over the radius of low and of high attenuation (Wu et al. 2025, Figure 7), and Fourier heat maps.

    `radii` are 1 to half the smaller side, at most 16 of them, unless given; radius 0 is the clean set. What the paper
    leaves open (`shape`, `keep_mean`) is explained in `sinewy.shifts.frequency`. `fourier` is the norm of waves that
    are added, one frequency at a time up to `reach`, to the first `fourier_examples` images (Yin et al. 2019; 4 for
    CIFAR-10); None leaves them out.
    """

    name = "spectrum"
    shifts = False

    def __init__(
        self,
        radii: Sequence[float] | None = None,
        *,
        keep_mean: bool = False,
        shape: str = "disk",
        examples: int | None = None,
        fourier: float | None = None,
        reach: int = 8,
        fourier_examples: int = 200,
        seed: int = 0,
    ) -> None:
        if shape not in SHAPES:
            raise unknown_name("shape", shape, SHAPES)
        if radii is not None and (not len(radii) or not all(np.isfinite(r) and r > 0 for r in radii)):
            raise InputError(f"radii must be above 0, where the clean set is, got {list(radii)}.")
        if (examples is not None and examples < 1) or fourier_examples < 1:
            raise InputError(f"examples must be at least 1, got {examples} and {fourier_examples}.")
        if fourier is not None and not fourier > 0:
            raise InputError(f"fourier={fourier} is the norm of a wave and must be above 0; 4 is usual for CIFAR-10.")
        self.radii = None if radii is None else tuple(float(radius) for radius in radii)
        self.keep_mean, self.shape, self.examples, self.seed = keep_mean, shape, examples, seed
        self.fourier, self.reach, self.fourier_examples = fourier, reach, fourier_examples

    @property
    def kinds(self) -> tuple[str, ...]:
        """The attenuations, and the waves where they are asked for."""
        return (*ATTENUATIONS, *([] if self.fourier is None else [spectral.FOURIER]))

    def protocol(self) -> dict[str, Any]:
        """Return what the images depend on."""
        said: dict[str, Any] = {
            "radii": "1 to half the smaller side, at most 16" if self.radii is None else list(self.radii),
            "shape": self.shape,
            "keep_mean": self.keep_mean,
            "examples": self.examples,
        }
        waves = {"norm": self.fourier, "reach": self.reach, "examples": self.fourier_examples, "seed": self.seed}
        return said if self.fourier is None else said | {"fourier": waves}

    def check(self, names: Sequence[str], data: ImageSet) -> None:
        """Raise InputError for radii or a reach beyond half of the smaller side."""
        del names
        half = min(data.images.shape[2:]) / 2
        if self.radii is not None and max(self.radii) > half:
            raise InputError(f"radius {max(self.radii):g} is beyond {half:g}, half of the smaller side of the images.")
        if self.fourier is not None and not 1 <= self.reach <= half:
            raise InputError(f"reach={self.reach} must be 1 to {half:g}, half of the smaller side of the images.")

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes at each radius as a severity, from 1; of waves the error at every frequency."""
        if kind == spectral.FOURIER:
            return self._fourier(evaluator, data.first(self.fourier_examples))
        own = data if self.examples is None else data.first(self.examples)
        radii = self.radii or default_radii(min(own.images.shape[2:]) // 2)
        found: dict[str, dict[int, Any]] = {name: {} for name in evaluator.names}
        for severity, radius in enumerate(radii, start=1):
            for name, outcomes in evaluator.outcomes(self._blocks(kind, radius, evaluator, own), own.labels).items():
                found[name][severity] = outcomes
        return Measurement(kind, found, {"radii": list(radii)})

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the accuracies by radius."""
        return spectral.findings(evidence)

    def maps(self, evidence: Evidence) -> list[Map]:
        """Return the errors by frequency."""
        return spectral.maps(evidence)

    def _blocks(self, kind: str, radius: float, evaluator: Evaluator, data: ImageSet) -> Iterator[Tensor]:
        for pixels in pixel_blocks(data):
            block = pixels.to(evaluator.device)
            yield ATTENUATIONS[kind](block, radius, shape=self.shape, keep_mean=self.keep_mean)

    def _fourier(self, evaluator: Evaluator, data: ImageSet) -> Measurement:
        assert self.fourier is not None
        mean, std = evaluator.statistics
        images, labels = torch.from_numpy(np.ascontiguousarray(data.images)), torch.from_numpy(data.labels)
        errors = fourier_errors(
            {name: evaluator.frozen(name) for name in evaluator.names},
            images.to(evaluator.device),
            labels,
            norm=self.fourier,
            mean=mean,
            std=std,
            reach=self.reach,
            seed=self.seed,
            batch=evaluator.batch,
        )
        scores = {name: {"error": error} for name, error in errors.items()}
        return Measurement(spectral.FOURIER, {}, {"norm": self.fourier, "examples": len(data)}, scores)


def default_radii(largest: int) -> tuple[float, ...]:
    """Return 1 to `largest`, or 16 whole numbers evenly among them."""
    count = min(max(largest, 1), MOST)
    return tuple(float(round(1 + i * (largest - 1) / max(count - 1, 1))) for i in range(count))
