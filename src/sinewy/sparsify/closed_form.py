"""What training costs by the papers' formulas, for methods whose density moves."""

from __future__ import annotations

from sinewy.sparsify.base import Sparsifier


def mean_forward(sparsifier: Sparsifier, sparse: float, dense: float) -> float:
    """Return the forward FLOPs at the mean density of training, between `sparse` at the target and `dense` at 1."""
    steps = sparsifier.length.steps
    if steps is None or sparsifier.target == 0:
        return sparse
    points = range(0, steps, max(1, steps // 1000))
    density = sum(1 - sparsifier.sparsity_at(step) for step in points) / len(points)
    return sparse + (dense - sparse) * (density - (1 - sparsifier.target)) / sparsifier.target
