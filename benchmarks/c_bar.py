"""How long the kinds of C-bar and MNIST-C take per image (process CPU time, one thread).

    python benchmarks/c_bar.py [--rounds 5] [--json]

The targets are shares of what the published generator of C-bar (Mintun et al. 2021), which loops over pixels in
Python, needs: 46.7 ms per image for CIFAR-10-C-bar, and for ImageNet-C-bar 97 days for its 2.5 million images. These
were measured elsewhere, so a miss by little says something of the machine too. Of MNIST-C no time is known, so it has
no target. The median round counts. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
from functools import partial

import torch

from corruptions import photos
from measuring import Goal, alternate, finish, goal, milliseconds, options
from sinewy.shifts import MNIST_C, corrupt
from sinewy.shifts.c_bar_levels import LEVELS

SIDE = {"cifar": 32, "imagenet": 224}
IMAGES = {"cifar": 256, "imagenet": 4}
PUBLISHED_MS = {"cifar": 46.7, "imagenet": 97 * 24 * 3600 * 1000 / 2.5e6}
FASTER = {"cifar": 200, "imagenet": 100}
SET = {"cifar": "CIFAR-10-C-bar", "imagenet": "ImageNet-C-bar"}
DIGITS = 512


def per_image(kinds: list[str], images: torch.Tensor, severity: int, preset: str, rounds: int) -> dict[str, float]:
    """Return the milliseconds per image of each kind."""
    variants = {kind: partial(corrupt, images, kind, severity, preset=preset) for kind in kinds}
    return {kind: ms / len(images) for kind, ms in milliseconds(alternate(variants, rounds)).items()}


def c_bar(preset: str, rounds: int) -> Goal:
    """Return the mean over the ten kinds of one set, at severity 3, against its target."""
    ms = per_image(list(LEVELS[preset]), photos(IMAGES[preset], SIDE[preset]), 3, preset, rounds)
    mean = statistics.mean(ms.values())
    target = PUBLISHED_MS[preset] / FASTER[preset]
    size = f"{SIDE[preset]}x{SIDE[preset]}"
    name = f"{SET[preset]}, ms per image, mean of ten kinds at {size} ({PUBLISHED_MS[preset] / mean:.0f} times faster)"
    return goal(name, mean, target, ms=ms)


def mnist_c(rounds: int) -> Goal:
    """Return the mean over the fifteen kinds of MNIST-C; there is no target."""
    digits = photos(DIGITS, 28)[:, :1].expand(-1, 3, -1, -1).contiguous()
    ms = per_image(list(MNIST_C), digits, 1, "cifar", rounds)
    return goal("MNIST-C, ms per image, mean of fifteen kinds at 28x28", statistics.mean(ms.values()), None, ms=ms)


def main() -> int:
    """Measure, print, and return the exit code."""
    chosen = options(__doc__, rounds=5)
    return finish([*(c_bar(preset, chosen.rounds) for preset in SIDE), mnist_c(chosen.rounds)], as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main())
