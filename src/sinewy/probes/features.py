"""The features probe: do models rest their decisions on the same pixels?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.analysis import informative
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.analysis.maps import Map
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.metrics.back_select import FORMS, back_select, confidence_map
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe
from sinewy.shifts.values import Corruption

PLAIN = "as they are"
"""The kind of image that is not corrupted."""


class FeaturesProbe(Probe):
    """BackSelect: the confidence of every model on the pixels that inform each (Liebenwein et al. 2021, Figures 3, 14).

    The first `examples` images, as they are and under each of `corruptions` (KIND/SEVERITY, by the constants of
    `preset`); the share `kept` of pixels stays. `form`, `step` and `candidates` are those of
    `sinewy.metrics.back_select`: the gradient form asks which pixels suffice, and takes pixels / `step` gradients per
    image and model.
    """

    name = "features"
    shifts = False
    together = True

    def __init__(
        self,
        corruptions: Sequence[str] = ("gaussian_noise/3",),
        *,
        examples: int = 100,
        form: str = "gradient",
        step: int = 16,
        candidates: int = 32,
        kept: float = 0.1,
        preset: str = "cifar",
        seed: int = 0,
    ) -> None:
        if form not in FORMS:
            raise unknown_name("form of BackSelect", form, FORMS)
        if examples < 1 or step < 1:
            raise InputError(f"examples and step must be at least 1, got {examples} and {step}.")
        if not 0 < kept < 1:
            raise InputError(f"kept={kept} must be a share of pixels between 0 and 1; 0.1 is the paper's.")
        made = [_corruption(name, preset) for name in corruptions]
        self._shifts = {PLAIN: None} | {shift.name: shift for shift in made}
        self.examples, self.form, self.kept, self.preset, self.seed = examples, form, kept, preset, seed
        self.step, self.candidates = (1 if form == "exact" else step), candidates

    @property
    def kinds(self) -> tuple[str, ...]:
        """The images as they are, and each corruption."""
        return tuple(self._shifts)

    def protocol(self) -> dict[str, Any]:
        """Return the form of BackSelect, the share of pixels, and what the images depend on."""
        return {
            "form": self.form,
            "step": self.step,
            "candidates": self.candidates if self.form == "filtered" else None,
            "kept": self.kept,
            "examples": self.examples,
            "corruptions": [shift.protocol for shift in self._shifts.values() if shift is not None],
            "seed": self.seed,
        }

    def check(self, names: Sequence[str], data: ImageSet) -> None:
        """Raise InputError where a step or the candidates are more than the pixels."""
        del names
        pixels = data.images.shape[2] * data.images.shape[3]
        if self.step > pixels:
            raise InputError(f"step={self.step} is more than the {pixels} pixels of an image.")
        if self.form == "filtered" and not self.step <= self.candidates <= pixels:
            raise InputError(f"candidates={self.candidates} must be {self.step} (the step) to the {pixels} pixels.")

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return every model's own order of pixels, and its confidences on the orders of all models, by digest."""
        own = data.first(self.examples)
        inputs, labels = self._inputs(kind, evaluator, own), torch.from_numpy(own.labels)
        models = {name: evaluator.frozen(name) for name in evaluator.names}
        orders = {name: self._order(models[name], inputs, evaluator.batch) for name in models}
        found = confidence_map(models, inputs, labels, orders, share=self.kept, batch=evaluator.batch).double().cpu()
        scores: dict[str, dict[str, NDArray[Any]]] = {
            name: {informative.ORDER: order.cpu().numpy().astype(np.int32)} for name, order in orders.items()
        }
        keys = [informative.digest(score[informative.ORDER]) for score in scores.values()]
        for column, name in enumerate(models):
            scores[name] |= {key: found[row, column].numpy() for row, key in enumerate(keys)}
        about = {"kept": self.kept, "examples": len(own), "form": self.form, "step": self.step}
        return Measurement(kind, {}, about, scores)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the confidence of every model on the pixels of each."""
        return informative.findings(evidence)

    def maps(self, evidence: Evidence) -> list[Map]:
        """Return the same as a matrix per kind of image."""
        return informative.maps(evidence)

    def _order(self, model: torch.nn.Module, inputs: Tensor, batch: int) -> Tensor:
        found = back_select(model, inputs, form=self.form, step=self.step, candidates=self.candidates, batch=batch)
        return found.pixels

    def _inputs(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Tensor:
        images = torch.from_numpy(np.ascontiguousarray(data.images))
        shift = self._shifts[kind]
        return evaluator.inputs(images if shift is None else shift(images, seed=self.seed))


def _corruption(name: str, preset: str) -> Corruption:
    kind, _, severity = name.rpartition("/")
    if not severity.isdecimal() or not kind:
        raise InputError(f"'{name}' must be a corruption with its severity, such as gaussian_noise/3.")
    return Corruption(kind, int(severity), preset)
