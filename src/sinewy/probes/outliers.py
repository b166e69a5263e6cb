"""Where anomalous inputs come from: data sets, folders, noise, attacks, shifts, and pixels out of range.

An anomaly is called by a name: that of a data set ("fashion-mnist", "svhn"), "noise/uniform", "noise/gaussian",
"attack/fgsm/8" (eps in 255ths), "shift/fog/3", "oodom/mnist" (a data set's pixels 0 to 255 where 0 to 1 is meant), or
the path of a folder of images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sinewy.attacks.checked import make_attack
from sinewy.attacks.running import run
from sinewy.data import DATASETS, ImageSet, as_image_set, load
from sinewy.errors import InputError, unknown_name
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.outlier_sets import SETS, evenly, image_files, pixels_of_set, read_folder
from sinewy.probes.probe import BLOCK
from sinewy.seeds import derive
from sinewy.shifts.corruption import corrupt

Anomaly = Callable[[Evaluator, str, ImageSet], Iterator[Tensor]]
"""(evaluator, model, normal images) -> blocks of images for that model, uint8 or float in units of [0, 1] pixels."""

Pixels = NDArray[np.uint8]
_LAST: WeakKeyDictionary[ImageSet, tuple[Callable[[ImageSet], Pixels], Pixels]] = WeakKeyDictionary()
"""The anomalies read last, by the normal set they were read for."""

PATTERNS = ("noise/uniform", "noise/gaussian", "attack/NAME/EPS", "shift/KIND/SEVERITY", "oodom/DATA")


def anomalies(
    outliers: Sequence[str] | Mapping[str, Any], *, seed: int, preset: str = "cifar", root: str | None = None
) -> dict[str, Anomaly]:
    """Return the anomalies by name; `outliers` are names, or user sets by name (see `sinewy.data.as_image_set`).

    Raises InputError for what is not known, before any image is read; a data set is read when first needed.
    """
    if isinstance(outliers, Mapping):
        return {name: partial(_of_set, _pixels_of(name, images)) for name, images in outliers.items()}
    return {name: _anomaly(name, seed, preset, root) for name in outliers}


def _anomaly(name: str, seed: int, preset: str, root: str | None) -> Anomaly:
    kind, _, rest = name.partition("/")
    if kind == "noise" and rest in ("uniform", "gaussian"):
        return partial(_noise, rest, seed)
    if kind == "attack" and rest:
        attack, _, eps = rest.partition("/")
        make_attack(attack, {"norm": "linf", "stop_when_fooled": False}, {})
        return partial(_attacked, attack, _number(name, eps) / 255, seed)
    if kind == "shift" and rest:
        shift, _, severity = rest.rpartition("/")
        level = _number(name, severity)
        if not level.is_integer():
            raise InputError(f"'{name}' must end in a whole severity, 1 to 5.")
        corrupt(torch.zeros((1, 3, 32, 32), dtype=torch.uint8), shift, int(level), preset=preset)  # known, or refused
        return partial(_shifted, shift, int(level), preset, seed)
    if kind == "oodom" and rest:
        return partial(_of_set, _set(rest, root, name), scale=255.0)
    return partial(_of_set, _set(name, root, name))


def _set(name: str, root: str | None, said: str) -> Callable[[ImageSet], Pixels]:
    """Return what reads a data set or a folder; raises InputError for one that is not known, or not there."""
    if name in SETS:
        return pixels_of_set(name, root)
    if name in DATASETS or ":" in name:
        return partial(_loaded, name, root)
    if Path(name).is_dir():
        return partial(read_folder, Path(name))
    raise unknown_name(
        "anomaly", said, dict.fromkeys([*DATASETS, *SETS, *PATTERNS]), "Or give the path of a folder of images."
    )


def check_sets(made: Mapping[str, Anomaly], like: ImageSet, fewest: int = 1) -> None:
    """Read `fewest` images of every data set and folder among the anomalies.

    Raises InputError for a set that is not there, or has fewer.
    """
    for name, anomaly in made.items():
        if isinstance(anomaly, partial) and anomaly.func is _of_set:
            found = len(anomaly.args[0](like.first(fewest)))
            if found < fewest:
                raise InputError(f"groups of {fewest} need as many images; '{name}' has {found}.")


def identities(outliers: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return what tells the anomalies of one call from those of another: names, and hashes of the user's own sets."""
    if isinstance(outliers, Mapping):
        return [f"{name} {_as_set(name, images).hash}" for name, images in outliers.items()]
    return [f"{name} {_listed(_place(name))}" if _is_folder(_place(name)) else name for name in outliers]


