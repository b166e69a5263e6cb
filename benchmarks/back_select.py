"""How much faster is BackSelect by gradients than the exact form, and how much of its order does it keep?

    python benchmarks/back_select.py [--rounds 3] [--json]

All times are process CPU time on one thread.

- Time per 32 x 32 image on a ResNet-20, norms folded: the exact form makes 1024 * 1025 / 2 forward passes, of which 256
  are timed; the gradient form at 8 and at 16 pixels a step is run whole, over it.
- Agreement on a convolutional network trained here on the embedded digits, 16 x 16 pixels: Spearman's correlation of
  the pixels' ranks with the exact form's, mean over 12 images; the share of the 10 % most important pixels that both
  keep; and the confidence on them over that of the exact form. All as 1 - agreement, so that lower is better. Ranks of
  pixels that hardly matter are nearly arbitrary: with few candidates, too, the first is much the lowest.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

import measuring
from sinewy.data.digits import load
from sinewy.metrics.back_select import back_select, keep_informative
from sinewy.models import build
from sinewy.models.freeze import freeze

PASSES = 1024 * 1025 // 2
IMAGES, AGREEING = 16, 12
FORMS = {
    "gradient, step 1": {"step": 1},
    "gradient, step 2": {"step": 2},
    "filtered, 32 candidates": {"form": "filtered", "step": 1, "candidates": 32},
}


def speed(rounds: int) -> list[measuring.Goal]:
    """Return the time of the gradient form over that of the exact one, per image."""
    model = freeze(build("resnet20", classes=10))
    images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    probes = torch.randn(256, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def forward() -> None:
        with torch.no_grad():
            for part in torch.split(probes, 64):
                model(part)

    times = measuring.alternate(
        {
            "step 8": lambda: back_select(model, images, step=8),
            "step 16": lambda: back_select(model, images, step=16),
            "exact": forward,
        },
        rounds,
    )
    times["exact"] = [seconds * PASSES / len(probes) for seconds in times["exact"]]
    for name in ("step 8", "step 16"):
        times[name] = [seconds / IMAGES for seconds in times[name]]
    spent = measuring.milliseconds(times)
    return [
        measuring.goal(
            f"gradient form, {name} / exact form, ResNet-20",
            measuring.ratio(times, name, "exact"),
            0.001,
            ms={name: spent[name], "exact": spent["exact"]},
            hours_for_2000_images_and_7_networks=round(2000 * 7 * spent[name] / 3.6e6, 2),
        )
        for name in ("step 8", "step 16")
    ]


def trained() -> tuple[nn.Module, Tensor]:
    """Return a network that reads the digits, and test digits as it is fed them."""
    torch.manual_seed(0)
    data = load()
    (x, y), (test, _) = (
        (F.avg_pool2d(torch.from_numpy(part.images).float() / 255, 2) - 0.3, torch.from_numpy(part.labels))
        for part in (data.train, data.test)
    )
    model = build("convnet", classes=10, width=16)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(12):
        for rows in torch.split(torch.randperm(len(x)), 32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return freeze(model), test[:AGREEING]


def agreement() -> list[measuring.Goal]:
    """Return how far the forms are from the exact order, and their times on these images over the exact form's."""
    model, images = trained()
    with torch.no_grad():
        classes = model(images).argmax(1)

    def confidence(pixels: Tensor) -> float:
        with torch.no_grad():
            kept = model(keep_informative(images, pixels)).softmax(1)
        return float(kept.gather(1, classes[:, None]).mean())

    begin = time.process_time()
    exact = back_select(model, images, form="exact").pixels
    whole = time.process_time() - begin
    goals = []
    for name, options in FORMS.items():
        begin = time.process_time()
        pixels = back_select(model, images, **options).pixels
        share = (time.process_time() - begin) / whole
        pairs = zip(exact.argsort(1).numpy(), pixels.argsort(1).numpy(), strict=True)
        ranks = float(np.mean([spearmanr(a, b).statistic for a, b in pairs]))
        kept = confidence(pixels) / confidence(exact)
        tenth = round(0.1 * pixels.shape[1])
        both = (exact[:, -tenth:, None] == pixels[:, None, -tenth:]).any(2).float().mean()
        goals.append(measuring.goal(f"1 - rank correlation, {name}", 1 - ranks, None, time_over_exact=round(share, 4)))
        goals.append(measuring.goal(f"1 - share of the most important 10 % in common, {name}", 1 - float(both), None))
        goals.append(measuring.goal(f"1 - relative confidence on 10 % of the pixels, {name}", 1 - kept, None))
    return goals


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=3)
    return measuring.finish([*speed(options.rounds), *agreement()], as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
