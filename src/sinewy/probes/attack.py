"""The attack probe: every model on its own worst images, by attack and radius."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sinewy.analysis import attacked
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.attacks import ATTACKS, NORMS
from sinewy.attacks.checked import checked_eps, make_attack
from sinewy.attacks.preflight import weaknesses
from sinewy.attacks.running import run
from sinewy.attacks.victim import Victim, lent
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve
from sinewy.outcomes import Outcomes
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.parts import kept
from sinewy.probes.probe import Measurement, Probe, pixel_blocks

SOME = 64
"""Images that are looked at before an attack."""

PREFLIGHTS = ("refuse", "warn")
"""What is done about a model on which attacks would say nothing."""


class AttackProbe(Probe):
    """Accuracy under white-box attacks: `attacks` by name, `eps` in 255ths of the range of pixels, in `norm`.

    "linf" and "l2" alike: eps 8 is a radius of 8 / 255, the literal reading of Ayle et al. 2022; for L2 that is next to
    nothing, and 128 is RobustBench's 0.5. `attack_options` go to every attack that has them (steps, restarts, ...).
    Random starts depend on `seed` and on the image's number. A model that attacks by gradients say nothing about, for
    its outputs are probabilities, its answers random, or its gradients exactly zero everywhere, is refused; with
    `preflight` "warn" it is attacked all the same. Gradients that are zero on some images are warned of. Either is kept
    with the result.
    """

    name = "attack"
    shifts = False

    def __init__(
        self,
        attacks: Sequence[str] = ("fgsm", "pgd"),
        *,
        eps: Sequence[float] = (1, 2, 4, 8),
        norm: str = "linf",
        attack_options: dict[str, Any] | None = None,
        preflight: str = "refuse",
        seed: int = 0,
    ) -> None:
        if norm not in NORMS:
            raise unknown_name("norm", norm, NORMS)
        if preflight not in PREFLIGHTS:
            raise unknown_name("preflight", preflight, PREFLIGHTS)
        self.preflight = preflight
        self.radii = tuple(sorted(set(checked_eps([value / 255 for value in eps], norm))))
        self.attacks, self.norm, self.seed = tuple(attacks), norm, seed
        self.attack_options = attack_options or {}
        self._options = {attack: _had_by(attack, self.attack_options) for attack in self.attacks}
        unused = set(self.attack_options).difference(*self._options.values())
        if unused:
            raise InputError(f"none of {', '.join(self.attacks)} has the option '{min(unused)}'.")
        for attack, options in self._options.items():  # a missing package is refused before any work
            make_attack(attack, {"norm": norm, "stop_when_fooled": True}, options)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The attacks, with their norm."""
        return tuple(f"{attack}-{self.norm}" for attack in self.attacks)

    def protocol(self) -> dict[str, Any]:
        """Return attacks, norm, radii in [0, 1] units, options and seed; images are attacked until first fooled."""
        return {
            "attacks": list(self.attacks),
            "norm": self.norm,
            "eps": list(self.radii),
            "options": dict(self.attack_options),
            "seed": self.seed,
            "stop_when_fooled": True,
        }

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes on each model's own adversarial images; severity i is the i-th radius, ascending."""
        found: dict[str, dict[int, Outcomes]] = {}
        concerns = {name: self._look(name, evaluator, data) for name in evaluator.names}  # all, before any work
        for name in evaluator.names:
            logits = self._attacked(kind, name, evaluator, data)
            found[name] = {i: evaluator.judged(name, parts, data.labels) for i, parts in enumerate(logits, start=1)}
        about = {"eps": list(self.radii), "norm": self.norm, "concerns": {n: c for n, c in concerns.items() if c}}
        return Measurement(kind, found, about)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the accuracy at each radius."""
        return attacked.findings(evidence)

    def _attacked(self, kind: str, name: str, evaluator: Evaluator, data: ImageSet) -> list[list[Tensor]]:
        """Return, for each radius, the logits of the adversarial images, in batches.

        Where the evaluator has a folder for parts, the logits of each block of images are kept there.
        """
        folder = evaluator.parts(name, kind) if evaluator.parts else None
        logits: list[list[Tensor]] = [[] for _ in self.radii]
        start = 0
        for pixels in pixel_blocks(data):
            labels = torch.from_numpy(data.labels[start : start + len(pixels)])
            work = partial(self._block, kind, name, evaluator, pixels, labels, start, folder)
            found = kept(folder / f"{start}.safetensors" if folder else None, work)
            for parts, own in zip(logits, found, strict=True):
                parts.append(own)
            start += len(pixels)
        return logits

    def _block(
        self,
        kind: str,
        name: str,
        evaluator: Evaluator,
        pixels: Tensor,
        labels: Tensor,
        start: int,
        folder: Path | None,
    ) -> list[Tensor]:
        """Return the logits of the adversarial images of one block, by radius."""
        attack = self.attacks[self.kinds.index(kind)]
        mean, std = evaluator.statistics
        results = run(
            attack,
            evaluator.frozen(name),
            pixels.to(evaluator.device).float() / 255,
            labels.to(evaluator.device),
            eps=self.radii,
            norm=self.norm,
            seed=self.seed,
            start=start,
            mean=mean,
            std=std,
            device=evaluator.device,
            folder=folder,
            preflight=False,
            **self._options[attack],
        )
        return [torch.cat(answers(evaluator, name, adversarial)).cpu() for adversarial, _ in results]

    def _look(self, name: str, evaluator: Evaluator, data: ImageSet) -> list[str]:
        mean, std = evaluator.statistics
        some = data.first(SOME)
        images = torch.from_numpy(some.images).to(evaluator.device).float() / 255
        labels = torch.from_numpy(some.labels).to(evaluator.device)
        with lent(evaluator.frozen(name), evaluator.device, 0) as borrowed:
            found = weaknesses(Victim(borrowed, mean, std), images, labels)
        fatal = [weakness.sentence for weakness in found if weakness.fatal]
        if fatal and self.preflight == "refuse":
            raise InputError(f"{name} cannot be attacked in earnest: {fatal[0]} Or pass preflight='warn'.")
        for weakness in found:
            warnings.warn(f"attacks on {name} may look weaker than they are: {weakness.sentence}", stacklevel=2)
        return [weakness.sentence for weakness in found]


def _had_by(attack: str, options: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(resolve("attack", attack, ATTACKS)).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return {name: value for name, value in options.items() if free or name in known}


@torch.no_grad()
def answers(evaluator: Evaluator, name: str, images: Tensor) -> list[Tensor]:
    """Return the logits of images in [0, 1], in batches."""
    model = evaluator.frozen(name)
    return [model(evaluator.inputs(part)) for part in torch.split(images, evaluator.batch)]