def _place(name: str) -> str:
    return name.removeprefix("oodom/")


def _is_folder(name: str) -> bool:
    return name not in SETS and name not in DATASETS and ":" not in name and Path(name).is_dir()


def _listed(name: str) -> str:
    """Return 16 hexadecimal digits of the names, sizes and times of the images in a folder and its subfolders."""
    state = hashlib.sha256()
    for path in image_files(Path(name)):
        about = path.stat()
        state.update(f"{path.relative_to(name).as_posix()} {about.st_size} {about.st_mtime_ns}".encode())
    return state.hexdigest()[:16]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"'{name}' must end in a number, as in attack/fgsm/8 or shift/fog/3.") from None


def _pixels_of(name: str, images: Any) -> Callable[[ImageSet], Pixels]:
    found = _as_set(name, images)
    return lambda like: found.images[evenly(len(found), len(like))]


def _as_set(name: str, images: Any) -> ImageSet:
    """Return a user's set, which may be images without labels."""
    bare = hasattr(images, "shape") and not isinstance(images, ImageSet)
    return as_image_set((images, np.zeros(len(images), np.int64)) if bare else images, name=name)


def _loaded(name: str, root: str | None, like: ImageSet) -> Pixels:
    test = load(name, root=root).test
    return test.images[evenly(len(test), len(like))]


def _of_set(
    pixels: Callable[[ImageSet], Pixels], evaluator: Evaluator, model: str, data: ImageSet, *, scale: float = 1.0
) -> Iterator[Tensor]:
    del model
    images, size = _remembered(pixels, data), data.images.shape[2:]
    for start in range(0, len(images), BLOCK):
        block = torch.from_numpy(np.ascontiguousarray(images[start : start + BLOCK])).to(evaluator.device)
        if block.shape[2:] != size:
            resized = F.interpolate(block.float(), size, mode="bilinear", antialias=True, align_corners=False)
            block = resized.round().clamp(0, 255).to(torch.uint8)
        yield block if scale == 1 else block.float() / 255 * scale


def _remembered(pixels: Callable[[ImageSet], Pixels], data: ImageSet) -> Pixels:
    """Return `pixels(data)`; read once for all models, which are measured on one set after the other."""
    if _LAST.get(data, (None, None))[0] is not pixels:
        _LAST[data] = (pixels, pixels(data))
    return _LAST[data][1]


def _noise(kind: str, seed: int, evaluator: Evaluator, model: str, data: ImageSet) -> Iterator[Tensor]:
    """Yield uniform bytes, or Gaussian values of mean 0.5 and deviation 0.25, clipped."""
    del model
    for start in range(0, len(data), BLOCK):
        generator = torch.Generator().manual_seed(derive("outliers", seed, kind, start))
        shape = (len(data.images[start : start + BLOCK]), *data.images.shape[1:])
        if kind == "uniform":
            drawn = torch.randint(0, 256, shape, generator=generator)
        else:
            drawn = ((0.5 + 0.25 * torch.randn(shape, generator=generator)).clamp(0, 1) * 255).round()
        yield drawn.to(torch.uint8).to(evaluator.device)


def _attacked(attack: str, eps: float, seed: int, evaluator: Evaluator, model: str, data: ImageSet) -> Iterator[Tensor]:
    """Yield the images after all steps, fooled or not, misclassified to begin with or not."""
    mean, std = evaluator.statistics
    for start in range(0, len(data), BLOCK):
        part = slice(start, start + BLOCK)
        images = torch.from_numpy(np.ascontiguousarray(data.images[part])).to(evaluator.device).float() / 255
        labels = torch.from_numpy(data.labels[part]).to(evaluator.device)
        settings: dict[str, Any] = {
            "eps": eps,
            "seed": seed,
            "start": start,
            "mean": mean,
            "std": std,
            "device": evaluator.device,
        }
        [(adversarial, _)] = run(attack, evaluator.frozen(model), images, labels, stop_when_fooled=False, **settings)
        yield adversarial


def _shifted(
    kind: str, severity: int, preset: str, seed: int, evaluator: Evaluator, model: str, data: ImageSet
) -> Iterator[Tensor]:
    del model
    for start in range(0, len(data), BLOCK):
        images = torch.from_numpy(np.ascontiguousarray(data.images[start : start + BLOCK])).to(evaluator.device)
        yield corrupt(images, kind, severity, preset=preset, seed=seed, start=start)
