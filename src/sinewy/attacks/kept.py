"""Batches of an attack on disk, so that an attack that was stopped goes on with the next batch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sinewy import __version__
from sinewy.attacks.examples import Result
from sinewy.errors import InputError
from sinewy.files import replacing
from sinewy.identity import contents, structure
from sinewy.layers import unwrap

PATIENCE = 0.2
"""Seconds that a batch must have taken to be worth a file; the others are attacked again."""


class Kept:
    """The results of one attack's batches: FOLDER/<what is attacked, and how>/<radius>-<batch>.safetensors."""

    def __init__(self, folder: str | Path, meaning: str) -> None:
        self._folder = Path(folder) / meaning

    def result(self, radius: float, number: int, attack: Callable[[], Result], like: Tensor) -> Result:
        """Return what `attack` returns for a batch, images as `like`, or what it returned when it was last run.

        A file that is not whole, or not of this batch, is made anew.
        """
        path = self._folder / f"{radius!r}-{number}.safetensors"
        found = _read(path)
        if found is not None and found[0].shape == like.shape and found[0].dtype == like.dtype:
            return found[0].to(like.device), found[1].to(like.device)
        start = time.perf_counter()
        images, fooled = attack()
        if time.perf_counter() - start >= PATIENCE:
            arrays = {"images": images.detach().cpu().contiguous(), "fooled": fooled.cpu()}
            with replacing(path) as temporary:
                save_file(arrays, temporary)
        return images, fooled


def meaning(model: nn.Module, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that depend on the model's structure and weights, the tensors and the settings.

    Raises InputError for a setting that has no name which another process would know it by.
    """
    own = unwrap(model)
    said = json.dumps({**settings, "sinewy": __version__}, sort_keys=True, default=_named)
    state = hashlib.sha256(f"{structure(own)} {said}".encode())
    for part in contents({**own.state_dict(), **tensors}):
        state.update(part)
    return state.hexdigest()[:16]


def _named(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    if name is None or "<" in name:
        raise InputError(f"{value!r} cannot be kept with the attack's batches; give it by name, or leave folder out.")
    return f"{value.__module__}:{name}"


def _read(path: Path) -> Result | None:
    try:
        found = load_file(path)
        return found["images"], found["fooled"]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
