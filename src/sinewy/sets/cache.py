"""A cache of shifted images: made once, memory-mapped, shared by processes, bounded on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.sets.files import check_room, locked, map_npy, remove_leftovers, size, stream_npy
from sinewy.shifts.values import Shift

BLOCK = 512
"""Images made at a time."""

LIMIT = 8 * 10**9
"""Bytes that a cache takes on the disk unless said otherwise."""

_SEAL = hashlib.blake2b().digest_size


class Kept:
    """Shifted images of a cache, uint8 (N, 3, H, W), memory-mapped."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def block(self, start: int, stop: int) -> Tensor:
        """Return images `start` to `stop` (exclusive) as a tensor of their own."""
        return torch.from_numpy(np.array(self._images[start:stop]))


class Cache:
    """Shifted images in a folder, by hash of the data, shift, seed and version of the definitions.

    Processes may share the folder: a file is made by one, and the others wait for it. Files are written whole or not at
    all, and their checksum is tested when they are opened. Above `limit` bytes the files that were not used for longest
    go; a file that another process reads stays readable for it. Raises InputError for a limit that is no number above 0
    and a folder that cannot be written.
    """

    def __init__(self, folder: Path | str, *, limit: int = LIMIT) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"limit must be a whole number of bytes above 0, got {limit!r}.")
        self.folder, self.limit = Path(folder), limit

    def images(self, data: ImageSet, shift: Shift, *, seed: int = 0) -> Kept:
        """Return `data` under `shift`, from the disk if it is there, else made block by block and kept.

        Raises InputError for a shift of continuous strength, one by a function of your own (whose changes a cache
        cannot see), and a set larger than the limit.
        """
        if "continuous" in shift.family or "own" in shift.family:
            raise InputError(
                f"{shift.name} cannot be cached: only kinds that Sinewy defines can, in whole grey levels."
            )
        needed = data.images.nbytes + 256 + _SEAL
        if needed > self.limit:
            raise InputError(f"{shift.name} needs {size(needed)}, the cache is limited to {size(self.limit)}.")
        key = _key(data, shift, seed)
        path = self.folder / f"{key}.npy"
        with locked(self.folder / "locks" / key):
            kept = self._open(path, data)
            if kept is None:
                remove_leftovers(self.folder, path.name)
                check_room(self.folder, needed)
                blocks = _made(data, shift, seed)
                stream_npy(path, data.images.shape, blocks, algorithm=hashlib.blake2b, sealed=True)
                kept = map_npy(path, "it was removed while it was opened; run the same command again.")
        self._make_room(path)
        return Kept(kept)

    def _open(self, path: Path, data: ImageSet) -> NDArray[np.uint8] | None:
        """Return the array of a file that is whole; one that is not is removed, to be made again."""
        try:
            os.utime(path)  # the time of last use, which decides what goes first
            if _seal_is_right(path):
                kept = map_npy(path, "run the same command again.")
                if kept.shape == data.images.shape:
                    return kept
            path.unlink()
        except FileNotFoundError:
            pass
        return None

    def _make_room(self, newest: Path) -> None:
        with locked(self.folder / "locks" / "size"):
            files = sorted(self._files(), key=lambda found: found[0])
            total = sum(count for _, count, _ in files)
            for _, count, path in files:
                if total <= self.limit:
                    return
                if path != newest:
                    path.unlink(missing_ok=True)
                    total -= count

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.folder.glob("*.npy"):
            try:
                about = path.stat()
            except FileNotFoundError:
                continue
            yield about.st_mtime_ns, about.st_size, path


def _key(data: ImageSet, shift: Shift, seed: int) -> str:
    meaning: dict[str, Any] = {"data": data.hash, "shift": shift.name, "protocol": shift.protocol, "seed": seed}
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:24]


def _made(data: ImageSet, shift: Shift, seed: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(data), BLOCK):
        images = torch.from_numpy(np.ascontiguousarray(data.images[start : start + BLOCK]))
        yield shift(images, seed=seed, start=start).numpy()


def _seal_is_right(path: Path) -> bool:
    """Return whether a file ends with the digest of what comes before."""
    state = hashlib.blake2b()
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - _SEAL
        while left > 0:
            block = file.read(min(left, 1 << 20))
            state.update(block)
            left -= len(block)
        return left == 0 and file.read() == state.digest()
