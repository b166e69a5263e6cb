"""AutoAttack, run by its authors' own package: the ensemble that published robust accuracies are measured with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sinewy.attacks.examples import Examples, Result
from sinewy.attacks.victim import Victim
from sinewy.errors import InputError, MissingExtraError

TARGETS = 9
"""Wrong classes that its two targeted attacks aim at; fewer where there are fewer."""


@dataclass(frozen=True, kw_only=True)
class StandardAutoAttack:
    """APGD on cross-entropy, targeted APGD, targeted FAB and Square, one after the other on what still stands."""

    norm: str
    package: Any

    def __call__(self, victim: Victim, examples: Examples, eps: float) -> Result:
        """Return the images that fooled the model, and the clean ones where none of the four attacks did."""
        if examples.targets is not None:
            raise InputError("autoattack is untargeted; leave targets out, or use pgd or apgd-ce.")
        classes = victim.logits(examples.images[:1]).shape[1]
        if classes < 4:
            raise InputError(f"autoattack needs at least 4 classes for its targeted loss, the model has {classes}.")
        attack = self.package.AutoAttack(
            victim,
            norm={"linf": "Linf", "l2": "L2"}[self.norm],
            eps=eps,
            seed=examples.stream("autoattack"),
            device=examples.images.device,
        )
        attack.verbose = False
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(TARGETS, classes - 1)
        with _same_tracer():
            adversarial, _ = attack.run_standard_evaluation(
                examples.images, examples.labels, batch_size=max(1, len(examples))
            )
        return adversarial, examples.fooled(victim.logits(adversarial))


def autoattack(*, norm: str, stop_when_fooled: bool) -> StandardAutoAttack:
    """Return AutoAttack in its standard version (Croce and Hein 2020), through the package pyautoattack.

    It has no options, always stops at the first success, and its random numbers depend on the batch. Raises
    MissingExtraError where the package is not installed.
    """
    if not stop_when_fooled:
        raise InputError("autoattack always stops at the first success; leave stop_when_fooled out.")
    try:
        package = import_module("pyautoattack")
    except ModuleNotFoundError:
        raise MissingExtraError(
            "attack 'autoattack' needs its authors' package: pip install 'sinewy[attacks]'"
        ) from None
    return StandardAutoAttack(norm=norm, package=package)


@contextmanager
def _same_tracer() -> Iterator[None]:
    """Restore the caller's trace function: the package's pre-flight check sets its own and then none."""
    tracer = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(tracer)
