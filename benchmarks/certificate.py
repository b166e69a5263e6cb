"""How often does a certificate claim too much, how often does the usual rule, and what does the guarantee cost?

    python benchmarks/certificate.py [--studies 2000] [--json]

Synthetic studies with known truth. The parent is right on 80 % of the examples; at each sparsity and shift a share
`discordant` of the answers differs, so that the true loss is the one written; examples are hard or easy on all shifts
alike (correlation 0.5 of the latent hardness, 0 and 0.9 in two of the scenarios). Each study is judged by

    exact   sinewy.analysis.certify, the default test
    score   the same with Tango's score test
    naive   the largest sparsity whose measured loss is at most the margin on every shift: prune potential, what
            everybody reports

"wrong" is the share of studies that name a sparsity at which the true loss reaches the margin on some shift; "found"
the share that name the largest sparsity that is truly safe, or a larger one. Exits with 1 if "exact" is wrong more
often than alpha by more than three standard errors of the simulation.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sinewy.analysis import certify

ALPHA = 0.05
RULES = ("exact", "score", "naive")


@dataclass(frozen=True)
class Scenario:
    """True losses, in points, per sparsity and shift, on n examples."""

    name: str
    n: int
    margin: float
    discordant: float
    losses: tuple[tuple[float, ...], ...]
    correlation: float = 0.5

    @property
    def sparsities(self) -> list[float]:
        """0.2, 0.36, ... as `sinewy.limit` has them."""
        return [1 - 0.8 ** (k + 1) for k in range(len(self.losses))]

    @property
    def safe(self) -> float:
        """The largest sparsity up to which every loss is below the margin."""
        pairs = zip(self.sparsities, self.losses, strict=True)
        bad = next((i for i, (_, row) in enumerate(pairs) if max(row) >= self.margin), len(self.losses))
        return ([0.0, *self.sparsities])[bad]


SCENARIOS = (
    Scenario("at the margin, small n", 100, 5.0, 10.0, ((5.0,), (5.0,), (5.0,))),
    Scenario("at the margin", 1000, 2.0, 6.0, ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 2.0))),
    Scenario("at the margin, independent", 1000, 2.0, 6.0, ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 2.0)), 0.0),
    Scenario("at the margin, alike", 1000, 2.0, 6.0, ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 2.0)), 0.9),
    Scenario("four shifts at the margin", 500, 2.0, 4.0, ((0.5, 0.5, 0.5, 0.5), (2.0, 2.0, 2.0, 2.0))),
    Scenario("just above", 1000, 2.0, 6.0, ((0.0, 0.5), (0.5, 1.0), (2.2, 2.4), (3.0, 4.0))),
    Scenario("far above", 1000, 2.0, 12.0, ((0.0, 0.2), (0.2, 0.4), (6.0, 9.0), (9.0, 11.0))),
    Scenario("rare disagreement", 2000, 0.5, 0.6, ((0.0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.6))),
    Scenario("CIFAR-10 size, half a point", 10000, 0.5, 2.0, ((-0.1, 0.0), (0.0, 0.1), (0.2, 0.5), (0.6, 1.5))),
)


def study(scenario: Scenario, generator: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what the parent and the pruned models get right: (shifts, n) and (sparsities, shifts, n)."""
    losses, discordant = np.array(scenario.losses) / 100, scenario.discordant / 100
    levels, shifts = losses.shape
    hardness = generator.standard_normal((2, scenario.n), dtype=np.float32)[[0] + levels * [1], None]
    own = generator.standard_normal((levels + 1, shifts, scenario.n), dtype=np.float32)
    share = scenario.correlation
    uniform = special.ndtr(math.sqrt(share) * hardness + math.sqrt(1 - share) * own)
    parent = uniform[0] < 0.8
    lost, won = (discordant + losses) / 2 / 0.8, (discordant - losses) / 2 / 0.2
    return parent, parent ^ (uniform[1:] < np.where(parent, lost[..., None], won[..., None]))


def named(scenario: Scenario, parent: NDArray[np.bool_], pruned: NDArray[np.bool_]) -> dict[str, float]:
    """Return the sparsity that each rule names."""
    margin = scenario.margin / 100
    within = ((parent.mean(axis=1) - pruned.mean(axis=2)) <= margin + 1e-9).all(axis=1)
    naive = max((s for s, ok in zip(scenario.sparsities, within, strict=True) if ok), default=0.0)
    tests = {
        test: certify(parent, pruned, scenario.sparsities, margin=margin, alpha=ALPHA, test=test).sparsity
        for test in ("exact", "score")
    }
    return tests | {"naive": naive}


def simulate(scenario: Scenario, studies: int) -> dict[str, Any]:
    """Return how often each rule was wrong, and how often it found what is safe."""
    generator = np.random.default_rng([studies, scenario.n, len(scenario.name)])
    found = [named(scenario, *study(scenario, generator)) for _ in range(studies)]
    row: dict[str, Any] = {"scenario": scenario.name, "n": scenario.n, "margin": scenario.margin}
    for rule in RULES:
        claims = np.array([result[rule] for result in found])
        row[f"{rule}_wrong"] = float((claims > scenario.safe + 1e-12).mean())
        row[f"{rule}_found"] = float((claims >= scenario.safe - 1e-12).mean()) if scenario.safe else None
    return row


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    allowed = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / options.studies)
    rows = []
    if not options.json:
        print("| scenario | n | margin | wrong: exact | score | naive | found: exact | score | naive |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for scenario in SCENARIOS:
        rows.append(simulate(scenario, options.studies))
        if not options.json:
            row = rows[-1]
            shares = [row[f"{rule}_{what}"] for what in ("wrong", "found") for rule in RULES]
            cells = " | ".join("–" if share is None else f"{100 * share:.1f} %" for share in shares)
            print(f"| {row['scenario']} | {row['n']:,} | {row['margin']:g} | {cells} |", flush=True)
    if options.json:
        print(json.dumps({"studies": options.studies, "alpha": ALPHA, "rows": rows}, indent=2))
    sys.exit(any(row["exact_wrong"] > allowed for row in rows))


if __name__ == "__main__":
    main()
