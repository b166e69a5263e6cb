"""Which pixels a decision rests on: BackSelect, which masks the least important pixel first, again and again.

Carter, Mueller, Jain and Gifford, "What made you do this? Understanding black-box decisions with sufficient input
subsets", AISTATS 2019; the gradient form is that of Carter et al., "Overinterpretation reveals image classification
model pathologies", NeurIPS 2021. A masked pixel is `masked_value` in all channels, by default 0 in the space the model
is fed: the mean colour. Pixels are numbered row by row.

Three forms order the pixels (`FORMS`):
- "exact" tries every pixel that is left and masks the one without which the confidence is highest: H W (H W + 1) / 2
  forward passes per image, half a million at 32 x 32.
- "gradient" masks those with the largest derivative of the confidence by the mask, `step` at a time: H W / `step`
  forward and backward passes.
- "filtered" takes the `candidates` of largest derivative, tries these, and masks the best `step` of them. With all
  pixels as candidates and a step of 1 it is the exact form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sinewy.errors import InputError, unknown_name
from sinewy.metrics.answering import answering, check_images, check_models, logits

FORMS = ("gradient", "filtered", "exact")


class Ordering(NamedTuple):
    """The pixels of each image from the least to the most important, (N, H W) each.

    `confidence` is that in the class when the pixel and all before it are masked, in [0, 1]; NaN where the form did not
    measure it (the gradient form, and within a step).
    """

    pixels: Tensor
    confidence: Tensor


def back_select(
    model: nn.Module,
    images: Tensor,
    *,
    classes: Tensor | None = None,
    form: str = "gradient",
    step: int = 8,
    candidates: int = 32,
    masked_value: float = 0.0,
    batch: int = 256,
) -> Ordering:
    """Return the order in which BackSelect masks the pixels of `images`, (N, C, H, W) as the model is fed them.

    `classes` (N,) are those whose confidence is kept high: predictions by default, as in the papers. Equal pixels are
    masked from the first. `step` and `candidates` count pixels, and the exact form takes neither. No more than `batch`
    masked images go through the model at once. Confidences are compared as log-odds, which order pixels alike: in
    single precision a confidence near 1 is 1 for most pixels, and has no derivative. Raises InputError for settings or
    input that do not fit.
    """
    check_images(images)
    size = images.shape[2] * images.shape[3]
    step, candidates = (1, size) if form == "exact" else (step, candidates)
    _check_settings(form, step, candidates, size, batch)
    with answering(model):
        if classes is None:
            with torch.no_grad():
                classes = torch.cat([logits(model, part).argmax(1) for part in torch.split(images, batch)])
        if classes.shape != images.shape[:1]:
            raise InputError(f"classes must be ({len(images)},), one per image, got {tuple(classes.shape)}.")
        pairs = zip(torch.split(images, batch), torch.split(classes.to(images.device), batch), strict=True)
        side = (images.shape[2], images.shape[3])
        looks = [_Look(model, block.flatten(2), side, own, masked_value, batch) for block, own in pairs]
        parts = [_ordered(look, form, step, candidates) for look in looks]
    return Ordering(*(torch.cat(part) for part in zip(*parts, strict=True)))


def keep_informative(images: Tensor, pixels: Tensor, share: float = 0.1, *, masked_value: float = 0.0) -> Tensor:
    """Return `images` with all but the most important `share` of their pixels masked.

    `pixels` (N, H W) is an order from `back_select`; the number kept is rounded.
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share of pixels to keep lies in [0, 1], got {share}.")
    n, _, height, width = images.shape
    if pixels.shape != (n, height * width):
        raise InputError(f"pixels must be the order of ({n}, {height * width}), got {tuple(pixels.shape)}.")
    masked = torch.zeros(n, height * width, dtype=torch.bool, device=images.device)
    masked.scatter_(1, pixels[:, : height * width - round(share * height * width)].to(images.device), value=True)
    return images.masked_fill(masked.view(n, 1, height, width), masked_value)


@torch.no_grad()
def confidence_map(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    orders: Mapping[str, Tensor],
    *,
    share: float = 0.1,
    masked_value: float = 0.0,
    batch: int = 256,
) -> Tensor:
    """Return the confidence of every model in the true class on the pixels that inform each, (orders, models, N).

    Its mean over images is Figure 3 of Liebenwein et al. 2021: rows are the models whose informative pixels are kept
    (their `orders`, towards what they predict), columns those that look. Corrupted images give Figure 14.
    """
    check_images(images)
    check_models(models)
    rows = []
    with answering(*models.values()):
        for pixels in orders.values():
            kept = keep_informative(images, pixels, share, masked_value=masked_value)
            rows.append([_confidences(model, kept, labels.to(images.device), batch) for model in models.values()])
    return torch.stack([torch.stack(row) for row in rows])


