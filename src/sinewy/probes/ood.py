"""The probe of anomaly detection: how well each model's answers tell anomalous inputs from normal ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.analysis import detected
from sinewy.analysis.detected import NORMAL
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.detectors import DETECTORS
from sinewy.detectors.detector import Batches, Detector
from sinewy.detectors.network import Network
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.models.freeze import single_precision
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.outliers import anomalies, check_sets, identities
from sinewy.probes.probe import BLOCK, Measurement, Probe, pixel_blocks
from sinewy.seeds import derive


class OODProbe(Probe):
    """AUROC, AUPR and FPR95 of `detectors` on each of `outliers` (see `sinewy.probes.outliers`), the test set normal.

    Inputs are scored in groups of each of `sizes`, all of one kind; only SensNorm looks at a group as a whole, for the
    others it is the mean of single scores. Sets are brought into a random order first, which depends on `seed` and is
    the same for every model. Detectors that learn are fitted on `fit_examples` images of `train`. `detector_options`
    are by detector.
    """

    name = "ood"
    shifts = False

    def __init__(
        self,
        outliers: Sequence[str] | Mapping[str, Any] = ("noise/uniform", "noise/gaussian"),
        *,
        detectors: Sequence[str] = ("msp", "energy", "gradnorm"),
        sizes: Sequence[int] = (1,),
        train: ImageSet | None = None,
        fit_examples: int = 5000,
        detector_options: Mapping[str, Mapping[str, Any]] | None = None,
        preset: str = "cifar",
        root: str | None = None,
        seed: int = 0,
    ) -> None:
        for size in sizes:
            if size < 1:
                raise InputError(f"a group of {size} inputs must have at least one.")
        self._anomalies = anomalies(outliers, seed=seed, preset=preset, root=root)
        self._identities = identities(outliers)
        self.detectors, self.sizes, self.fit_examples, self.seed = tuple(detectors), tuple(sizes), fit_examples, seed
        self._options = {name: dict(options) for name, options in (detector_options or {}).items()}
        self._preset, self._train = preset, train
        self._fitted: tuple[Any, dict[str, dict[str, Detector]]] = (None, {})
        learning = [name for name, made in self._made().items() if made.fitted]
        if learning and train is None:
            raise InputError(f"detector '{learning[0]}' learns from training images; pass them as train=.")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The normal set, and the anomalies."""
        return (NORMAL, *self._anomalies)

    def protocol(self) -> dict[str, Any]:
        """Return outliers, detectors and options, group sizes, what is fitted on, and what the measures mean."""
        return {
            "outliers": self._identities,
            "detectors": {name: self._options.get(name, {}) for name in self.detectors},
            "sizes": list(self.sizes),
            "fit_examples": self.fit_examples,
            "train": None if self._train is None else self._train.hash,
            "preset": self._preset,
            "seed": self.seed,
            "positive": "anomaly",
            "AUPR": "average precision",
        }

    def check(self, names: Sequence[str], data: ImageSet) -> None:
        """Raise InputError for groups larger than a set, or that a detector cannot score, and for unread outliers."""
        del names
        self._check_sizes(data)
        for made in self._made().values():
            for size in self.sizes:
                made.check(data.images.shape[1:], size)
        check_sets(self._anomalies, data, max(self.sizes))

    def evaluator(
        self, models: Mapping[str, nn.Module], data: ImageSet, *, device: str | torch.device = "cpu"
    ) -> Evaluator:
        """Return frozen copies of the models in float32, in which features and training statistics are kept."""
        return super().evaluator({name: single_precision(m) for name, m in models.items()}, data, device=device)

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the scores of one set, by model and "detector/size"."""
        self._check_sizes(data)
        found = {}
        for name in evaluator.names:
            images = pixel_blocks(data) if kind == NORMAL else self._anomalies[kind](evaluator, name, data)
            blocks = torch.cat([block.cpu() for block in images])
            blocks = blocks[torch.from_numpy(self._order(len(blocks), kind))]
            found[name] = self._scores(name, evaluator, blocks)
        return Measurement(kind, {}, {}, found)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the detection measures."""
        return detected.findings(evidence)

    def _check_sizes(self, data: ImageSet) -> None:
        if len(data) < max(self.sizes):
            raise InputError(f"groups of {max(self.sizes)} need as many images; there are {len(data)}.")

    def _scores(self, name: str, evaluator: Evaluator, images: Tensor) -> dict[str, NDArray[np.float64]]:
        network, found = Network(evaluator.frozen(name)), {}
        for detector, made in self._detectors(name, evaluator).items():
            for size in self.sizes:
                together = max(evaluator.batch // size, 1) * size
                whole = images[: len(images) // size * size]
                parts = [made.score(network, evaluator.inputs(b), size) for b in torch.split(whole, together)]
                found[f"{detector}/{size}"] = np.asarray(torch.cat(parts).double().cpu().numpy())
        return found

    def _detectors(self, name: str, evaluator: Evaluator) -> dict[str, Detector]:
        """Return the detectors of a model, fitted when first asked for; only the last evaluator's are kept."""
        if self._fitted[0] is not evaluator:
            self._fitted = (evaluator, {})
        by_model = self._fitted[1]
        if name not in by_model:
            made = self._made()
            for detector in made.values():
                for size in self.sizes if detector.fitted else ():
                    detector.fit(Network(evaluator.frozen(name)), self._training(evaluator), size)
            by_model[name] = made
        return by_model[name]

    def _made(self) -> dict[str, Detector]:
        return {n: resolve("detector", n, DETECTORS)(**self._options.get(n, {})) for n in self.detectors}

    def _training(self, evaluator: Evaluator) -> Batches:
        assert self._train is not None
        order = self._order(len(self._train), "train")[: self.fit_examples]
        return _batches(self._train.subset(order), evaluator)

    def _order(self, count: int, what: str) -> NDArray[np.intp]:
        # One order for the normal set and every anomaly made of it, so that pairs stay pairs.
        purpose = "train" if what == "train" else "test"
        return np.random.Philox(key=derive("ood", self.seed, purpose)).random_raw(count).argsort(kind="stable")


def _batches(data: ImageSet, evaluator: Evaluator) -> Iterator[tuple[Tensor, Tensor]]:
    start = 0
    blocks: Iterable[Tensor] = pixel_blocks(data, min(BLOCK, evaluator.batch))
    for pixels in blocks:
        labels = torch.from_numpy(data.labels[start : start + len(pixels)]).to(evaluator.device)
        start += len(pixels)
        yield evaluator.inputs(pixels), labels
