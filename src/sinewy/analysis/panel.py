"""How every method fared under every condition, against the reference: accuracies, differences and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.alignment import align
from sinewy.analysis.bootstrap import example_means, percentile_interval, seed_means
from sinewy.analysis.estimate import Estimate
from sinewy.analysis.intervals import Spreads, apart
from sinewy.errors import InputError, unknown_name
from sinewy.outcomes import CLEAN, Condition
from sinewy.records import RunRecord

Array = NDArray[np.float64]

KEPT = 16
"""Methods whose draws are kept at hand."""


@dataclass(frozen=True)
class Panel:
    """Correctness of every method, seed, condition and example, and the questions that can be asked of it.

    All estimates share one set of bootstrap draws, so they agree with each other. `methods` starts with the reference;
    `kinds` are the corruptions in the order they were measured, without "clean"; `notes` says what was left out.
    """

    reference: str
    methods: tuple[str, ...]
    conditions: tuple[Condition, ...]
    runs: Mapping[str, Mapping[int, RunRecord]] = field(repr=False)
    n: int
    notes: list[str]
    resamples: int = 2000
    seed: int = 0
    level: float = 0.95

    @classmethod
    def build(
        cls, runs: Sequence[RunRecord], reference: str, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
    ) -> Panel:
        """Return the panel of the done `runs` against the method `reference`, paired by seed.

        What cannot be paired is left out and named in `notes`. Raises InputError for an unknown reference, runs
        that saw different examples, or a run that lacks a condition.
        """
        if resamples < 1:
            raise InputError(f"resamples must be at least 1, got {resamples}.")
        aligned = align(runs, reference)
        notes = list(aligned.notes)
        size = len(aligned.labels)
        return cls(reference, aligned.methods, aligned.conditions, aligned.runs, size, notes, resamples, seed, level)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of corruption, in the order they were measured."""
        return tuple(dict.fromkeys(kind for kind, _ in self.conditions if kind != CLEAN[0]))

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities at which any corruption was measured, ascending."""
        return tuple(sorted({severity for kind, severity in self.conditions if kind != CLEAN[0]}))

    @property
    def seeds(self) -> dict[str, tuple[int, ...]]:
        """The seeds of each method that are paired with the reference."""
        return {method: tuple(by_seed) for method, by_seed in self.runs.items()}

    def accuracy(self, method: str, kind: str | None = CLEAN[0], severity: int | None = None) -> Estimate:
        """Return the accuracy of `method`, in [0, 1], higher is better; see `difference` for `kind` and `severity`."""
        point, draws = self._accuracies(method, self.seeds_of(method), kind, severity)
        return self._estimate(point, draws.clip(0, 1), method)

    def corruption_accuracy(self, method: str, kinds: Sequence[str] | None = None) -> Estimate:
        """Return the mean over `kinds` (all by default) of the mean over severities of the accuracy, in [0, 1]."""
        share = self._share(tuple(kinds or self.kinds), None)
        point, draws = self._weighted(method, self.seeds_of(method), share)
        return self._estimate(point, draws.clip(0, 1), method)

    def spreads(self, method: str, kind: str | None = CLEAN[0]) -> Spreads:
        """Return the accuracy with what the choice of examples and that of seeds do to it, apart; see `difference`."""
        index = [self._position[method, seed] for seed in self.seeds_of(method)]
        share = self._share(self.kinds if kind is None else (kind,), None)
        own, used = self._points[index] @ share, share.nonzero()[0]
        draws = np.mean([self._draws[run][:, used] @ share[used] for run in index], axis=0)
        return apart(self._estimate(float(own.mean()), draws.clip(0, 1), method), own)

    def difference(
        self, method: str, kind: str | None = None, severity: int | None = None, *, against: str | None = None
    ) -> Estimate:
        """Return the accuracy of `method` minus that of the reference, in [-1, 1]; positive means `method` is better.

        `kind` None is the mean over all corruptions, "clean" the unshifted set; `severity` None is the mean over all.
        `against` is another method than the reference; they are compared over the seeds that both have.
        """
        other = against or self.reference
        seeds = [seed for seed in self.seeds_of(method) if seed in self.seeds_of(other)]
        if not seeds:
            raise InputError(f"{method} and {other} share no seed, so there is nothing to pair.")
        point, draws = self._accuracies(method, seeds, kind, severity)
        base, base_draws = self._accuracies(other, seeds, kind, severity)
        return self._estimate(point - base, (draws - base_draws).clip(-1, 1), method)

    def relative_gain(self, method: str, kind: str | None = None, severity: int | None = None) -> Estimate:
        """Return (accuracy - accuracy of the reference) / accuracy of the reference (wu2025, footnote 2), at least -1.

        Raises InputError where the accuracy of the reference is 0, for which the gain is not defined. A resample in
        which it is 0 counts as an infinite gain.
        """
        seeds = self.seeds_of(method)
        point, draws = self._accuracies(method, seeds, kind, severity)
        base, base_draws = self._accuracies(self.reference, seeds, kind, severity)
        if base == 0:
            raise InputError(
                f"the relative gain of {method} is not defined on {kind or 'the mean'}, severity {severity or 'any'}: "
                f"{self.reference} gets nothing right there. Use the difference."
            )
        safe = np.where(base_draws > 0, base_draws, 1)
        return self._estimate(point / base - 1, np.where(base_draws > 0, draws / safe - 1, np.inf), method)

    def sparsity(self, method: str) -> float:
        """Return the mean over seeds of the sparsity that `method` reached, in [0, 1]."""
        return fmean(self.runs[method][seed].sparsity for seed in self.seeds_of(method))

    def table(self) -> list[dict[str, Any]]:
        """Return one JSON-able row per method, reference first: see `row`."""
        return [self.row(method) for method in self.methods]

    def row(self, method: str) -> dict[str, Any]:
        """Return what the main table says of `method`; estimates are dicts (see `Estimate.as_dict`), None if unknown.

        FLOPs are means over seeds; the relative ones are shares of the reference's.
        """
        compared = method != self.reference
        return {
            "method": method,
            "reference": not compared,
            "seeds": list(self.seeds_of(method)),
            "n": self.n,
            "sparsity": self.sparsity(method),
            "clean_accuracy": self.accuracy(method).as_dict(),
            "corruption_accuracy": self.corruption_accuracy(method).as_dict() if self.kinds else None,
            "clean_difference": self.difference(method, CLEAN[0]).as_dict() if compared else None,
            "corruption_difference": self.difference(method).as_dict() if compared and self.kinds else None,
            **self._flops(method, "inference_flops"),
            **self._flops(method, "training_flops"),
        }

    def gains(self) -> list[dict[str, Any]]:
        """Return one JSON-able row per method but the reference, kind and severity: accuracies, difference, gain.

        The relative gain is None where the reference gets nothing right.
        """
        cells = [condition for condition in self.conditions if condition != CLEAN]
        return [self._cell(method, *condition) for method in self.methods[1:] for condition in cells]

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """Return the seeds of `method` that are paired with the reference; raises InputError for an unknown method."""
        if method not in self.runs:
            raise unknown_name("method", method, self.methods)
        return tuple(self.runs[method])

    def _cell(self, method: str, kind: str, severity: int) -> dict[str, Any]:
        point, _ = self._accuracies(self.reference, self.seeds_of(method), kind, severity)
        return {
            "method": method,
            "kind": kind,
            "severity": severity,
            "accuracy": self.accuracy(method, kind, severity).value,
            "reference_accuracy": point,
            "difference": self.difference(method, kind, severity).as_dict(),
            "relative_gain": self.relative_gain(method, kind, severity).as_dict() if point > 0 else None,
        }

    def _flops(self, method: str, what: str) -> dict[str, float | None]:
        own, base = self._mean_cost(method, what), self._mean_cost(self.reference, what)
        return {what: own, f"relative_{what}": own / base if own is not None and base else None}

    def _mean_cost(self, method: str, what: str) -> float | None:
        costs = [getattr(run.cost, what) if run.cost else None for run in self.runs[method].values()]
        known = [cost for cost in costs if cost is not None]
        return fmean(known) if known and len(known) == len(costs) else None

    def _accuracies(
        self, method: str, seeds: Sequence[int], kind: str | None, severity: int | None
    ) -> tuple[float, Array]:
        """Return the accuracy of `method` over `seeds` and its bootstrap draws, shape (resamples,)."""
        kinds = self._kinds_at(severity) if kind is None else (kind,)
        return self._weighted(method, seeds, self._share(kinds, severity))

    def _kinds_at(self, severity: int | None) -> tuple[str, ...]:
        """Return the kinds measured at a severity; kinds of one strength are measured at 1 only."""
        some = tuple(kind for kind in self.kinds if severity is None or (kind, severity) in self.conditions)
        return some or self.kinds

    def _weighted(self, method: str, seeds: Sequence[int], share: Array) -> tuple[float, Array]:
        points, draws = self._over_seeds(method, tuple(seeds))
        used = share.nonzero()[0]
        return float(points @ share), draws[:, used] @ share[used]

    def _over_seeds(self, method: str, seeds: tuple[int, ...]) -> tuple[Array, Array]:
        """Return the accuracy on every condition as the mean over `seeds`, and its draws, (resamples, conditions).

        The last few are kept: most questions about a method come one after the other.
        """
        key = (method, seeds)
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            index = [self._position[method, seed] for seed in seeds]
            self._kept[key] = self._points[index].mean(axis=0), seed_means(self._draws[index], seed=self.seed)
        return self._kept[key]

    def _share(self, kinds: Sequence[str], severity: int | None) -> Array:
        """Return the weight of each condition in the mean over `kinds` of the mean over severities (or at one)."""
        if not kinds:
            raise InputError(
                "no corruption was measured, so there is no corruption accuracy; audit with the corruption probe."
            )
        share = np.zeros(len(self.conditions))
        for kind in kinds:
            cells = [i for s, i in self._columns.get(kind, ()) if severity in (None, s)]
            if not cells:
                raise self._no_such_condition(kind, severity)
            share[cells] += 1 / len(cells) / len(kinds)
        return share

    def _no_such_condition(self, kind: str, severity: int | None) -> InputError:
        measured = sorted(s for k, s in self.conditions if k == kind)
        if not measured:
            return unknown_name("corruption", kind, (CLEAN[0], *self.kinds))
        return InputError(f"'{kind}' was not measured at severity {severity}; measured: {measured}.")

    def _estimate(self, point: float, draws: Array, method: str) -> Estimate:
        low, high = percentile_interval(draws, self.level)
        return Estimate(point, low, high, self.n, len(self.runs[method]), self.level)

    @cached_property
    def _columns(self) -> dict[str, list[tuple[int, int]]]:
        """The severities of each kind, with the places of these conditions."""
        found: dict[str, list[tuple[int, int]]] = {}
        for index, (kind, severity) in enumerate(self.conditions):
            found.setdefault(kind, []).append((severity, index))
        return found

    @cached_property
    def _kept(self) -> dict[tuple[str, tuple[int, ...]], tuple[Array, Array]]:
        return {}

    @cached_property
    def _position(self) -> dict[tuple[str, int], int]:
        pairs = [(method, seed) for method in self.methods for seed in self.runs[method]]
        return {pair: index for index, pair in enumerate(pairs)}

    @cached_property
    def _correct(self) -> list[NDArray[np.bool_]]:
        """One array of shape (examples, conditions) per run, in the order of `_position`."""
        runs = [self.runs[method][seed] for method, seed in self._position]
        return [np.stack([run.outcomes[c].correct for c in self.conditions], axis=1) for run in runs]

    @cached_property
    def _points(self) -> Array:
        return np.stack([correct.mean(axis=0) for correct in self._correct])

    @cached_property
    def _draws(self) -> NDArray[np.float32]:
        """Resampled accuracies, shape (runs, resamples, conditions)."""
        return example_means(self._correct, resamples=self.resamples, seed=self.seed)
