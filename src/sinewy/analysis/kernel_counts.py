"""Where the weights of layers are: how unevenly channels share them, and their maps by kernel. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.evidence import Array, Evidence, Finding, known
from sinewy.analysis.maps import LARGEST, Map

KIND = "weights"
SIDES = ("input", "output")
TITLES = {"nonzero": "Non-zero weights per kernel", "magnitude": "Sum of magnitudes per kernel"}
READING = (
    "Output channels down, input channels across. Dark lines are channels that sparsity has cut off; random masks "
    "leave lines as well, so the findings compare with these. Each layer has colours of its own, shared by networks."
)
SHRUNK = f" Layers of more than {LARGEST} channels are shrunk to means over blocks of kernels."


def findings(evidence: Evidence) -> list[Finding]:
    """Return the Gini coefficients per layer and side, and how far those of non-zeros are beyond chance.

    Beyond chance is the coefficient less the mean of random masks of the same count; its interval holds 95 % of these,
    so that one that excludes 0 is more concentrated than masks that fell anywhere. The last rows are the share of
    layers where that is so. All are computed from weights: there is no sampling of examples in them.
    """
    found = []
    for method in evidence.methods:
        scores = evidence.scores.get(method, {}).get(KIND, {})
        for side in SIDES:
            beyond = []
            for layer, numbers in _layers(scores, side):
                own = dict(zip(NUMBERS, map(float, numbers), strict=True))
                beyond.append(own["gini"] > own["high"])
                apart = own["gini"] - own["chance"]
                edges = min(own["gini"] - own["high"], apart), max(own["gini"] - own["low"], apart)
                values = {
                    f"Gini beyond chance, {side} channels": Estimate(apart, *edges, int(own["n"]), 1),
                    f"Gini, {side} channels": known(own["gini"], int(own["n"])),
                    f"Gini of magnitudes, {side} channels": known(own["magnitude"], int(own["n"])),
                    f"empty {side} channels": known(own["empty"], int(own["n"])),
                }
                found += [Finding(method, layer, measure, value, better="") for measure, value in values.items()]
            if beyond:
                measure = f"layers beyond chance, {side} channels"
                found.append(
                    Finding(method, "all layers", measure, known(sum(beyond) / len(beyond), len(beyond)), better="")
                )
    return found


def maps(evidence: Evidence) -> list[Map]:
    """Return counts and magnitudes per kernel of the layers that were kept (Wu et al. 2025, Figures 5, 16, 17)."""
    found = []
    for of, title in TITLES.items():
        for method in evidence.methods:
            scores = evidence.scores.get(method, {}).get(KIND, {})
            shapes = dict(_layers(scores, "shape"))
            for layer, values in _layers(scores, of):
                outputs, inputs = (int(size) for size in shapes[layer])
                down, across = f"{outputs} output channels", f"{inputs} input channels"
                reading = READING + (SHRUNK if max(outputs, inputs) > LARGEST else "")
                unit = "weights" if of == "nonzero" else "sum of |w|"
                found.append(Map(title, values, reading, unit, method, layer, down=down, across=across))
    return found


NUMBERS = ("gini", "empty", "chance", "low", "high", "magnitude", "n")
"""What is kept of a layer and side, in this order; "magnitude" is the Gini coefficient of magnitudes."""


def key(of: str, number: int, layer: str) -> str:
    """Return what the scores of a layer are kept under, so that layers in order of their keys are in model order."""
    return f"{of}/{number:05}/{layer}"


def _layers(scores: Mapping[str, Array], of: str) -> Iterator[tuple[str, Array]]:
    """Yield the layers that have scores of this kind, with these, in model order."""
    for name in sorted(scores):
        kind, _, rest = name.partition("/")
        if kind == of:
            yield rest.partition("/")[2], scores[name]
