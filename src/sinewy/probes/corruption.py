"""The corruption probe: common corruptions by kind and severity, each batch made once and run through all models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinewy.data import ImageSet
from sinewy.families import check_name
from sinewy.outcomes import Outcomes
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import BLOCK, Measurement, Probe
from sinewy.shifts import CORRUPTIONS
from sinewy.shifts.corruption import corrupt, protocol

_SPECTRUM_IMAGES = 64


class CorruptionProbe(Probe):
    """Common corruptions (Hendrycks and Dietterich 2019), generated from the clean set; see `sinewy.shifts.corrupt`."""

    name = "corruption"

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        *,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        preset: str = "cifar",
        seed: int = 0,
    ) -> None:
        self._kinds = tuple(kinds or CORRUPTIONS)
        for kind in self._kinds:
            check_name("corruption", kind, CORRUPTIONS)
        self.severities, self.preset, self.seed = tuple(severities), preset, seed

    @property
    def kinds(self) -> tuple[str, ...]:
        """The corruptions."""
        return self._kinds

    def protocol(self) -> dict[str, Any]:
        """Return preset, seed, definitions, frost texture, JPEG codec and severities."""
        return {**protocol(self.preset, self.seed), "severities": list(self.severities)}

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes under one kind at all severities, and how high-frequency the perturbation is."""
        found: dict[str, dict[int, Outcomes]] = {}
        shares = []
        for severity in self.severities:
            spectrum = _Spectrum(data)
            blocks = spectrum.watch(self._blocks(kind, severity, data, evaluator.device))
            for name, outcomes in evaluator.outcomes(blocks, data.labels).items():
                found.setdefault(name, {})[severity] = outcomes
            shares.append(spectrum.high_share)
        return Measurement(kind, found, {"high_frequency": float(np.mean(shares))})

    def _blocks(self, kind: str, severity: int, data: ImageSet, device: torch.device) -> Iterator[Tensor]:
        for start in range(0, len(data), BLOCK):
            images = torch.from_numpy(np.ascontiguousarray(data.images[start : start + BLOCK])).to(device)
            yield corrupt(images, kind, severity, preset=self.preset, seed=self.seed, start=start)


class _Spectrum:
    """The share of the perturbation's energy at spatial frequencies above half of the largest axis frequency.

    Measured on the first images that pass by; the mean perturbation of each image is left out, since a constant has no
    frequency.
    """

    def __init__(self, data: ImageSet) -> None:
        self._clean = data.images
        self.high_share = 0.0

    def watch(self, blocks: Iterator[Tensor]) -> Iterator[Tensor]:
        """Pass the blocks on; look at the first."""
        for index, block in enumerate(blocks):
            if index == 0:
                self._look(block[:_SPECTRUM_IMAGES])
            yield block

    def _look(self, images: Tensor) -> None:
        clean = torch.from_numpy(np.ascontiguousarray(self._clean[: len(images)])).to(images.device)
        energy = torch.fft.fft2(images.float() - clean.float()).abs().square().sum(dim=(0, 1))
        energy[0, 0] = 0
        rows = torch.fft.fftfreq(energy.shape[0], device=energy.device)
        columns = torch.fft.fftfreq(energy.shape[1], device=energy.device)
        high = torch.hypot(rows[:, None], columns[None, :]) > 0.25
        total = float(energy.sum())
        self.high_share = float(energy[high].sum()) / total if total else 0.0
