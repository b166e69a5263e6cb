"""How far a network can be pruned, as a statement with a guarantee: the certificate of `sinewy.limit`.

"At sparsity s the accuracy loss is at most the margin on each of these shifts, with confidence 1 - alpha." Each (shift,
sparsity) is a one-sided paired test on the discordant examples. A sparsity passes only if every shift does
(intersection-union), and sparsities are tested in fixed sequence from dense to sparse up to the first that fails;
neither needs a correction for the number of tests.

What it is about: these trained weights, on the distribution the examples were drawn from. Not another training run, not
another distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinewy.analysis import noninferiority
from sinewy.errors import InputError, unknown_name

Array = NDArray[np.float64]

ALL_PASSED = "Every sparsity that was tested passed, so more may be possible."
LARGEST_MARGIN = 0.2
"""A margin above this is taken for percentage points given as a share, and refused."""


@dataclass(frozen=True)
class Certificate:
    """What `certify` found. Losses, bounds and the margin are shares of examples: 0.005 is half a point.

    `sparsity` is the largest certified one, 0.0 if none. `losses` and `p_values` have shape (sparsities, shifts), rows
    from dense to sparse; the sequence used the rows up to `stopped`, the first that failed (None if none did), and the
    p-values below it are there to be looked at only. `examples_needed` is how many examples would settle that row, see
    `sinewy.analysis.noninferiority.examples_needed`; None if there is no such row, or its loss is not within the
    margin.
    """

    sparsity: float
    sparsities: tuple[float, ...]
    shifts: tuple[str, ...]
    margin: float
    alpha: float
    test: str
    n: int
    only_parent: NDArray[np.int64]
    only_pruned: NDArray[np.int64]
    losses: Array
    p_values: Array
    stopped: int | None
    reason: str
    examples_needed: int | None

    @property
    def statement(self) -> str:
        """The certificate in one sentence."""
        where = "this set of inputs" if len(self.shifts) == 1 else f"each of {len(self.shifts)} shifts"
        points = f"{100 * self.margin:g} point{'' if self.margin == 0.01 else 's'}"
        if self.sparsity == 0:
            reason = self.reason[0].lower() + self.reason[1:]
            return f"No sparsity is certified to lose at most {points} on {where}: {reason}"
        holds = "" if self.test == "exact" else f" (approximately: {self.test} test)"
        return (
            f"At sparsity {self.sparsity:.4g} these weights lose at most {points} of accuracy on "
            f"{where}, with {100 * (1 - self.alpha):g} % confidence{holds}. {self.reason}"
        )

    @cached_property
    def bounds(self) -> Array:
        """The upper confidence bound of each loss that was tested, at level 1 - alpha each; NaN where not reached."""
        bounds = np.full(self.losses.shape, np.nan)
        for i, j in np.ndindex(self._reached, len(self.shifts)):
            counts = int(self.only_parent[i, j]), int(self.only_pruned[i, j])
            bounds[i, j] = noninferiority.upper_bound(self.test, *counts, self.n, self.margin, self.alpha)
        return bounds

    @property
    def _reached(self) -> int:
        return len(self.sparsities) if self.stopped is None else self.stopped + 1

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON-able row per test, with what became of it: "passed", "failed" or "not reached"."""
        return [
            {
                "sparsity": sparsity,
                "shift": shift,
                "loss": float(self.losses[i, j]),
                "bound": float(self.bounds[i, j]) if i < self._reached else None,
                "p_value": float(self.p_values[i, j]),
                "verdict": self._verdict(i, j),
            }
            for i, sparsity in enumerate(self.sparsities)
            for j, shift in enumerate(self.shifts)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate as one JSON-able document."""
        names = ("sparsity", "margin", "alpha", "test", "n", "statement", "reason", "examples_needed")
        stopped = None if self.stopped is None else self.sparsities[self.stopped]
        return {name: getattr(self, name) for name in names} | {"stopped_at": stopped, "shifts": list(self.shifts)}

    def __str__(self) -> str:
        return self.statement

    def _verdict(self, i: int, j: int) -> str:
        if i >= self._reached:
            return "not reached"
        return "passed" if self.p_values[i, j] <= self.alpha else "failed"


def certify(
    parent_correct: ArrayLike,
    pruned_correct: ArrayLike,
    sparsities: Sequence[float],
    *,
    margin: float,
    alpha: float = 0.05,
    test: str = "exact",
    shifts: Sequence[str] | None = None,
    beyond: bool = True,
) -> Certificate:
    """Return the largest sparsity whose accuracy loss is at most `margin` on every shift, with confidence 1 - `alpha`.

    `parent_correct` (shifts, n) and `pruned_correct` (sparsities, shifts, n) are booleans: whether the answer to each
    example is right, of the same examples in the same order. **`margin` is a share of examples in [0, 0.2]: 0.005 is
    half a percentage point** (`sinewy.limit` takes points). `sparsities` lie in [0, 1]; they are tested in ascending
    order, however given. `test` "exact" holds at any n (`sinewy.analysis.exact_noninferiority`); "score" (Tango 1998)
    and "wald" are asymptotic. `shifts` names the shifts. `beyond` also tests the sparsities after the first that fails,
    for their p-values to be looked at; without, those are NaN, which is quicker.
    The error of certifying a sparsity that loses the margin or more on some shift is at most `alpha`, however the
    shifts are correlated. Raises InputError for other shapes or ranges.
    """
    parent, pruned = (
        as_booleans(parent_correct, "parent_correct"),
        as_booleans(pruned_correct, "pruned_correct", "sparsities"),
    )
    levels = np.asarray(sparsities, np.float64)
    check_request(parent, pruned, levels, margin, alpha)
    if test not in noninferiority.TESTS:
        raise unknown_name("test", test, noninferiority.TESTS)
    names = tuple(shifts) if shifts is not None else tuple(f"shift {j}" for j in range(len(parent)))
    if len(names) != len(parent):
        raise InputError(f"{len(names)} names were given for {len(parent)} shifts.")
    order = np.argsort(levels, kind="stable")
    levels, pruned = levels[order], pruned[order]
    b, c = (parent & ~pruned).sum(axis=2), (~parent & pruned).sum(axis=2)
    n = parent.shape[1]
    p_values = np.full(b.shape, np.nan)
    for row, counts in enumerate(zip(b, c, strict=True)):
        each = zip(*counts, strict=True)
        p_values[row] = [noninferiority.p_value(test, lost, won, n, margin, alpha) for lost, won in each]
        if not beyond and (p_values[row] > alpha).any():
            break
    failed = np.flatnonzero((p_values > alpha).any(axis=1))
    stopped = int(failed[0]) if len(failed) else None
    certified = levels[-1] if stopped is None else levels[stopped - 1] if stopped else 0.0
    losses = (b - c) / n
    needed = _needed(b, c, n, p_values, stopped, margin, alpha)
    reason = _reason(levels, names, losses, p_values, stopped, needed, alpha, n)
    return Certificate(
        *(float(certified), tuple(levels.tolist()), names, float(margin), float(alpha), test, n, b, c),
        *(losses, p_values, stopped, reason, needed),
    )


def _needed(
    b: NDArray[np.int64],
    c: NDArray[np.int64],
    n: int,
    p_values: Array,
    stopped: int | None,
    margin: float,
    alpha: float,
) -> int | None:
    """Return how many examples the most demanding of the failed tests of the row asks for."""
    if stopped is None:
        return None
    failed = np.flatnonzero(p_values[stopped] > alpha)
    each = [noninferiority.examples_needed(int(b[stopped, j]), int(c[stopped, j]), n, margin, alpha) for j in failed]
    known = [number for number in each if number is not None]
    return max(known) if len(known) == len(each) else None


def _reason(
    levels: Array,
    names: tuple[str, ...],
    losses: Array,
    p_values: Array,
    stopped: int | None,
    needed: int | None,
    alpha: float,
    n: int,
) -> str:
    if stopped is None:
        return ALL_PASSED
    where, worst, alone = where_it_stopped(levels, names, losses, p_values, stopped, alpha)
    seen = f"{n:,} example{'' if n == 1 else 's'}"
    lost = 100 * float(losses[stopped, worst])
    change = f"a loss of {'' if alone else 'up to '}{lost:.2f}" if lost >= 0 else f"a gain of {-lost:.2f}"
    stop = f"{where}: {change} points"
    if needed is None:
        return f"{stop} on {seen}."
    return f"{stop} is within the margin, but {seen} cannot show it; about {needed:,} would."


def where_it_stopped(
    levels: Array, names: Sequence[str], losses: Array, p_values: Array, stopped: int, alpha: float
) -> tuple[str, int, bool]:
    """Return at which sparsity and shift a sequence stopped, in words, the shift that lost most, and if it is alone."""
    failed = np.flatnonzero(p_values[stopped] > alpha)
    worst = int(failed[np.argmax(losses[stopped, failed])])
    others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"It stopped at {levels[stopped]:.4g}, where {names[worst]}{others} failed", worst, not others


def as_booleans(values: ArrayLike, name: str, *before: str) -> NDArray[np.bool_]:
    """Return verdicts of shape (*`before`, shifts, n) as booleans; raises InputError for others."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} must be one array of booleans; its rows differ in length.") from error
    if array.dtype != np.bool_ and (array.dtype.kind not in "iu" or not np.isin(array, (0, 1)).all()):
        raise InputError(f"{name} must be booleans (whether each answer is right), got {array.dtype}.")
    axes = (*before, "shifts", "n")
    if array.ndim != len(axes) or 0 in array.shape:
        raise InputError(f"{name} must have shape ({', '.join(axes)}), none of them 0, got {array.shape}.")
    return array.astype(np.bool_)


