"""How far a method of a study can go without losing a margin: its sparsities against the reference, with a guarantee.

With one seed this is the certificate of `sinewy.limit`, about those weights; with several it is about training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.certificate import Certificate, certify
from sinewy.analysis.panel import Panel
from sinewy.analysis.training_certificate import SMALLEST_SEEDS, certify_training
from sinewy.errors import InputError
from sinewy.outcomes import Condition


def certify_methods(
    panel: Panel,
    methods: Sequence[str],
    *,
    margin: float = 0.01,
    alpha: float = 0.05,
    conditions: Sequence[Condition] | None = None,
) -> Certificate:
    """Return the certificate of `methods`, which differ in sparsity only, on each of `conditions`.

    `margin` is a share of examples in [0, 0.2]. `conditions` are all that were measured, the clean set among them, if
    None. Seeds that not all of them share are left out; with two or more the certificate is a `TrainingCertificate`.
    Raises InputError for the reference among the methods, two methods of one sparsity, or no seed in common.
    """
    if not methods or panel.reference in methods:
        raise InputError(f"name the methods to certify against {panel.reference}; got {', '.join(methods) or 'none'}.")
    everyone = (panel.reference, *methods)
    shared = set.intersection(*(set(panel.seeds_of(method)) for method in everyone))
    if not shared:
        raise InputError(f"{', '.join(everyone)} share no seed, so there is nothing to pair.")
    wanted = panel.conditions if conditions is None else tuple(conditions)
    parent, *pruned = (_verdicts(panel, method, sorted(shared), wanted) for method in everyone)
    sparsities = [panel.sparsity(method) for method in methods]
    names = [kind if not severity else f"{kind} {severity}" for kind, severity in wanted]
    if len(shared) >= SMALLEST_SEEDS:
        return certify_training(parent, np.stack(pruned), sparsities, margin=margin, alpha=alpha, shifts=names)
    first = np.stack([level[0] for level in pruned])
    return certify(parent[0], first, sparsities, margin=margin, alpha=alpha, shifts=names, beyond=False)


def _verdicts(panel: Panel, method: str, seeds: Sequence[int], conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    """Return whether each answer of a method is right, shape (seeds, conditions, n)."""
    runs = [panel.runs[method][seed] for seed in seeds]
    return np.stack([np.stack([run.outcomes[condition].correct for condition in conditions]) for run in runs])
