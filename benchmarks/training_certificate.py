"""How often does the certificate about training claim too much, and how often would one seed's certificate do so?

    python benchmarks/training_certificate.py [--studies 1000]

Synthetic studies in which the mean loss of training is exactly the margin, so that every certificate is wrong. Seeds
differ in their own loss by `spread` points, and the answers of two seeds to one example correlate by 0, 0.5 or 0.95;
the column says the largest of the three error rates. "one seed" is `certify` on the first seed, which is about these
weights: read as a statement about training, it is wrong wherever seeds differ. "t" is the usual t-test over the seeds'
losses, which forgets that all seeds share their test set. Exits with 1 if `certify_training` is wrong more often than
alpha by more than three standard errors of the simulation, with 1 000 examples or more.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from sinewy.analysis import certify, certify_training

ALPHA = 0.05
CORRELATIONS = (0.0, 0.5, 0.95)
SIZES = ((200, 5.0, 10.0), (1000, 2.0, 6.0), (5000, 0.5, 2.0))
"""Examples, margin, and share of answers that differ, the last two in percent."""

Verdicts = NDArray[np.bool_]


def study(
    seeds: int,
    n: int,
    margin: float,
    discordant: float,
    spread: float,
    correlation: float,
    generator: np.random.Generator,
) -> tuple[Verdicts, Verdicts]:
    """Return what the parents and the pruned networks of all seeds get right, each of shape (seeds, n)."""
    losses = margin + spread * generator.standard_normal((seeds, 1))
    losses = losses.clip(-discordant, discordant)
    shared, own = generator.standard_normal((2, 1, n)), generator.standard_normal((2, seeds, n))
    uniform = special.ndtr(math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own)
    parent = uniform[0] < 0.8
    flips = np.where(parent, (discordant + losses) / 2 / 0.8, (discordant - losses) / 2 / 0.2)
    return parent, parent ^ (uniform[1] < flips)


def wrong(parent: Verdicts, pruned: Verdicts, margin: float) -> tuple[bool, bool, bool]:
    """Return whether each rule certifies: both kinds of seeds and examples, one seed, the t-test over seeds."""
    ours = certify_training(parent[:, None], pruned[None, :, None], [0.5], margin=margin, alpha=ALPHA)
    one = certify(parent[:1], pruned[None, :1], [0.5], margin=margin, alpha=ALPHA)
    losses = parent.mean(axis=1) - pruned.mean(axis=1)
    return (
        ours.sparsity > 0,
        one.sparsity > 0,
        bool(stats.ttest_1samp(losses, margin, alternative="less").pvalue <= ALPHA),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    print("| seeds | n | margin | spread of seeds | wrong: certify_training | one seed | t over seeds |")
    print("|---|---|---|---|---|---|---|", flush=True)
    failed = False
    for seeds in (2, 3, 5, 10):
        for n, margin, discordant in SIZES:
            for spread in (0.0, 0.3, 1.0):
                generator = np.random.default_rng([seeds, n, int(10 * spread)])
                rates = np.zeros(3)
                for correlation in CORRELATIONS:
                    given = (seeds, n, margin / 100, discordant / 100, spread / 100, correlation)
                    found = [wrong(*study(*given, generator), margin / 100) for _ in range(studies)]
                    rates = np.maximum(rates, np.mean(found, axis=0))
                failed |= n >= 1000 and rates[0] > allowed
                cells = " | ".join(f"{100 * rate:.1f} %" for rate in rates)
                print(f"| {seeds} | {n:,} | {margin:g} | {spread:g} | {cells} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
