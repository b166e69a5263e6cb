"""Attacks: the worst images within a small distance, found by gradients. This file lists them; it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy.attacks.running import run as run

ATTACKS: dict[str, str] = {
    "fgsm": "sinewy.attacks.gradient:fgsm",
    "ffgsm": "sinewy.attacks.gradient:ffgsm",
    "bim": "sinewy.attacks.gradient:bim",
    "pgd": "sinewy.attacks.gradient:pgd",
    "apgd-ce": "sinewy.attacks.apgd:apgd_ce",
    "apgd-dlr": "sinewy.attacks.apgd:apgd_dlr",
    "apgd-t": "sinewy.attacks.apgd:apgd_t",
    "autoattack": "sinewy.attacks.external:autoattack",
}
"""Every attack, from the cheapest to the dearest."""

NORMS: tuple[str, ...] = ("linf", "l2")
"""The norms in which eps is measured: the largest change of any value, and the Euclidean length of the change."""

LOSSES: dict[str, str] = {
    "ce": "sinewy.attacks.losses:cross_entropy",
    "dlr": "sinewy.attacks.losses:difference_of_logits_ratio",
    "margin": "sinewy.attacks.losses:margin",
}
"""What an attack climbs."""


def __getattr__(name: str) -> Any:
    """Import `run` when first asked for, so that listing the attacks costs no torch import."""
    if name != "run":
        raise AttributeError(f"module 'sinewy.attacks' has no attribute '{name}'")
    from sinewy.attacks.running import run

    return run
