"""How fast is the interval of a paired difference, beside a loop over resamples?

    python benchmarks/bootstrap.py [--rounds 5] [--json]

10 000 resamples of 10 000 paired examples. All times are process CPU time on one thread, variants in turn. The loop
draws 10 000 indices and takes a mean, 10 000 times; it is run for 500 resamples and its time multiplied by 20.

- Verdicts, whose differences are -1, 0 or 1, as a percentile interval and as BCa; with the examples of 10 classes
  resampled apart; and of 5 seeds. Also beside scipy.stats.bootstrap, which is vectorised (500 resamples a batch).
- Losses, of which no two are equal.

Exits with 1 if a target is missed; one of them is a second per pair.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys

import numpy as np
from scipy import stats

import measuring
from sinewy.analysis.intervals import mean_interval

N, RESAMPLES, SHORT = 10_000, 10_000, 500
VERDICTS_TARGET, CLASSES_TARGET, SEEDS_TARGET, LOSSES_TARGET, SCIPY_TARGET = 0.02, 0.1, 0.2, 1.1, 0.02


def loop(values: np.ndarray, resamples: int) -> tuple[float, float]:
    """Return the percentile interval the plain way."""
    generator = np.random.default_rng(0)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    return tuple(np.quantile(means, [0.025, 0.975]))


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=5)
    generator = np.random.default_rng(0)
    verdicts = generator.choice([-1.0, 0.0, 1.0], N, p=[0.03, 0.92, 0.05])
    seeds = generator.choice([-1.0, 0.0, 1.0], (5, N), p=[0.03, 0.92, 0.05])
    losses, classes = generator.exponential(size=N), generator.integers(0, 10, N)
    times = measuring.alternate(
        {
            "verdicts, percentile": lambda: mean_interval(verdicts),
            "verdicts, BCa": lambda: mean_interval(verdicts, method="bca"),
            "verdicts by class": lambda: mean_interval(verdicts, strata=classes),
            "5 seeds": lambda: mean_interval(seeds),
            "losses, BCa": lambda: mean_interval(losses, method="bca"),
            "loop": lambda: loop(losses, SHORT),
            "scipy": lambda: stats.bootstrap(
                (verdicts,), np.mean, n_resamples=SHORT, batch=SHORT, method="percentile", rng=0
            ),
        },
        options.rounds,
    )
    for name in ("loop", "scipy"):
        times[name] = [seconds * RESAMPLES / SHORT for seconds in times[name]]
    targets = {
        "verdicts, percentile": VERDICTS_TARGET,
        "verdicts, BCa": VERDICTS_TARGET,
        "verdicts by class": CLASSES_TARGET,
        "5 seeds": SEEDS_TARGET,
        "losses, BCa": LOSSES_TARGET,
    }
    spent = measuring.milliseconds(times)
    goals = [
        measuring.goal(
            f"{name} / loop over resamples",
            measuring.ratio(times, name, "loop"),
            target,
            ms={name: spent[name], "loop": spent["loop"]},
        )
        for name, target in targets.items()
    ]
    against_scipy = measuring.ratio(times, "verdicts, percentile", "scipy")
    goals.append(measuring.goal("verdicts, percentile / scipy.stats.bootstrap", against_scipy, SCIPY_TARGET))
    slowest = max(spent[name] for name in targets) / 1000
    goals.append(measuring.goal("seconds of the slowest pair", slowest, 1.0))
    return measuring.finish(goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
