"""What does judging every absent link of a layer cost, beside one dense matrix product of its size?

    python benchmarks/topology.py [--rounds 7] [--json]

All times are process CPU time on one thread, variants in turn.

- Link scores (CH3-L3) of a 1568 x 1568 layer with 5 % of its links, over one dense float32 product of two such
  matrices. Written with dense products, the matrix form takes four; the path form walks some 750 million paths.
- Correlation of 60 000 x 784 uint8 features, over numpy.corrcoef of the same.
- A weighted draw of 100 000 of 2.5 million weights, over torch.multinomial.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys

import numpy as np
import torch

import measuring
from sinewy.select import sample_mask
from sinewy.topology.initial import correlation, random_graph
from sinewy.topology.link_scores import link_scores

SIZE, DENSITY = 1568, 0.05
MATRIX_TARGET, PATH_TARGET, CORRELATION_TARGET, DRAW_TARGET = 4.0, 16.0, 0.8, 1.25


def scores(rounds: int) -> list[measuring.Goal]:
    """Return the results of both forms of link scores."""
    mask = random_graph((SIZE, SIZE), int(DENSITY * SIZE**2), torch.Generator().manual_seed(0))
    links = mask.float()
    times = measuring.alternate(
        {
            "matrix form": lambda: link_scores(mask, form="matrix"),
            "path form": lambda: link_scores(mask, form="path"),
            "dense product": lambda: links @ links,
        },
        rounds,
    )
    return [
        _goal(times, name, "dense product", f"{SIZE} x {SIZE}, density {DENSITY:g}", target)
        for name, target in (("matrix form", MATRIX_TARGET), ("path form", PATH_TARGET))
    ]


def correlations(rounds: int) -> list[measuring.Goal]:
    """Return the result of the correlation of features, and how far the two are apart."""
    features = torch.randint(256, (60_000, 784), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    array = features.numpy()
    expected = np.corrcoef(array, rowvar=False)
    np.fill_diagonal(expected, 0)
    apart = float(np.abs(correlation(features).numpy() - expected).max())
    times = measuring.alternate(
        {
            "correlation": lambda: correlation(features),
            "numpy.corrcoef": lambda: np.corrcoef(array, rowvar=False),
        },
        rounds,
    )
    return [
        measuring.goal("largest difference from numpy.corrcoef, in 1e-12", 1e12 * apart, 1),
        _goal(times, "correlation", "numpy.corrcoef", "60000 x 784 uint8", CORRELATION_TARGET),
    ]


def draws(rounds: int) -> list[measuring.Goal]:
    """Return the result of the weighted draw."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2_500_000, generator=generator)
    times = measuring.alternate(
        {
            "sample_mask": lambda: sample_mask(weights, 100_000, generator),
            "torch.multinomial": lambda: torch.multinomial(weights, 100_000, generator=generator),
        },
        rounds,
    )
    return [_goal(times, "sample_mask", "torch.multinomial", "100000 of 2.5 M", DRAW_TARGET)]


def _goal(times: measuring.Times, ours: str, theirs: str, what: str, target: float) -> measuring.Goal:
    spent = {name: value for name, value in measuring.milliseconds(times).items() if name in (ours, theirs)}
    return measuring.goal(f"{ours} / {theirs}, {what}", measuring.ratio(times, ours, theirs), target, ms=spent)


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=7)
    goals = [goal for measure in (scores, correlations, draws) for goal in measure(options.rounds)]
    return measuring.finish(goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
