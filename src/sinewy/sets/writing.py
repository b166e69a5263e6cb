"""The pieces of a generated set: one .npy file of one kind, or the JPEG files of a block of pictures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sinewy.errors import InputError
from sinewy.sets.files import stream_npy
from sinewy.sets.sources import Source, open_source
from sinewy.shifts.mnist_c_digits import SIDE
from sinewy.shifts.names import severities_of
from sinewy.shifts.recompression import Recompression
from sinewy.shifts.values import Corruption, Shift

BLOCK = 512
"""Images shifted at a time for .npy files; bounds memory, whatever the size of the set."""

PICTURES = 32
"""Pictures that are opened once and written at all kinds and severities."""

Report = Callable[[dict[str, Any]], None]


def perform(task: dict[str, Any], report: Report) -> dict[str, Any]:
    """Do one piece of work, and return what the manifest says of it; `report` hears of every severity done."""
    source = open_source(task["source"])
    if task["layout"] == "folders":
        return write_pictures(source, task, report)
    return write_kind(source, task, report)


def write_kind(source: Source, task: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write one kind at all severities as one .npy file: (severities N, H, W, 3), or (N, 28, 28, 1) of MNIST-C.

    Of digits with a frame around them, as MNIST has here, the middle 28 x 28 pixels are written.
    """
    path, grey = Path(task["path"]), task["layout"] == "mnist"
    severities = severities_of(task["kind"], task["severities"]) if task["kind"] != "identity" else (0,)
    height, width = source.block(0, 1)[0].shape[2:]
    top, left = ((height - SIDE) // 2, (width - SIDE) // 2) if grey else (0, 0)
    tall, wide = (SIDE, SIDE) if grey else (height, width)
    shape = (len(source) * len(severities), tall, wide, 1 if grey else 3)

    def blocks() -> Iterator[NDArray[np.uint8]]:
        for severity in severities:
            shift = shift_of(task, task["kind"], severity)
            for start in range(0, len(source), BLOCK):
                (images,) = source.block(start, start + BLOCK)
                pixels = shift(images, seed=task["seed"], start=start).permute(0, 2, 3, 1)
                yield pixels[:, top : top + tall, left : left + wide, : shape[-1]].numpy()
            report({"kind": task["kind"], "severity": severity})

    digest = stream_npy(path, shape, blocks())
    return {"file": task["name"], "md5": digest, "bytes": path.stat().st_size}


def shift_of(task: dict[str, Any], kind: str, severity: int) -> Shift:
    """Return the shift of a task at a severity; "identity" changes nothing."""
    shift: Shift = Corruption("brightness" if kind == "identity" else kind, severity, task["preset"])
    return shift | Recompression(task["recompress"]) if task["recompress"] is not None else shift


def write_pictures(source: Source, task: dict[str, Any], report: Report) -> dict[str, Any]:
    """Write a block of pictures at all kinds and severities as JPEG files KIND/SEVERITY/CLASS/NAME.JPEG.

    `source` has the pictures of the block only; the number of the first in the set is the task's `start`.
    """
    start, kinds = task["start"], task["kinds"]
    folder, state, count = Path(task["folder"]), hashlib.md5(usedforsecurity=False), 0
    batches = source.block(0, len(source))
    for kind in kinds:
        for severity in severities_of(kind, task["severities"]):
            for number, picture in enumerate(_shifted(batches, shift_of(task, kind, severity), task["seed"], start)):
                content = jpeg(picture, task["quality"])
                name = source.path_of(number).as_posix() + ".JPEG"
                _write(folder / kind / str(severity) / name, content)
                state.update(content)
                count += 1
        report({"kind": kind, "pictures": len(source)})
    return {"kinds": kinds, "pictures": len(source), "files": count, "md5": state.hexdigest()}


def _shifted(batches: Sequence[Tensor], shift: Shift, seed: int, start: int) -> Iterator[Tensor]:
    for batch in batches:
        yield from shift(batch, seed=seed, start=start)
        start += len(batch)


def jpeg(picture: Tensor, quality: int) -> bytes:
    """Return uint8 (3, H, W) as a JPEG file, with the options of the published sets: Pillow's, and optimised tables."""
    stream = io.BytesIO()
    pixels = picture.permute(1, 2, 0).contiguous().cpu().numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write one of very many files: whole or not at all, but without waiting for the disk as `replacing` does."""
    temporary = path.with_name(f".{path.name}.part")  # one writer at a time: the folder is locked
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def one_thread() -> None:
    """Compute on one thread, since every worker is a process."""
    torch.set_num_threads(1)
