"""What does an audit cost beyond the forward passes it cannot do without?

    python benchmarks/audit_overhead.py [--rounds 3] [--json]

`sinewy.audit(sparse, data, against=dense)` of two ResNet-20s on 256 random images of 32 x 32, under all corruptions at
five severities, over the baseline "bare forward passes": the same two models, frozen the same way, on the same number
of images in batches of the same size, already corrupted, normalised and in the right memory format. Process CPU time on
one thread; one round is half a minute of each, so few rounds are enough. Exits with 1 if the target is missed.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import nn

import measuring
import sinewy
from sinewy.data import ImageSet
from sinewy.data.batches import normalise
from sinewy.models.freeze import freeze
from sinewy.probes.evaluate import BATCH
from sinewy.shifts import CORRUPTIONS, SEVERITIES

TARGET = 1.15
IMAGES = 256
CONDITIONS = 1 + len(CORRUPTIONS) * len(SEVERITIES)
"""The clean set, and every corruption at every severity."""


def random_set() -> ImageSet:
    """Return random smooth images with random labels."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(IMAGES, 3, 8, 8, generator=generator)
    pixels = (nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).byte().numpy()
    labels = np.arange(IMAGES) % 10
    names = tuple(str(i) for i in range(10))
    return ImageSet(pixels, labels, "random", "test", names, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def models() -> tuple[nn.Module, nn.Module]:
    """Return a dense ResNet-20 and one that is 90 % sparse."""
    dense, sparse = (sinewy.models.build("resnet20", classes=10, seed=seed).eval() for seed in (0, 1))
    sinewy.Static(sparsity=0.9).attach(sparse, torch.optim.SGD(sparse.parameters(), lr=0.1)).detach()
    return dense, sparse


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=3)
    data, (dense, sparse) = random_set(), models()
    frozen = [freeze(model) for model in (dense, sparse)]
    images = torch.from_numpy(data.images)
    ready = [normalise(part, data.mean, data.std) for part in images.split(BATCH)]

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(CONDITIONS):
            for part in ready:
                for model in frozen:
                    model(part)

    times = measuring.alternate(
        {"audit": lambda: sinewy.audit(sparse, data, against=dense), "bare": bare}, options.rounds
    )
    label = f"audit / bare forward passes, 2 ResNet-20s, {IMAGES} images x {CONDITIONS} conditions"
    value = measuring.ratio(times, "audit", "bare")
    return measuring.finish(
        [measuring.goal(label, value, TARGET, ms=measuring.milliseconds(times))], as_json=options.json
    )


if __name__ == "__main__":
    sys.exit(main())
