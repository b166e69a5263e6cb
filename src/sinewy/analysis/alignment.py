"""Which runs can be compared: same examples, same conditions, same seeds as the reference; what is left out is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import InputError, unknown_name
from sinewy.outcomes import CLEAN, Condition
from sinewy.records import RunRecord


@dataclass(frozen=True)
class Alignment:
    """Runs that can be compared, by method and then by seed; `methods` starts with the reference.

    Every run holds every one of `conditions`, with the same labels in the same order. `notes` says, in sentences, what
    was left out and why.
    """

    methods: tuple[str, ...]
    conditions: tuple[Condition, ...]
    runs: dict[str, dict[int, RunRecord]]
    labels: NDArray[np.int32]
    notes: tuple[str, ...]


def align(runs: Sequence[RunRecord], reference: str) -> Alignment:
    """Return the done runs that can be compared with the method `reference`, paired by seed.

    A run that is not done, a seed the reference lacks, and a method that shares no seed with it are left out and noted.
    Raises InputError if the reference is not among the done runs, two runs share method and seed, a run lacks a
    condition that another has, or the labels differ.
    """
    notes = [f"{describe(run)} is {run.state} and is left out." for run in runs if run.state != "done"]
    done = _by_method([run for run in runs if run.state == "done"])
    if reference not in done:
        raise unknown_name("reference method", reference, done, "It must be one of the methods with a finished run.")
    paired = _paired(done, reference, notes)
    everything = [run for by_seed in paired.values() for run in by_seed.values()]
    conditions = _shared_conditions(everything)
    return Alignment(tuple(paired), conditions, paired, _shared_labels(everything, conditions), tuple(notes))


def describe(run: RunRecord) -> str:
    """Return how a run is called in sentences."""
    return f"run '{run.id}' ({run.method}, seed {run.seed})"


def _by_method(runs: Sequence[RunRecord]) -> dict[str, dict[int, RunRecord]]:
    methods: dict[str, dict[int, RunRecord]] = {}
    for run in runs:
        by_seed = methods.setdefault(run.method, {})
        if run.seed in by_seed:
            twin = by_seed[run.seed].id
            raise InputError(f"{describe(run)} has the same method and seed as run '{twin}'; name the methods apart.")
        by_seed[run.seed] = run
    return methods


def _paired(done: dict[str, dict[int, RunRecord]], reference: str, notes: list[str]) -> dict[str, dict[int, RunRecord]]:
    """Return the methods, reference first, each with the seeds it shares with the reference; append to `notes`."""
    base = done[reference]
    paired = {reference: dict(sorted(base.items()))}
    for method, by_seed in done.items():
        if method == reference:
            continue
        shared = {seed: by_seed[seed] for seed in sorted(by_seed) if seed in base}
        if not shared:
            notes.append(f"{method} shares no seed with {reference} and is left out of every comparison.")
            continue
        paired[method] = shared
        notes.extend(
            f"{method}: seed {s} has no run of {reference} to pair with and is left out."
            for s in by_seed
            if s not in base
        )
        notes.extend(
            f"{method}: seed {s} of {reference} has no counterpart here; compared over the others."
            for s in base
            if s not in by_seed
        )
    return paired


def _shared_conditions(runs: Sequence[RunRecord]) -> tuple[Condition, ...]:
    conditions = tuple(dict.fromkeys(condition for run in runs for condition in run.outcomes))
    for run in runs:
        for kind, severity in dict.fromkeys((CLEAN, *conditions)):
            if (kind, severity) not in run.outcomes:
                what = f"'{kind}' at severity {severity}" if severity else f"the '{kind}' set"
                raise InputError(
                    f"{describe(run)} was not measured on {what}, other runs were; finish its audit first."
                )
    return conditions


def _shared_labels(runs: Sequence[RunRecord], conditions: Sequence[Condition]) -> NDArray[np.int32]:
    labels = runs[0].outcomes[CLEAN].label
    if len(labels) == 0:
        raise InputError(f"{describe(runs[0])} was measured on no example; audit it on a set that is not empty.")
    for run in runs:
        for kind, severity in conditions:
            if not np.array_equal(run.outcomes[kind, severity].label, labels):
                raise InputError(
                    f"{describe(run)} saw other examples on '{kind}' at severity {severity} than "
                    f"{describe(runs[0])} on the clean set; audit both on the same set, in the same order."
                )
    return labels
