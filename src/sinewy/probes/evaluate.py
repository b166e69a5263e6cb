"""From images to per-example outcomes, for several models on the same bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.criteria.losses import logits_of
from sinewy.data.batches import normalise
from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.models.freeze import freeze, is_channels_last
from sinewy.outcomes import COLUMNS, Outcomes

BATCH = 64
"""Images per forward pass on a CPU: activations stay in cache (1.6 to 1.8 times faster than 512)."""

GPU_BATCH = 1024


class Evaluator:
    """Frozen copies of models, ready to answer; `mean` and `std` normalise images in [0, 1], per channel."""

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self._models = {name: _answering(name, freeze(model, self.device)) for name, model in models.items()}
        self._format = {name: is_channels_last(model) for name, model in self._models.items()}
        self._raw = dict(models)
        self._mean, self._std = mean, std
        self.parts: Callable[[str, str], Path] | None = None
        """Where a long measurement may keep its parts, by model and kind; None is nowhere."""
        self._batch = GPU_BATCH if self.device.type == "cuda" else BATCH

    @property
    def names(self) -> tuple[str, ...]:
        """The models, in order."""
        return tuple(self._models)

    @property
    def batch(self) -> int:
        """How many images go through a model at once."""
        return self._batch

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std per channel that normalise images in [0, 1]."""
        return self._mean, self._std

    def frozen(self, name: str) -> nn.Module:
        """Return the frozen copy of a model, its norms folded; not to be changed."""
        return self._models[name]

    def plain(self, name: str) -> nn.Module:
        """Return a new copy of a model in evaluation mode with its own weights, nothing folded, on the device."""
        own = copy.deepcopy(unwrap(self._raw[name])).eval().requires_grad_(requires_grad=False).to(self.device)
        return _answering(name, own)

    def changed(self, name: str, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a frozen copy of a model with some of its parameters replaced, by name; its norms are folded after."""
        own = copy.deepcopy(unwrap(self._raw[name]))
        with torch.no_grad():
            for key, parameter in own.named_parameters():
                if key in weights:
                    parameter.copy_(weights[key])
        return _answering(name, freeze(own, self.device))

    def inputs(self, images: Tensor) -> Tensor:
        """Return images, uint8 or float in units of [0, 1] pixels, as models are fed them, on the device."""
        return self._normalised(images.to(self.device))

    def judged(self, name: str, logits: Iterable[Tensor], labels: NDArray[np.int64]) -> Outcomes:
        """Return the outcomes of logits that were made elsewhere, batches in the order of `labels`."""
        start, parts = 0, []
        for batch in logits:
            answer = torch.from_numpy(labels[start : start + len(batch)]).to(batch.device)
            start += len(batch)
            parts.append(_columns(name, batch, answer).cpu())
        return _outcomes(torch.cat(parts).numpy())

    @torch.inference_mode()
    def outcomes(self, blocks: Iterable[Tensor], labels: NDArray[np.int64]) -> dict[str, Outcomes]:
        """Return the outcomes of every model on `blocks` of images (N,3,H,W), in the order of `labels`.

        Images are uint8, or floats in units of [0, 1] pixels, which shifts may take outside of [0, 1]. Each block is
        read once and run through all models. Raises InputError if a model's outputs do not fit the labels.
        """
        columns: dict[str, list[Tensor]] = {name: [] for name in self._models}
        start = 0
        for block in blocks:
            for images in torch.split(block.to(self.device), self._batch):
                answer = torch.from_numpy(labels[start : start + len(images)]).to(self.device)
                start += len(images)
                for name, logits in self._logits(self._normalised(images)):
                    columns[name].append(_columns(name, logits, answer))
        return {name: _outcomes(torch.cat(parts).cpu().numpy()) for name, parts in columns.items()}

    def _normalised(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            return normalise(images, self._mean, self._std)
        mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (self._mean, self._std))
        return (images - mean) / std

    def _logits(self, images: Tensor) -> Iterable[tuple[str, Tensor]]:
        last = images.contiguous(memory_format=torch.channels_last) if any(self._format.values()) else images
        for name, model in self._models.items():
            yield name, model(last if self._format[name] else images)


def input_type(model: nn.Module) -> torch.dtype:
    """Return the floating-point type that `model` takes its images in: that of its first parameter, else float32."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _answering(name: str, model: nn.Module) -> nn.Module:
    """Let a copy of a model take float32 images, whatever its own type, and return its logits, whatever they lie in."""
    wanted, advice = input_type(model), "return logits (N, classes), or a mapping with 'logits' or 'out'"

    def cast(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(part.to(wanted) for part in inputs)

    def read(_: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> Tensor | None:
        del inputs
        try:
            return None if isinstance(outputs, Tensor) else logits_of(outputs, advice=advice)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    if wanted is not torch.float32:
        model.register_forward_pre_hook(cast)
    model.register_forward_hook(read)
    return model


def _columns(name: str, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the outcome columns of a batch as float64 (N, 6); whole numbers up to 2^53 survive."""
    if logits.ndim != 2 or logits.shape[1] <= int(labels.max()):
        raise InputError(
            f"{name} returns {tuple(logits.shape)} for labels up to {int(labels.max())};"
            " logits (N, classes) are needed."
        )
    if not (logits < torch.inf).all():
        raise InputError(f"{name} returns NaN or infinity; a model that diverged in training cannot be audited.")
    log_probability = logits.double().log_softmax(1)
    probability = log_probability.exp()
    confidence, prediction = probability.max(1)
    true_log = log_probability.gather(1, labels[:, None]).squeeze(1)
    brier = probability.square().sum(1) - 2 * true_log.exp() + 1
    return torch.stack([labels.double(), prediction.double(), confidence, true_log.exp(), -true_log, brier], dim=1)


def _outcomes(table: NDArray[np.float64]) -> Outcomes:
    whole = {"label", "prediction"}
    columns: dict[str, Any] = {
        c: table[:, i].astype(np.int32 if c in whole else np.float32) for i, c in enumerate(COLUMNS)
    }
    return Outcomes(**columns)
