"""How fast do images reach a model? Batches of bytes against per-sample Pillow transforms, in the same run on one core.

    python benchmarks/loading.py [--images 20000] [--batch 128]

CIFAR-shaped random images, crop, flip and normalise. Prints images per second and the ratio; exits with 1 below a
ratio of 6 or 30 000 images per second.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torchvision.transforms as T
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sinewy.data import ImageSet
from sinewy.data.batches import batches

LEAST_RATIO, LEAST_SPEED = 6.0, 30_000.0


def random_set(images: int) -> ImageSet:
    """Return CIFAR-shaped random pixels."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, 10, images)
    classes = tuple(str(i) for i in range(10))
    return ImageSet(pixels, labels, "random", "train", classes, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


class PillowSet(Dataset[Any]):
    """The customary way: each image goes through Pillow and torchvision's transforms by itself."""

    def __init__(self, data: ImageSet) -> None:
        self.pixels, self.labels = np.ascontiguousarray(data.images.transpose(0, 2, 3, 1)), data.labels
        steps = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(data.mean, data.std)]
        self.transform = T.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def images_per_second(make: Callable[[], Iterable[Any]], repeats: int) -> float:
    """Return the best of some passes over all batches."""
    speeds = []
    for _ in range(repeats):
        start, seen = time.perf_counter(), 0
        for images, _ in make():
            seen += len(images)
        speeds.append(seen / (time.perf_counter() - start))
    return max(speeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = random_set(options.images)
    few = data.first(min(len(data), 5000))
    ours = images_per_second(lambda: batches(data, batch=options.batch, seed=0, epoch=0, augment="crop-flip"), 5)
    theirs = images_per_second(lambda: DataLoader(PillowSet(few), batch_size=options.batch, shuffle=True), 2)
    print(f"sinewy.data.batches       {ours:10,.0f} images/s on one core")
    print(f"DataLoader with Pillow    {theirs:10,.0f} images/s on one core")
    print(f"ratio                     {ours / theirs:10.1f} (at least {LEAST_RATIO:g})")
    return 0 if ours / theirs >= LEAST_RATIO and ours >= LEAST_SPEED else 1


if __name__ == "__main__":
    sys.exit(main())
