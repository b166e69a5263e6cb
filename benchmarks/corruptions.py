"""How long corrupting an image takes, per kind, beside imagecorruptions (process CPU time, one thread).

    python benchmarks/corruptions.py [--size 32|64|224] [--severity 3] [--rounds 5] [--json]

imagecorruptions is measured where it is installed: `pip install --no-deps imagecorruptions` (it then uses the NumPy,
SciPy, scikit-image, OpenCV and Pillow that are there; its newest source, though not the released 1.1.2, also needs
numba). It no longer runs as released with current versions of these, so the names that have gone are put back here
before it is imported. Rounds of both alternate, and the median round counts. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import json
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sinewy.shifts import CORRUPTIONS, PRESETS, corrupt

IMAGES = {32: 256, 64: 64, 224: 8}
PEER_IMAGES = {32: 8, 64: 4, 224: 1}
SLOWEST_MS = {32: 0.5}
MEAN_MS = {32: 0.15}
MEAN_RATIO = {32: 0.067, 64: 0.067, 224: 0.1}
OTHERS_RATIO = 0.333
KIND_RATIO = {224: 1.0}

Seconds = Callable[[], float]


def photos(count: int, size: int) -> torch.Tensor:
    """Return uint8 (count, 3, size, size) with the smooth and rough parts of a photograph."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    rough = torch.rand(count, 3, size, size, generator=generator)
    return ((smooth * 0.8 + rough * 0.2).clamp(0, 1) * 255).to(torch.uint8)


def ours(kind: str, images: torch.Tensor, severity: int, preset: str) -> Seconds:
    """Return a function that corrupts all `images` and gives the seconds per image."""

    def measure() -> float:
        begin = time.process_time()
        corrupt(images, kind, severity, preset=preset)
        return (time.process_time() - begin) / len(images)

    return measure


def theirs(peer: Any, kind: str, images: torch.Tensor, severity: int) -> Seconds:
    """Return a function that corrupts `images` one by one with imagecorruptions and gives the seconds per image."""
    arrays = list(images.permute(0, 2, 3, 1).contiguous().numpy())

    def measure() -> float:
        begin = time.process_time()
        for array in arrays:
            peer.corrupt(array, severity=severity, corruption_name=kind)
        return (time.process_time() - begin) / len(arrays)

    return measure


def median_ms(functions: list[Seconds], rounds: int) -> list[float]:
    """Return the median milliseconds per image of each function, after one unmeasured round; rounds alternate."""
    for function in functions:
        function()
    times = [[function() for function in functions] for _ in range(rounds)]
    return [1e3 * statistics.median(column) for column in zip(*times, strict=True)]


def imagecorruptions() -> Any:
    """Return the peer's module with the names it misses put back, or None where it is not installed."""
    if importlib.util.find_spec("imagecorruptions") is None:
        return None
    _put_back_old_names()
    import imagecorruptions as peer
    from imagecorruptions import corruptions

    current = corruptions.gaussian
    corruptions.gaussian = lambda *args, multichannel=False, **options: current(
        *args, channel_axis=-1 if multichannel else None, **options
    )
    return peer


def _put_back_old_names() -> None:
    import scipy.ndimage

    vars(np)["float_"] = np.float64
    if importlib.util.find_spec("pkg_resources") is None:
        sys.modules["pkg_resources"] = _module("pkg_resources", resource_filename=_resource_filename)
    old = "scipy.ndimage.interpolation"
    sys.modules[old] = _module(old, map_coordinates=scipy.ndimage.map_coordinates)


def _module(name: str, **members: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def _resource_filename(package: str, path: str) -> str:
    return str(Path(sys.modules[package].__file__ or "").parent / path)


def measure(size: int, severity: int, rounds: int) -> dict[str, Any]:
    """Return the milliseconds per image of every kind, ours and (or None) the peer's."""
    preset = {side: name for name, side in PRESETS.items()}[size]
    images, peer = photos(IMAGES[size], size), imagecorruptions()
    result: dict[str, Any] = {"size": size, "severity": severity, "rounds": rounds, "ours_ms": {}, "peer_ms": {}}
    for kind in CORRUPTIONS:
        functions = [ours(kind, images, severity, preset)]
        if peer is not None:
            functions.append(theirs(peer, kind, images[: PEER_IMAGES[size]], severity))
        result["ours_ms"][kind], *other = median_ms(functions, rounds)
        result["peer_ms"][kind] = other[0] if other else None
    return result


def judge(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the measured goals: name, value, target, met."""
    size, own, peer = result["size"], result["ours_ms"], result["peer_ms"]
    label = f"mean of {len(own)} kinds, {size}x{size}, 1 thread"
    goals = []
    if size in MEAN_MS:
        slowest = max(own, key=own.get)
        goals.append((f"slowest kind, ms per image ({slowest})", own[slowest], SLOWEST_MS[size]))
        goals.append((f"ms per image ({label})", statistics.mean(own.values()), MEAN_MS[size]))
    if None not in peer.values():
        others = [kind for kind in own if kind != "glass_blur"]
        ratio, other_ratio = (sum(own[k] for k in kinds) / sum(peer[k] for k in kinds) for kinds in (own, others))
        goals.append((f"corruption time / imagecorruptions time ({label})", ratio, MEAN_RATIO[size]))
        goals.append(("the same without glass_blur, the peer's slowest", other_ratio, OTHERS_RATIO))
        if size in KIND_RATIO:
            worst = max(own, key=lambda kind: own[kind] / peer[kind])
            goals.append((f"the same of the worst kind ({worst})", own[worst] / peer[worst], KIND_RATIO[size]))
    return [{"name": name, "value": value, "target": goal, "met": value <= goal} for name, value, goal in goals]


def show(result: dict[str, Any], goals: list[dict[str, Any]]) -> None:
    """Print one line per kind and one per goal."""
    print(f"{'kind':18} {'sinewy':>10} {'peer':>10} {'ratio':>8}   ms per image")
    for kind, own in result["ours_ms"].items():
        peer = result["peer_ms"][kind]
        print(f"{kind:18} {own:10.4f} " + (f"{peer:10.4f} {own / peer:8.3f}" if peer else f"{'-':>10} {'-':>8}"))
    if None in result["peer_ms"].values():
        print("imagecorruptions is not installed: pip install --no-deps imagecorruptions")
    for goal in goals:
        missed = "" if goal["met"] else "  MISSED"
        print(f"{goal['name']}: {goal['value']:.3f}  target <= {goal['target']}{missed}")


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Time every corruption beside imagecorruptions.")
    parser.add_argument("--size", type=int, choices=sorted(IMAGES), default=32)
    parser.add_argument("--severity", type=int, choices=range(1, 6), default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    result = measure(options.size, options.severity, options.rounds)
    goals = judge(result)
    if options.json:
        print(json.dumps(result | {"goals": goals}, indent=2))
    else:
        show(result, goals)
    return 0 if all(goal["met"] for goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