def sufficient_subset(order: Ordering, threshold: float) -> Tensor:
    """Return how many of the last pixels suffice for a confidence of `threshold`, (N,): the sufficient input subset.

    The fewest of the exact form's last pixels with which the confidence is still that high; all H W where even these
    are not known to suffice.
    """
    if bool(order.confidence.isnan().any()):
        raise InputError("a sufficient subset needs the confidence at every pixel; use form='exact'.")
    size = order.pixels.shape[1]
    high = order.confidence >= threshold
    masked = torch.where(high, torch.arange(1, size + 1, device=high.device), 0).amax(1)
    return size - masked


@dataclass(frozen=True)
class _Look:
    """A batch of images through one model: `flat` (N, C, H W), the classes looked for, and what masked pixels are."""

    model: nn.Module
    flat: Tensor
    side: tuple[int, int]
    classes: Tensor
    value: float
    batch: int

    def gains(self, masked: Tensor) -> Tensor:
        """Return the derivative of the log-odds by the mask of each pixel, (N, H W); -inf where it is masked."""
        with torch.enable_grad():
            inputs = self._images(self.flat.masked_fill(masked[:, None], self.value)).requires_grad_()
            gradient: Tensor = torch.autograd.grad(_log_odds(self.model, inputs, self.classes).sum(), inputs)[0]
        return (gradient.flatten(2) * (self.value - self.flat)).sum(1).masked_fill_(masked, -torch.inf)

    @torch.no_grad()
    def tried(self, masked: Tensor, chosen: Tensor) -> Tensor:
        """Return the log-odds with each of the `chosen` pixels (N, tried) masked as well, one at a time."""
        base = self.flat.masked_fill(masked[:, None], self.value)
        rows = torch.arange(len(base), device=base.device).repeat_interleave(chosen.shape[1])
        found = []
        pairs = zip(torch.split(rows, self.batch), torch.split(chosen.flatten(), self.batch), strict=True)
        for image, pixel in pairs:
            inputs = base[image]
            inputs.scatter_(2, pixel[:, None, None].expand(-1, inputs.shape[1], 1), self.value)
            found.append(_log_odds(self.model, self._images(inputs), self.classes[image]))
        return torch.cat(found).view(chosen.shape)

    def _images(self, flat: Tensor) -> Tensor:
        return flat.view(*flat.shape[:2], *self.side)


def _ordered(look: _Look, form: str, step: int, candidates: int) -> Ordering:
    n, _, size = look.flat.shape
    masked = torch.zeros(n, size, dtype=torch.bool, device=look.flat.device)
    pixels: list[Tensor] = []
    confidence: list[Tensor] = []
    for left in range(size, 0, -step):
        count = min(step, left)
        chosen, known = _next(look, masked, form, count, min(candidates, left))
        masked.scatter_(1, chosen, value=True)
        pixels.append(chosen)
        confidence.append(known)
    return Ordering(torch.cat(pixels, 1), torch.cat(confidence, 1))


def _next(look: _Look, masked: Tensor, form: str, count: int, tried: int) -> tuple[Tensor, Tensor]:
    """Return the `count` pixels to mask next, (N, count), and the confidence without them where it was measured."""
    if form == "gradient":
        chosen = look.gains(masked).argsort(dim=1, descending=True, stable=True)[:, :count]
        return chosen, _unknown(chosen)
    if form == "exact":  # all that is left
        chosen = masked.int().argsort(dim=1, stable=True)[:, :tried]
    else:
        chosen = look.gains(masked).argsort(dim=1, descending=True, stable=True)[:, :tried].sort(dim=1).values
    odds = look.tried(masked, chosen)
    ranks = odds.argsort(dim=1, descending=True, stable=True)[:, :count]
    known = odds.gather(1, ranks).sigmoid() if count == 1 else _unknown(ranks)
    return chosen.gather(1, ranks), known


def _unknown(pixels: Tensor) -> Tensor:
    return torch.full(pixels.shape, torch.nan, dtype=torch.float64, device=pixels.device)


def _confidences(model: nn.Module, images: Tensor, labels: Tensor, batch: int) -> Tensor:
    parts = zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
    return torch.cat([_confidence(model, block, own) for block, own in parts])


def _log_odds(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of the classes, (N,): it ranks as p does, also where p is 1 to rounding."""
    scores, own = logits(model, images).double(), classes[:, None]
    others = scores.scatter(1, own, -torch.inf).logsumexp(1)
    return scores.gather(1, own).squeeze(1) - others


def _confidence(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    return logits(model, images).softmax(1).gather(1, classes[:, None]).squeeze(1)


def _check_settings(form: str, step: int, candidates: int, size: int, batch: int) -> None:
    if form not in FORMS:
        raise unknown_name("form of BackSelect", form, FORMS)
    if not 1 <= step <= size or batch < 1:
        raise InputError(f"step must be 1 to the {size} pixels and batch at least 1, got {step} and {batch}.")
    if form == "filtered" and not step <= candidates <= size:
        raise InputError(f"candidates must be {step} (the step) to the {size} pixels, got {candidates}.")
