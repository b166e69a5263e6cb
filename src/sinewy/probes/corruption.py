"""The corruption probe: shifted images by kind and severity, each batch made once and run through all models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.data import ImageSet
from sinewy.outcomes import Outcomes
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import BLOCK, Measurement, Probe
from sinewy.sets.cache import Cache
from sinewy.sets.published import PublishedSet
from sinewy.shifts import CORRUPTIONS
from sinewy.shifts.corruption import protocol
from sinewy.shifts.names import expand, family, severities_of
from sinewy.shifts.recompression import Recompression
from sinewy.shifts.spectrum import high_frequency
from sinewy.shifts.strengths import Continuous
from sinewy.shifts.values import Corruption, Shift

_SPECTRUM_IMAGES = 64


class CorruptionProbe(Probe):
    """Corruptions generated from the clean set, or read from a published one; see `sinewy.shifts.corrupt`.

    `kinds` are names, groups of them ("noise", "c-bar"), shifts of continuous strength ("uniform_noise/0.1"), or shift
    values such as `Corruption("fog", 3) | Corruption("snow", 1)`; by default the 19 common corruptions. A value, and a
    kind of one strength, is measured once, as severity 1. `recompress` is the JPEG quality of a last pass over
    corrupted images (85 in the published files of ImageNet-C). `cache` keeps what is generated on disk. `published`
    reads the images of kinds and severities instead of generating them; its images must be those of the data, in order.
    """

    name = "corruption"

    def __init__(
        self,
        kinds: Sequence[str | Shift] | None = None,
        *,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        preset: str = "cifar",
        seed: int = 0,
        recompress: int | None = None,
        cache: Cache | None = None,
        published: PublishedSet | None = None,
    ) -> None:
        named = [kind for kind in kinds or () if not isinstance(kind, Shift)]
        self._values = {kind.name: kind for kind in kinds or () if isinstance(kind, Shift)}
        default = published.kinds if published is not None else tuple(CORRUPTIONS)
        self._kinds = (*expand(named, preset), *self._values) if kinds else default
        self.severities, self.preset, self.seed = tuple(severities), preset, seed
        self._last = Recompression(recompress) if recompress is not None else None
        self._cache, self._published = cache, published

    @property
    def kinds(self) -> tuple[str, ...]:
        """The corruptions."""
        return self._kinds

    def protocol(self) -> dict[str, Any]:
        """Return preset, seed, definitions, frost texture, JPEG codec and severities; of published sets their name."""
        if self._published is not None:
            return {**self._published.protocol(), "severities": list(self.severities)}
        said: dict[str, Any] = {**protocol(self.preset, self.seed), "severities": list(self.severities)}
        if self._last is not None:
            said["recompression"] = self._last.quality
        return said | ({"shifts": {n: value.protocol for n, value in self._values.items()}} if self._values else {})

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes under one kind at all severities, and how high-frequency the perturbation is."""
        found: dict[str, dict[int, Outcomes]] = {}
        shares = []
        for severity in (1,) if kind in self._values else severities_of(kind, self.severities):
            watched = _Watched(data, self._blocks(kind, severity, data, evaluator.device))
            for name, outcomes in evaluator.outcomes(watched, data.labels).items():
                found.setdefault(name, {})[severity] = outcomes
            shares.append(watched.high_share)
        about = {"high_frequency": float(np.mean(shares))}
        return Measurement(kind, found, about | self._statistics(kind, data))

    def picture(self, kind: str, severity: int, data: ImageSet, index: int) -> NDArray[np.uint8]:
        """Return one image of `data` as models saw it under a shift, (3, H, W); what is no whole pixel is rounded."""
        if self._published is not None:
            image = self._published.part(kind, severity).images(index, index + 1)
        else:
            shift = self._shift(kind, severity, data)
            clean = torch.from_numpy(np.ascontiguousarray(data.images[index : index + 1]))
            image = _as_pixels(shift(clean, seed=self.seed, start=index), shift)
        pixels = (image * 255).round().clamp(0, 255) if image.is_floating_point() else image
        return np.asarray(pixels[0].cpu().numpy().astype(np.uint8))

    def _statistics(self, kind: str, data: ImageSet) -> dict[str, Any]:
        """Return the mean and std that noise of a kind was scaled with, which the protocol of all kinds cannot say."""
        shift = self._shift(kind, 1, data) if family(kind) == "continuous" and kind not in self._values else None
        used = shift.parameters if shift is not None else {}
        return {key: list(used[key]) for key in ("mean", "std") if used.get(key) is not None}

    def _shift(self, kind: str, severity: int, data: ImageSet) -> Shift:
        if kind in self._values:
            return self._values[kind]
        if family(kind) == "continuous":
            mean, std = (tuple(map(float, values)) for values in (data.mean, data.std))
            return Continuous(kind, mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))
        shift: Shift = Corruption(kind, severity, self.preset)
        return shift if self._last is None else shift | self._last

    def _blocks(self, kind: str, severity: int, data: ImageSet, device: torch.device) -> Iterator[Tensor]:
        if self._published is not None:
            part = self._published.part(kind, severity)
            part.check_labels(data.labels)
            yield from (part.images(start, min(start + BLOCK, len(data))) for start in range(0, len(data), BLOCK))
            return
        shift = self._shift(kind, severity, data)
        if self._cache is not None and not isinstance(shift, Continuous):
            kept = self._cache.images(data, shift, seed=self.seed)
            yield from (kept.block(start, start + BLOCK) for start in range(0, len(data), BLOCK))
            return
        for start in range(0, len(data), BLOCK):
            images = torch.from_numpy(np.ascontiguousarray(data.images[start : start + BLOCK])).to(device)
            yield _as_pixels(shift(images, seed=self.seed, start=start), shift)


def _as_pixels(shifted: Tensor, shift: Shift) -> Tensor:
    """Return what a shift in normalised space gave as pixels, which evaluation normalises for every model alike."""
    used = shift.parameters
    if used.get("mean") is None:
        return shifted
    mean, std = (torch.tensor(used[key], device=shifted.device).view(1, 3, 1, 1) for key in ("mean", "std"))
    return shifted * std + mean


class _Watched:
    """Blocks that are passed on, the share of high frequencies measured on the first images of the first of them."""

    def __init__(self, data: ImageSet, blocks: Iterator[Tensor]) -> None:
        self._clean, self._blocks = data.images, blocks
        self.high_share = 0.0

    def __iter__(self) -> Iterator[Tensor]:
        for index, block in enumerate(self._blocks):
            if index == 0:
                self._look(block[:_SPECTRUM_IMAGES])
            yield block

    def _look(self, shifted: Tensor) -> None:
        clean = torch.from_numpy(np.ascontiguousarray(self._clean[: len(shifted)])).to(shifted.device)
        self.high_share = high_frequency(clean.float() / 255 if shifted.is_floating_point() else clean, shifted)