def check_numbers(**values: Any) -> None:
    """Raise InputError, which names it, for a value that is not a number."""
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool):
            raise InputError(f"{name} must be a number, got {value!r}.")


def check_request(
    parent: NDArray[np.bool_], pruned: NDArray[np.bool_], levels: Array, margin: float, alpha: float
) -> None:
    """Raise InputError for verdicts, sparsities, a margin or a level that do not fit each other or their ranges."""
    if pruned.shape[1:] != parent.shape:
        raise InputError(
            f"pruned_correct has shifts and examples {pruned.shape[1:]}, parent_correct {parent.shape}; "
            "both models must have answered the same examples."
        )
    if levels.shape != (len(pruned),):
        raise InputError(f"sparsities has shape {levels.shape}, pruned_correct has {len(pruned)} sparsities.")
    if not ((levels >= 0) & (levels <= 1)).all() or len(np.unique(levels)) != len(levels):
        raise InputError(f"sparsities must differ and lie in [0, 1], got {levels.tolist()}.")
    check_numbers(margin=margin, alpha=alpha)
    if not 0 <= margin <= LARGEST_MARGIN:
        raise InputError(
            f"margin={margin} must be a share of examples in [0, {LARGEST_MARGIN}]: for half a percentage point, 0.005."
        )
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha={alpha} must lie between 0 and 0.5; 0.05 is usual.")
