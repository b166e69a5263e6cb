"""The Lipschitz probe: how far a small step of the input can move the logits, from above and from below."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.analysis import stretched
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.metrics.lipschitz import lower_bound, upper_bound
from sinewy.metrics.seqlip import seqlip
from sinewy.models.freeze import single_precision
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe, pixel_blocks


class LipschitzProbe(Probe):
    """AutoLip, SeqLip where the network is a sequence of layers, and a lower bound at the first `examples` images.

    L2 norms of logits against L2 norms of the inputs as the network is fed them, after normalisation, at their real
    size. `steps` of power iteration, `ascent` steps of the search for a larger stretch. A bound that does not exist for
    a model, because its graph cannot be traced, is left out and warned of. Models of another type are measured in
    float32.
    """

    name = "lipschitz"
    shifts = False

    def __init__(self, *, examples: int = 256, steps: int = 30, ascent: int = 100, seed: int = 0) -> None:
        if examples < 1:
            raise InputError(f"examples={examples} must be at least 1.")
        self.examples, self.steps, self.ascent, self.seed = examples, steps, ascent, seed

    @property
    def kinds(self) -> tuple[str, ...]:
        """The bounds."""
        return tuple(stretched.MEASURES)

    def protocol(self) -> dict[str, Any]:
        """Return norm, inputs, examples and steps."""
        return {
            "norm": "l2",
            "inputs": "normalised, as the network is fed",
            "examples": self.examples,
            "steps": self.steps,
            "ascent": self.ascent,
            "seed": self.seed,
        }

    def evaluator(
        self, models: Mapping[str, nn.Module], data: ImageSet, *, device: str | torch.device = "cpu"
    ) -> Evaluator:
        """Return frozen copies of the models in float32: half precision is too coarse to iterate in."""
        return super().evaluator({name: single_precision(model) for name, model in models.items()}, data, device=device)

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the bound as one number per model, the lower ones as one per example."""
        scores, missing = {}, {}
        for name in evaluator.names:
            try:
                scores[name] = {"stretch": self._bound(kind, name, evaluator, data)}
            except InputError as error:
                missing[name] = str(error)
                warnings.warn(f"{name} has no {stretched.MEASURES[kind]}: {error}", stacklevel=2)
        return Measurement(kind, {}, {"missing": missing}, scores)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return log10 of the bounds."""
        return stretched.findings(evidence)

    def _bound(self, kind: str, name: str, evaluator: Evaluator, data: ImageSet) -> NDArray[np.float64]:
        model = evaluator.frozen(name)
        batches = [evaluator.inputs(part) for part in pixel_blocks(data.first(self.examples), evaluator.batch)]
        if kind == "upper":
            return np.array([upper_bound(model, batches[0])])
        if kind == "seqlip":
            plain = evaluator.plain(name)
            sequence = model if isinstance(model, torch.nn.Sequential) else plain
            return np.array([seqlip(sequence, batches[0], seed=self.seed)])
        found: list[Tensor] = [lower_bound(model, part, steps=self.steps, ascent=self.ascent)[1] for part in batches]
        return np.asarray(torch.cat(found).double().cpu().numpy())
