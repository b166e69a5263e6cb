"""How long a whole CIFAR-10-C takes to make, and what memory a worker needs for a set ten times as large.

    python benchmarks/shift_set.py [--images 10000] [--jobs 2] [--json]

Images are synthetic; time is by the clock, files are written to a temporary folder (2.9 GB at 10 000 images) and
checksummed on the way. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import sinewy
from sinewy.sets import generate
from sinewy.shifts import CORRUPTIONS, SEVERITIES

SECONDS = 180
MEMORY_RATIO = 1.1
PUBLISHED = 10_000

MEMORY = """
import resource, sys
sys.path.insert(0, sys.argv[3])
from shift_set import images
from sinewy.sets import generate
generate(images(int(sys.argv[1])), ["gaussian_noise", "fog"], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def images(count: int) -> Any:
    """Return an ImageSet of noise, 32 x 32."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return sinewy.data.as_image_set((pixels, np.arange(count) % 10))


def seconds(count: int, jobs: int, folder: Path) -> float:
    """Return the seconds by the clock that all kinds and severities of `count` images take, for 10 000 of them."""
    data = images(count)
    begin = time.perf_counter()
    generate(data, ["cifar-c"], folder, jobs=jobs)
    return (time.perf_counter() - begin) * PUBLISHED / count


def memory(count: int, folder: Path) -> float:
    """Return the most memory, in MB, that a process had that made two kinds of `count` images, less the images."""
    words = [sys.executable, "-c", MEMORY, str(count), str(folder), str(Path(__file__).parent)]
    kilobytes = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return kilobytes / 1000 - count * 3072 / 1e6


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Time the making of a whole CIFAR-10-C.")
    parser.add_argument("--images", type=int, default=PUBLISHED)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    made = PUBLISHED * len(CORRUPTIONS) * len(SEVERITIES)
    with tempfile.TemporaryDirectory() as place:
        small, large = (memory(count, Path(place) / f"memory-{count}") for count in (2_000, 20_000))
        taken = seconds(options.images, options.jobs, Path(place) / "set")
    goals = [
        {"name": f"seconds for {made:,} images, {options.jobs} processes", "value": taken, "target": SECONDS},
        {"name": "memory of a worker, 20 000 images / 2 000 images", "value": large / small, "target": MEMORY_RATIO},
    ]
    missed = [goal for goal in goals if goal["value"] > goal["target"]]
    if options.json:
        print(json.dumps({"goals": goals, "memory_mb": [small, large]}, indent=2))
    else:
        for goal in goals:
            sign = "  MISSED" if goal in missed else ""
            print(f"{goal['name']}: {goal['value']:.2f}  target <= {goal['target']}{sign}")
        print(f"memory of a worker without the images: {small:.0f} and {large:.0f} MB")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
