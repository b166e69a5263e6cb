"""The attention probe: how large the region is that a model looks at."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

from sinewy.analysis import attended
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.analysis.maps import Map
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.metrics.grad_cam import grad_cam, last_convolution, region_size
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe

OF = ("prediction", "label")


class AttentionProbe(Probe):
    """Grad-CAM: the size of the highlighted region, and maps of a few examples (Wu et al. 2025, Figure 19).

    The first `examples` images; maps are of what speaks for the class that the model predicts, or for the `of` "label",
    at the last convolution or the module named `layer`. A region is the pixels `above` a share of the map's maximum.
    `shown` examples, evenly spaced, are kept as maps. A model without feature maps is left out, with a warning.
    """

    name = "attention"
    shifts = False

    def __init__(
        self,
        layer: str | None = None,
        *,
        of: str = "prediction",
        above: float = 0.5,
        examples: int = 1000,
        shown: int = 4,
    ) -> None:
        if of not in OF:
            raise unknown_name("class of Grad-CAM", of, OF)
        if not 0 < above <= 1:
            raise InputError(f"above={above} must be a share of the maximum, in (0, 1].")
        if examples < 1 or shown < 0:
            raise InputError(f"examples must be at least 1 and shown at least 0, got {examples} and {shown}.")
        self.layer, self.of, self.above, self.examples, self.shown = layer, of, above, examples, shown

    @property
    def kinds(self) -> tuple[str, ...]:
        """The one kind of map."""
        return (attended.KIND,)

    def protocol(self) -> dict[str, Any]:
        """Return layer, class, threshold and examples."""
        return {
            "layer": self.layer or "the last convolution",
            "of": self.of,
            "above": self.above,
            "examples": self.examples,
            "shown": self.shown,
        }

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the size of the region on each image, and the maps and pixels of the examples shown."""
        own = data.first(self.examples)
        shown = [] if not self.shown else sorted({i * len(own) // self.shown for i in range(min(self.shown, len(own)))})
        scores = {}
        for name in evaluator.names:
            try:
                maps = self._maps(name, evaluator, own)
            except InputError as error:
                warnings.warn(f"{name} has no attention map: {error}", UserWarning, stacklevel=2)
                continue
            size = region_size(maps, self.above).numpy()
            scores[name] = {"size": size, "map": maps[shown].numpy(), "image": own.images[shown]}
        labels = [str(own.classes[own.labels[i]]) for i in shown]
        about = {"above": self.above, "of": f"the {self.of}", "shown": shown, "labels": labels}
        return Measurement(kind, {}, about, scores)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the sizes of the regions."""
        return attended.findings(evidence)

    def maps(self, evidence: Evidence) -> list[Map]:
        """Return the maps of the examples."""
        return attended.maps(evidence)

    def _maps(self, name: str, evaluator: Evaluator, data: ImageSet) -> torch.Tensor:
        model = evaluator.plain(name)
        images, labels = torch.from_numpy(np.ascontiguousarray(data.images)), torch.from_numpy(data.labels)
        layer = self.layer or last_convolution(model, evaluator.inputs(images[:1]))
        parts = []
        blocks = zip(torch.split(images, evaluator.batch), torch.split(labels, evaluator.batch), strict=True)
        for block, classes in blocks:
            chosen = classes if self.of == "label" else None
            parts.append(
                grad_cam(model, evaluator.inputs(block), layer, classes=chosen, batch=evaluator.batch).float().cpu()
            )
        return torch.cat(parts)
