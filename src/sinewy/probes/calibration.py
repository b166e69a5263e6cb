"""The calibration probe: how honest confidence is, as trained, and after temperature scaling on validation data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sinewy.analysis import calibrated
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.metrics.calibration import BINS, fit_temperature
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe, pixel_blocks

SHARED = 0.01
"""Share of the validation images that may be audited as well."""


class CalibrationProbe(Probe):
    """ECE, MCE, NLL and Brier score; with `validation` images also after temperature scaling fitted on those.

    `validation` must be no part of the audited images: it is refused where it shares more than 1 % with them, which
    leaves room for the few doubles of published sets. Without it only the outcomes on the clean set are read.
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

    def check(self, names: Sequence[str], data: ImageSet) -> None:
        """Raise InputError where the temperature would be fitted on the images that are audited."""
        del names
        shared = 0.0 if self._validation is None else shared_images(self._validation, data)
        if shared > SHARED:
            raise InputError(
                f"{shared:.0%} of the validation images are among the audited ones; fit the temperature on others."
            )

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes on the clean images with logits over T, and each model's T."""
        assert self._validation is not None
        found, temperatures = {}, {}
        for name in evaluator.names:
            held_out = all_logits(name, evaluator, self._validation)
            fitted = fit_temperature(held_out, self._validation.labels)
            if (held_out.argmax(axis=1) == self._validation.labels).all():
                # the likelihood then rises without end as T falls, and the T at the end of the search is no estimate
                warnings.warn(
                    f"{name} makes no error on its {len(self._validation)} validation images, so they tell no "
                    f"temperature; the scaled numbers are those of T = {fitted:.2g}. Hold out more images.",
                    stacklevel=2,
                )
            scaled = torch.from_numpy(all_logits(name, evaluator, data) / fitted)
            found[name] = {calibrated.SCALED[1]: evaluator.judged(name, [scaled], data.labels)}
            temperatures[name] = fitted
        return Measurement(kind, found, {"temperature": temperatures})

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the calibration errors."""
        return calibrated.findings(evidence)


def shared_images(some: ImageSet, others: ImageSet) -> float:
    """Return the share of images of `some` that are, byte for byte, among `others`."""
    if some.images.shape[1:] != others.images.shape[1:] or len(some) == 0:
        return 0.0
    rows = [np.ascontiguousarray(part.images).reshape(len(part), -1) for part in (some, others)]
    one, other = (row.view(np.dtype((np.void, row.shape[1]))).ravel() for row in rows)
    return float(np.isin(one, other).mean())


@torch.no_grad()
def all_logits(name: str, evaluator: Evaluator, data: ImageSet) -> NDArray[np.float64]:
    """Return the logits of a model on a set, (N, classes)."""
    model = evaluator.frozen(name)
    parts = [model(evaluator.inputs(pixels)).double().cpu() for pixels in pixel_blocks(data, evaluator.batch)]
    return np.asarray(torch.cat(parts).numpy())
