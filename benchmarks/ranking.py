"""Does the order of the corruptions by error, for a network trained here, agree with the published ones?

    python benchmarks/ranking.py RUN [--limit 2000] [--root FOLDER] [--json]

RUN is a folder of a CIFAR-10 network that `sinewy run` trained. Its errors under the 19 kinds, mean over severities,
are ranked beside those of two networks on the published CIFAR-10-C files: the standard WRN-28-10 of RobustBench (15
kinds, clean error 5.2 %) and the baseline of Mintun et al. 2021 (19 kinds, clean error 5.3 %). Printed is the rank
correlation, which taking the clean error off all kinds would not change, its 95 % interval under resampled kinds, and
the kinds whose rank differs by 4 and more. There is no target: what it says is in docs/results/corruption-ranking.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import sinewy as sw
from sinewy.shifts import BENCHMARK, CORRUPTIONS

WRN_28_10 = {
    "gaussian_noise": 53.0, "shot_noise": 41.2, "impulse_noise": 44.7, "defocus_blur": 18.5, "glass_blur": 49.0,
    "motion_blur": 22.3, "zoom_blur": 24.4, "snow": 18.1, "frost": 25.0, "fog": 11.2, "brightness": 6.7,
    "contrast": 17.4, "elastic_transform": 16.2, "pixelate": 28.0, "jpeg_compression": 22.4,
}  # fmt: skip
"""Errors in percent on the published files; RobustBench (Croce et al. 2021), model "Standard"."""

BASELINE = {
    "gaussian_noise": 54.43, "shot_noise": 42.02, "impulse_noise": 44.19, "defocus_blur": 18.75, "glass_blur": 47.49,
    "motion_blur": 23.29, "zoom_blur": 25.34, "snow": 18.70, "frost": 22.96, "fog": 12.13, "brightness": 6.73,
    "contrast": 21.40, "elastic_transform": 17.25, "pixelate": 27.48, "jpeg_compression": 21.91, "speckle_noise": 38.31,
    "gaussian_blur": 31.13, "spatter": 15.66, "saturate": 8.38,
}  # fmt: skip
"""Errors in percent on the published files; Mintun et al. 2021, baseline network of C-bar."""

PUBLISHED = {"WRN-28-10": WRN_28_10, "baseline of C-bar": BASELINE}
FAR = 4
"""Ranks apart that are worth naming."""


def errors(run: Path, limit: int, root: str | None) -> tuple[float, dict[str, float]]:
    """Return the clean error and the error under each kind, mean over severities, in percent."""
    test = sw.data.load("cifar10", root=root).test.first(limit)
    said = json.loads((run / "cell.json").read_text())["model"]
    model = sw.models.build(said.pop("name"), classes=len(test.classes), **said)
    sw.load_model(run / "model.safetensors", model)
    found = sw.audit(model.eval(), test, kinds=list(CORRUPTIONS)).outcomes("model")
    wrong = {at: 100 * float((each.prediction != each.label).mean()) for at, each in found.items()}
    mean = {kind: float(np.mean([wrong[kind, severity] for severity in range(1, 6)])) for kind in CORRUPTIONS}
    return next(error for (kind, severity), error in wrong.items() if severity == 0), mean


def agreement(own: dict[str, float], published: dict[str, float]) -> dict[str, Any]:
    """Return Spearman's correlation over the kinds both have, its 95 % interval under resampled kinds, and outliers."""
    kinds = [kind for kind in own if kind in published]
    first, second = np.array([[table[kind] for kind in kinds] for table in (own, published)])
    ranks = stats.rankdata(-first) - stats.rankdata(-second)
    drawn = np.random.default_rng(0).integers(0, len(kinds), (2000, len(kinds)))
    resampled = [stats.spearmanr(first[pick], second[pick]).statistic for pick in drawn]
    return {
        "kinds": len(kinds),
        "spearman": float(stats.spearmanr(first, second).statistic),
        "interval": [float(bound) for bound in np.nanpercentile(resampled, (2.5, 97.5))],
        "kendall": float(stats.kendalltau(first, second).statistic),
        "apart": {kind: int(by) for kind, by in zip(kinds, ranks, strict=True) if abs(by) >= FAR},
    }


def show(clean: float, own: dict[str, float], found: dict[str, dict[str, Any]]) -> None:
    """Print the table, hardest first, and the correlations."""
    print(f"clean error {clean:.1f} %\n{'kind':18} {'here':>6} {'- clean':>8} {'WRN':>6} {'C-bar':>6}")
    for kind in sorted(own, key=own.__getitem__, reverse=True):
        others = " ".join(f"{table[kind]:6.1f}" if kind in table else f"{'':>6}" for table in PUBLISHED.values())
        print(f"{kind:18} {own[kind]:6.1f} {own[kind] - clean:8.1f} {others}")
    for name, said in found.items():
        apart = ", ".join(f"{kind} {by:+d}" for kind, by in said["apart"].items()) or "none"
        low, high = said["interval"]
        print(f"{name}, {said['kinds']} kinds: Spearman {said['spearman']:.2f} [{low:.2f}, {high:.2f}], ", end="")
        print(f"Kendall {said['kendall']:.2f}; ranks {FAR} or more apart (+ easier here): {apart}")


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Rank corruptions by error beside published networks.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--limit", type=int, default=2000, help="test images")
    parser.add_argument("--root", help="folder of the data files")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clean, own = errors(options.run, options.limit, options.root)
    found = {name: agreement(own, table) for name, table in PUBLISHED.items()}
    found["WRN-28-10 beside the baseline of C-bar"] = agreement(WRN_28_10, BASELINE)
    if options.json:
        print(json.dumps({"clean": clean, "errors": own, "benchmark": list(BENCHMARK), "agreement": found}, indent=2))
    else:
        show(clean, own, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
