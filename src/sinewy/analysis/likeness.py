"""How alike each model and the reference are as functions, from their probabilities under the same noise. No torch."""

from __future__ import annotations

import numpy as np

from sinewy.analysis.evidence import Array, Evidence, Finding, means
from sinewy.errors import InputError, unknown_name

SCORE = "probability"
"""What is kept of a model and a level of noise: its probabilities, (draws, N, classes)."""

SERIES = "by radius of uniform noise"


def findings(evidence: Evidence, control: str | None = None) -> list[Finding]:
    """Return the share of equal predictions and the softmax distance to the reference, of each other model.

    Intervals are over draws of noise and examples. The difference of a model is to the `control`, a network that was
    trained separately, where there is one: nearer than it is likeness by descent (Liebenwein et al. 2021, section 4.1).
    """
    others = evidence.methods[1:]
    if control is not None:
        check_control(control, evidence.methods)
    found = []
    for kind, about in evidence.about.items():
        parts = {method: evidence.scores[method][kind][SCORE] for method in evidence.methods}
        compared = {method: _compared(method, parts[method], parts[evidence.reference]) for method in others}
        for index, (measure, better) in enumerate((("agreement", "higher"), ("softmax distance", "lower"))):
            columns = {method: pair[index] for method, pair in compared.items()}
            for method, (own, difference) in means(columns, control or others[0]).items() if others else ():
                condition = f"noise within {about['eps']:g}" if about["eps"] else "no noise"
                apart = difference if control is not None else None
                found.append(Finding(method, condition, measure, own, apart, about["eps"], better, SERIES))
    return found


def check_control(control: str, names: tuple[str, ...]) -> None:
    """Raise InputError unless `control` is one of the models and is not the reference, which is the first."""
    if control not in names[1:]:
        if control == names[0]:
            raise InputError(f"the control '{control}' is the reference; name a network that was trained separately.")
        raise unknown_name("model as the control", control, names[1:] or ("none beside the reference",))


def _compared(method: str, own: Array, reference: Array) -> tuple[Array, Array]:
    """Return agreement and distance per draw and example."""
    if own.shape != reference.shape:
        raise InputError(
            f"{method} has {own.shape[2]} classes, the reference {reference.shape[2]}; compare like with like."
        )
    agrees = (own.argmax(2) == reference.argmax(2)).astype(np.float64)
    return agrees, np.linalg.norm(own.astype(np.float64) - reference, axis=2)
