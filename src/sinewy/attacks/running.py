"""Run an attack: one call, many radii, and work only where the model still stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.attacks import ATTACKS, checked
from sinewy.attacks.apgd import wrong_class
from sinewy.attacks.examples import Examples, Result, refuse_nan
from sinewy.attacks.kept import Kept, meaning
from sinewy.attacks.preflight import SOME, check_victim
from sinewy.attacks.stand_in import quickest
from sinewy.attacks.victim import Victim, device_of, lent
from sinewy.errors import InputError, unknown_name

BATCH = {"cpu": 64, "cuda": 1024}
"""Images attacked at once: on a CPU what stays in its cache, on a GPU what fills it."""

TARGETS = ("least-likely", "runner-up")
"""Targets by name: the class of the smallest logit of the clean image, and of the largest besides the label's."""

Attack = Callable[[Victim, Examples, float], Result]


def run(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float | Sequence[float],
    norm: str = "linf",
    targets: Tensor | str | None = None,
    stop_when_fooled: bool = True,
    seed: int = 0,
    start: int = 0,
    batch: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    device: torch.device | str | None = None,
    folder: str | Path | None = None,
    preflight: bool = True,
    **options: Any,
) -> list[tuple[Tensor, Tensor]]:
    """Return (adversarial, fooled) for each eps, in the order given: images like `images`, and bool (N,).

    `name` is one of ATTACKS, or "package.module:function" of your own, which is called with `norm`, `stop_when_fooled`
    and the `options`, and returns an attack: a function of (victim, examples, eps). `images` is float (N, 3, H, W) in
    [0, 1], `labels` (N,). `eps` is in the units of the images, measured in `norm`: "linf" or "l2"; 8 grey levels are 8
    / 255. Adversarial images stay within eps (to rounding) and in [0, 1]. `model` returns logits; `mean` and `std`, per
    channel, normalise what it sees. An image is fooled where the prediction is wrong, or with `targets`, classes (N,)
    or a name in TARGETS, where it is the target.

    With `stop_when_fooled` an image is left alone from its first success: one that is misclassified to begin with is
    its own adversarial image, and one that is fooled at an eps keeps that image at every larger eps of the call. That
    is all that accuracy needs. False takes all steps for all images at each eps and returns where they end, as
    detection of attacks needs.

    `options` are the attack's: see `pgd`, `apgd_t` and so on. Random numbers depend on the seed and on the image's
    number in its set, counted from `start`, so `batch` (by default 64, on a GPU 1024) changes results by rounding only.
    `device` is where the work is done, by default where the model is; results live where `images` do. The model is used
    in evaluation mode, and left as it was: mode, gradients, and the global random state. A copy with its batch norms
    folded is attacked in its stead where it gives the same logits and gradients to rounding, and no hook would be lost;
    images are cast to the model's floating-point type. With a `folder` the batches that took their time are kept there
    as they are done, and the same call goes on after them.

    Before it starts, a model is refused on which attacks would seem weaker than they are: one that returns
    probabilities, answers at random or by the rest of the batch, or has a gradient of exactly zero everywhere;
    `preflight` False attacks it all the same. Raises InputError for these and for input that does not fit,
    MissingExtraError where a package is missing.

    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    >>> [(adversarial, fooled)] = run("fgsm", model, torch.rand(2, 3, 2, 2), torch.tensor([0, 1]), eps=8 / 255)
    >>> adversarial.shape, fooled.shape
    (torch.Size([2, 3, 2, 2]), torch.Size([2]))
    """
    checked.check_norm(norm)
    checked.check_model(model)
    checked.check_images(images)
    checked.check_classes("labels", labels, len(images))
    checked.check_numbering(seed, start)
    checked.check_flags(stop_when_fooled=stop_when_fooled, preflight=preflight)
    radii = checked.checked_eps(eps, norm)
    means, deviations = checked.checked_normalisation(mean, std, images.shape[1])
    attack = checked.make_attack(name, {"norm": norm, "stop_when_fooled": stop_when_fooled}, options)
    place = device_of(model, images.device) if device is None else _device(device)
    size = BATCH.get(place.type, BATCH["cuda"]) if batch is None else batch
    checked.check_count("batch", size)
    if len(images) == 0:
        return [(images.detach().clone(), torch.zeros(0, dtype=torch.bool, device=images.device)) for _ in radii]
    with lent(model, place, seed) as borrowed:
        # Cloned, because what was made in inference mode cannot take part in a graph.
        own = images.detach().clone()
        victim = quickest(borrowed, means, deviations, own[:SOME].to(place))
        asked = {"attack": name, "norm": norm, "stop": stop_when_fooled, "seed": seed, "start": start, **options}
        how = {"batch": size, "mean": means, "std": deviations, "eps": radii}
        tensors = {"images": images, "labels": labels}
        kept = None if folder is None else Kept(folder, meaning(borrowed, tensors, asked | how | _said(targets)))
        job = Job(name, attack, victim, size, place, kept)
        # Without a stop nobody asks what is fooled to begin with.
        seen = len(own) if stop_when_fooled or isinstance(targets, str) or 0.0 in radii else SOME
        examples, logits = job.prepare(own, labels.clone(), targets, seed, start, seen)
        if preflight:
            job.check(examples, gradients=name in ATTACKS and name != "autoattack")
        found = job.attack(examples, logits, sorted(set(radii)), stop=stop_when_fooled)
    return [found[radius] for radius in radii]


