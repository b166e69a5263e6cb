"""The calibration probe: how honest confidence is, as trained, and after temperature scaling on validation data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sinewy.analysis import calibrated
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.metrics.calibration import BINS, fit_temperature
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe, pixel_blocks


class CalibrationProbe(Probe):
    """ECE, MCE, NLL and Brier score; with `validation` images also after temperature scaling fitted on those.

    `validation` must be no part of the audited images. Without it only the outcomes on the clean set are read.
    """

    name = "calibration"
    shifts = False

    def __init__(self, *, validation: ImageSet | None = None) -> None:
        self._validation = validation

    @property
    def kinds(self) -> tuple[str, ...]:
        """The temperature-scaled set, where there is validation data."""
        return () if self._validation is None else (calibrated.SCALED[0],)

    def protocol(self) -> dict[str, Any]:
        """Return the bins and what the temperature is fitted on."""
        return {
            "bins": BINS,
            "binnings": ["equal width, (low, high]", "equal mass"],
            "temperature": None if self._validation is None else f"fitted on {len(self._validation)} validation images",
            "validation": None if self._validation is None else self._validation.hash,
        }

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes on the clean images with logits over T, and each model's T."""
        assert self._validation is not None
        found, temperatures = {}, {}
        for name in evaluator.names:
            fitted = fit_temperature(all_logits(name, evaluator, self._validation), self._validation.labels)
            scaled = torch.from_numpy(all_logits(name, evaluator, data) / fitted)
            found[name] = {calibrated.SCALED[1]: evaluator.judged(name, [scaled], data.labels)}
            temperatures[name] = fitted
        return Measurement(kind, found, {"temperature": temperatures})

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the calibration errors."""
        return calibrated.findings(evidence)


@torch.no_grad()
def all_logits(name: str, evaluator: Evaluator, data: ImageSet) -> NDArray[np.float64]:
    """Return the logits of a model on a set, (N, classes)."""
    model = evaluator.frozen(name)
    parts = [model(evaluator.inputs(pixels)).double().cpu() for pixels in pixel_blocks(data, evaluator.batch)]
    return np.asarray(torch.cat(parts).numpy())
