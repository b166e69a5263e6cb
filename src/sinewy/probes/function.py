"""The function probe: how alike a model and its parent answer in a neighbourhood of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.analysis import likeness
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.metrics.answering import logits
from sinewy.metrics.functional_distance import uniform_noise
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe, pixel_blocks

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)


class FunctionProbe(Probe):
    """Equal predictions with the reference, and softmax L2 distance to it, under noise (Liebenwein et al. 2021).

    Noise is uniform within each of `levels`, in normalised pixels, not clipped; `draws` of it meet every model alike,
    at every level the same, scaled. The first `examples` images are measured. `control` names the model that was
    trained separately, to which the others are then compared: equal labels alone make networks agree.
    """

    name = "function"
    shifts = False

    def __init__(
        self,
        levels: Sequence[float] = LEVELS,
        *,
        draws: int = 5,
        examples: int = 1000,
        control: str | None = None,
        seed: int = 0,
    ) -> None:
        if not len(levels) or not all(np.isfinite(eps) and eps >= 0 for eps in levels):
            raise InputError(f"levels of noise must be finite and at least 0, got {list(levels)}.")
        if draws < 1 or examples < 1:
            raise InputError(f"draws and examples must be at least 1, got {draws} and {examples}.")
        self.levels = {f"noise-{eps:g}": float(eps) for eps in levels}
        self.draws, self.examples, self.control, self.seed = draws, examples, control, seed

    @property
    def kinds(self) -> tuple[str, ...]:
        """The levels of noise."""
        return tuple(self.levels)

    def protocol(self) -> dict[str, Any]:
        """Return what the noise depends on, and how many images meet it."""
        return {
            "noise": "uniform, normalised pixels, not clipped",
            "levels": list(self.levels.values()),
            "draws": self.draws,
            "examples": self.examples,
            "seed": self.seed,
        }

    def check(self, names: Sequence[str], data: ImageSet) -> None:
        """Raise InputError for one model alone, or for a control that is not among the models."""
        del data
        if len(names) < 2:
            raise InputError("the function probe compares networks with a reference; name one (against=, --against).")
        if self.control is not None:
            likeness.check_control(self.control, tuple(names))

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return each model's probabilities, (draws, N, classes); the likeness of two is computed from these."""
        eps = self.levels[kind]
        own = data.first(self.examples)
        scores = {name: {likeness.SCORE: self._probabilities(name, eps, evaluator, own)} for name in evaluator.names}
        return Measurement(kind, {}, {"eps": eps}, scores)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return agreement and distance by level of noise."""
        return likeness.findings(evidence, self.control)

    @torch.no_grad()
    def _probabilities(self, name: str, eps: float, evaluator: Evaluator, data: ImageSet) -> NDArray[np.float32]:
        model, start, parts = evaluator.frozen(name), 0, []
        for pixels in pixel_blocks(data, evaluator.batch):
            inputs = evaluator.inputs(pixels)
            noises = uniform_noise(inputs, self.draws if eps else 1, seed=self.seed, start=start)
            parts.append(torch.stack([_answer(model, inputs + eps * noise) for noise in noises]))
            start += len(pixels)
        return np.asarray(torch.cat(parts, dim=1).numpy())


def _answer(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    return logits(model, inputs).double().softmax(1).float().cpu()