class Job:
    """One attack on one model, in batches of `size` on `device`; what it keeps lives where the images do."""

    def __init__(
        self, name: str, attack: Attack, victim: Victim, size: int, device: torch.device, kept: Kept | None = None
    ) -> None:
        self._name, self._attack, self._victim, self._size, self._device = name, attack, victim, size, device
        self._kept = kept

    def prepare(
        self, images: Tensor, labels: Tensor, targets: Tensor | str | None, seed: int, start: int, seen: int
    ) -> tuple[Examples, Tensor]:
        """Return the examples and the clean logits (N or less, classes) of the first `seen`.

        Raises InputError if labels or targets do not fit them.
        """
        parts = [part.to(self._device) for part in torch.split(images[:seen], self._size)]
        logits = torch.cat([_first_answer(self._victim, parts[0]), *map(self._victim.logits, parts[1:])]).to(
            images.device
        )
        refuse_nan(logits)
        labels = labels.to(images.device, torch.int64)
        checked.check_range("labels", labels, logits.shape[1])
        numbers = torch.arange(start, start + len(images), device=images.device)
        return Examples(images, labels, _targets(targets, labels, logits), numbers, seed), logits

    def attack(
        self, examples: Examples, logits: Tensor, radii: Sequence[float], *, stop: bool
    ) -> dict[float, tuple[Tensor, Tensor]]:
        """Return the result at each of the ascending radii; `stop` attacks at each only what stood the smaller ones."""
        adversarial, fooled = examples.images.clone(), torch.zeros_like(examples.labels, dtype=torch.bool)
        if len(logits) == len(examples):
            fooled = examples.fooled(logits)
        found = {}
        for radius in radii:
            standing = (~fooled).nonzero().squeeze(1) if stop else torch.arange(len(examples), device=fooled.device)
            for number, places in enumerate(torch.split(standing, self._size) if radius > 0 else ()):
                part = self._to_device(examples.take(places))
                work = partial(self._attacked, part, radius)
                images, hit = self._kept.result(radius, number, work, part.images) if self._kept else work()
                adversarial[places], fooled[places] = images.to(adversarial.device), hit.to(fooled.device)
            found[radius] = (adversarial.clone(), fooled.clone())
        return found

    def check(self, examples: Examples, *, gradients: bool) -> None:
        """Refuse a model on which the attack would say nothing; see `attacks.preflight`."""
        some = self._to_device(examples.first(SOME))
        check_victim(self._victim, some.images, some.labels, gradients=gradients)

    def _attacked(self, part: Examples, radius: float) -> Result:
        return self._checked(self._attack(self._victim, part, radius), part)

    def _to_device(self, part: Examples) -> Examples:
        targets = None if part.targets is None else part.targets.to(self._device)
        images, labels, numbers = (t.to(self._device) for t in (part.images, part.labels, part.numbers))
        return Examples(images, labels, targets, numbers, part.seed)

    def _checked(self, result: Result, part: Examples) -> Result:
        """Hold a user's own attack to the contract."""
        images, fooled = result
        if images.shape != part.images.shape or images.dtype != part.images.dtype or fooled.shape != part.labels.shape:
            raise InputError(
                f"attack '{self._name}' must return images {tuple(part.images.shape)} and fooled ({len(part)},),"
                f" got {tuple(images.shape)} and {tuple(fooled.shape)}."
            )
        if not ((images >= 0) & (images <= 1)).all():
            raise InputError(f"attack '{self._name}' returned images outside [0, 1], or NaN.")
        return images, fooled.bool()


def _targets(targets: Tensor | str | None, labels: Tensor, logits: Tensor) -> Tensor | None:
    if targets is None:
        return None
    if isinstance(targets, str):
        if targets not in TARGETS:
            raise unknown_name("choice of targets", targets, TARGETS)
        return wrong_class(logits, labels, 0 if targets == "runner-up" else logits.shape[1] - 2)
    checked.check_classes("targets", targets, len(labels))
    targets = targets.to(labels.device, torch.int64)
    checked.check_range("targets", targets, logits.shape[1])
    if (targets == labels).any():
        same = int((targets == labels).nonzero()[0])
        raise InputError(f"the target of image {same} is its label, {int(labels[same])}; give another class.")
    return targets


def _first_answer(victim: Victim, images: Tensor) -> Tensor:
    try:
        return victim.logits(images)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the model does not take images of shape {tuple(images.shape)}: {reason}.") from error


def _said(targets: Tensor | str | None) -> dict[str, Any]:
    return {"targets": targets.tolist() if isinstance(targets, Tensor) else targets}


def _device(name: torch.device | str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        raise InputError(f"device '{name}' is not on this machine. Use 'cpu', or leave device out.") from None
