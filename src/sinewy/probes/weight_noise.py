"""The weight-noise probe: the models with other weights near their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sinewy.analysis import weight_noise
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.layers import prunable
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.perturbations import NOISES, ROUNDINGS, perturbation
from sinewy.probes.probe import Measurement, Probe, pixel_blocks

SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


class WeightNoiseProbe(Probe):
    """Accuracy and loss under noise on the weights and under rounding (Timpl et al. 2022).

    `noises` are "relative", w (1 + sigma xi), and "additive" in units of each tensor's own size, each at every one of
    `sigmas` with `draws` draws that all models share; "int8" and "int4" round to nearest with one scale per output
    channel, "int8-tensor" and "int4-tensor" with one per tensor. Only prunable weights are perturbed; biases and norms
    are not, and norms are folded afterwards. The paper prints no sigmas; these are a choice.
    """

    name = "weight-noise"
    shifts = False

    def __init__(
        self,
        noises: Sequence[str] = ("relative", "int8", "int4"),
        *,
        sigmas: Sequence[float] = SIGMAS,
        draws: int = 5,
        seed: int = 0,
    ) -> None:
        if draws < 1:
            raise InputError(f"draws={draws} must be at least 1.")
        for sigma in sigmas:
            if not sigma >= 0:
                raise InputError(f"sigma={sigma} must be at least 0.")
        for noise in noises:
            perturbation(noise, 0.0, seed=seed, draw=0)
        self.noises, self.sigmas, self.draws, self.seed = tuple(noises), tuple(sigmas), draws, seed
        self._settings = {
            (f"{noise}-{sigma:g}" if noise in NOISES else noise): (noise, sigma)
            for noise in self.noises
            for sigma in (self.sigmas if noise in NOISES else (0.0,))
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """The noises with their sigma ("relative-0.1"), and the roundings."""
        return tuple(self._settings)

    def protocol(self) -> dict[str, Any]:
        """Return noises, sigmas, draws and seed, and what is perturbed."""
        return {
            "noises": list(self.noises),
            "sigmas": list(self.sigmas),
            "draws": self.draws,
            "seed": self.seed,
            "weights": "prunable",
        }

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes of each draw as a severity, from 1; rounding has one."""
        noise, sigma = self._settings[kind]
        draws = 1 if noise in ROUNDINGS else self.draws
        found = {name: self._outcomes(name, noise, sigma, draws, evaluator, data) for name in evaluator.names}
        return Measurement(kind, found, {"noise": noise, "sigma": sigma, "draws": draws})

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return accuracy, its drop, and the rise of the loss."""
        return weight_noise.findings(evidence)

    def _outcomes(
        self, name: str, noise: str, sigma: float, draws: int, evaluator: Evaluator, data: ImageSet
    ) -> dict[int, Any]:
        weights = {key: weight.detach() for key, weight in prunable(evaluator.plain(name)).items()}
        others = [perturbation(noise, sigma, seed=self.seed, draw=draw)(weights) for draw in range(draws)]
        models = [evaluator.changed(name, other) for other in others]  # the images are read once for all of them
        logits: list[list[Tensor]] = [[] for _ in models]
        with torch.inference_mode():
            for pixels in pixel_blocks(data, evaluator.batch):
                inputs = evaluator.inputs(pixels)
                for parts, model in zip(logits, models, strict=True):
                    parts.append(model(inputs))
        return {draw: evaluator.judged(name, parts, data.labels) for draw, parts in enumerate(logits, start=1)}
