"""How far networks *trained like these* can be pruned: the certificate when there are several seeds.

`certify` speaks of given weights. Here the seeds are a sample too, of what training would give, and the loss meant is
the mean over seeds and examples. Per test, the loss of seed s on example i is d[s, i] in {-1, 0, 1}; the variance of
the mean is estimated as var_s(mean_i d) / seeds + var_i(mean_s d) / n, which counts what is peculiar to one seed and
one example twice and so errs upwards (two-way clusters; Cameron, Gelbach and Miller 2011 subtract that part once). The
second part is at least margin * (1 - margin) / n, what it is under the hypothesis if all seeds answer alike, so that no
disagreement at all is no proof by itself. The bound adds to the mean loss the root of t_1^2 V_1 + t_2^2 V_2, each
variance with the t quantile of its own degrees of freedom: never too short for normal means (Banerjee 1960, Sankhya
22), where the one t of Satterthwaite's degrees of freedom is with two or three seeds. Otherwise asymptotic in n;
`docs/results/certificate.md` has its error rates by simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from sinewy.analysis.certificate import (
    ALL_PASSED,
    Array,
    Certificate,
    as_booleans,
    check_request,
    where_it_stopped,
)
from sinewy.errors import InputError

SEEDS_TEST = "two-way t"
HALVINGS = 60
"""Of the interval that holds a p-value."""
SMALLEST_SEEDS = 2


@dataclass(frozen=True)
class TrainingCertificate(Certificate):
    """A certificate about training: `of_seeds` and `of_examples` are the two parts of the variance of each mean loss.

    `only_parent` and `only_pruned` count over all seeds; `examples_needed` is None, since examples alone may not settle
    it.
    """

    seeds: int
    of_seeds: Array
    of_examples: Array

    @property
    def statement(self) -> str:
        """The certificate in one sentence."""
        where = "this set of inputs" if len(self.shifts) == 1 else f"each of {len(self.shifts)} shifts"
        points = f"{100 * self.margin:g} point{'' if self.margin == 0.01 else 's'}"
        if self.sparsity == 0:
            reason = self.reason[0].lower() + self.reason[1:]
            return f"No sparsity is certified to lose at most {points} on {where} when trained again: {reason}"
        return (
            f"Networks trained like these {self.seeds} lose on average at most {points} of accuracy at sparsity "
            f"{self.sparsity:.4g} on {where}, with about {100 * (1 - self.alpha):g} % confidence. {self.reason}"
        )

    @cached_property
    def bounds(self) -> Array:
        """The upper confidence bound of each loss that was tested, at level 1 - alpha each; NaN where not reached."""
        reach = _reach(self.of_seeds, self.of_examples, self.seeds, self.n, np.full(self.losses.shape, self.alpha))
        bounds = self.losses + reach
        bounds[self._reached :] = np.nan
        return np.asarray(np.clip(bounds, -1, 1), np.float64)


def certify_training(
    parent_correct: ArrayLike,
    pruned_correct: ArrayLike,
    sparsities: Sequence[float],
    *,
    margin: float,
    alpha: float = 0.05,
    shifts: Sequence[str] | None = None,
) -> TrainingCertificate:
    """Return the largest sparsity at which training loses at most `margin` on every shift, with confidence 1 - `alpha`.

    `parent_correct` (seeds, shifts, n) and `pruned_correct` (sparsities, seeds, shifts, n) are booleans, by the same
    seeds on the same examples; at least 2 seeds, and 5 or more if they differ. `margin` is a share of examples in
    [0, 0.2]. Sparsities are tested in ascending order up to the first that fails, and pass only on all shifts, as in
    `certify`. Raises InputError for other shapes or ranges.
    """
    parent = as_booleans(parent_correct, "parent_correct", "seeds")
    pruned = as_booleans(pruned_correct, "pruned_correct", "sparsities", "seeds")
    levels = np.asarray(sparsities, np.float64)
    check_request(parent, pruned, levels, margin, alpha)
    seeds, count, n = parent.shape
    if seeds < SMALLEST_SEEDS:
        raise InputError("one seed says nothing of another training; give at least 2, or ask `certify`.")
    names = tuple(shifts) if shifts is not None else tuple(f"shift {j}" for j in range(count))
    if len(names) != count:
        raise InputError(f"{len(names)} names were given for {count} shifts.")
    order = np.argsort(levels, kind="stable")
    levels, pruned = levels[order], pruned[order]
    lost, won = parent & ~pruned, ~parent & pruned
    losses, of_seeds, of_examples = _variances(lost, won, margin)
    p_values = _p_values(losses, of_seeds, of_examples, seeds, n, margin)
    failed = np.flatnonzero((p_values > alpha).any(axis=1))
    stopped = int(failed[0]) if len(failed) else None
    certified = levels[-1] if stopped is None else levels[stopped - 1] if stopped else 0.0
    share = of_seeds / (of_seeds + of_examples)
    reason = _reason(levels, names, losses, p_values, share, stopped, alpha, seeds)
    counted = (lost.sum(axis=(1, 3)), won.sum(axis=(1, 3)))
    return TrainingCertificate(
        *(float(certified), tuple(levels.tolist()), names, float(margin), float(alpha), SEEDS_TEST, n, *counted),
        *(losses, p_values, stopped, reason, None, seeds, of_seeds, of_examples),
    )


def _variances(lost: NDArray[np.bool_], won: NDArray[np.bool_], margin: float) -> tuple[Array, Array, Array]:
    """Return the mean loss, and the variance of that mean from seeds and from examples, each (sparsities, shifts)."""
    loss = lost.astype(np.int8) - won.astype(np.int8)  # (sparsities, seeds, shifts, n)
    by_seed, by_example = loss.mean(axis=3), loss.mean(axis=1)
    of_seeds = by_seed.var(axis=1, ddof=1) / by_seed.shape[1]
    n = by_example.shape[2]
    of_examples = np.maximum(by_example.var(axis=2, ddof=1), max(margin * (1 - margin), 1 / n**2)) / n
    return by_seed.mean(axis=1), of_seeds, of_examples


def _reach(of_seeds: Array, of_examples: Array, seeds: int, n: int, alpha: Array) -> Array:
    """Return how far above the mean loss its upper bound at level 1 - alpha is."""
    first, second = (special.stdtrit(freedom, alpha) for freedom in (seeds - 1, n - 1))
    return np.asarray(np.sqrt(first**2 * of_seeds + second**2 * of_examples), np.float64)


def _p_values(losses: Array, of_seeds: Array, of_examples: Array, seeds: int, n: int, margin: float) -> Array:
    """Return the level at which each bound meets the margin, found by halving; 1 where the loss is not below it."""
    low, high = np.zeros(losses.shape), np.full(losses.shape, 0.5)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = losses + _reach(of_seeds, of_examples, seeds, n, middle) <= margin
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    return np.where(losses < margin, high, 1.0)


def _reason(
    levels: Array,
    names: tuple[str, ...],
    losses: Array,
    p_values: Array,
    share: Array,
    stopped: int | None,
    alpha: float,
    seeds: int,
) -> str:
    if stopped is None:
        return ALL_PASSED
    where, worst, _ = where_it_stopped(levels, names, losses, p_values, stopped, alpha)
    lost = 100 * float(losses[stopped, worst])
    parts = "most of it" if share[stopped, worst] > 0.5 else "a part of it"
    return (
        f"{where}: a mean {'loss' if lost >= 0 else 'gain'} of {abs(lost):.2f} points over {seeds} seeds; "
        f"{100 * share[stopped, worst]:.0f} % of its variance comes from the seeds, so more seeds would settle {parts}."
    )
