"""Clips from video files, by PyAV: some frames of each, evenly spaced."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinewy.errors import CorruptFileError, MissingExtraError
from sinewy.sets.sources import prepared

CLIPS = (".avi", ".mp4", ".mkv", ".webm", ".mov")


def open_clip(path: Path, frames: int, resize: int | None = None, crop: int | None = None) -> Tensor:
    """Return `frames` evenly spaced frames of a video, uint8 (T, 3, H, W) RGB; a shorter one repeats frames.

    Every frame is scaled and cut as `open_picture` says. Raises CorruptFileError for a file without a frame that can be
    decoded, MissingExtraError without PyAV.
    """
    av = _pyav()
    try:
        with av.open(str(path)) as file:
            file.streams.video[0].thread_count = 1
            decoded = [frame.to_image() for frame in file.decode(video=0)]
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise CorruptFileError(f"{path} cannot be decoded as a video ({error}); fetch it again.") from error
    if not decoded:
        raise CorruptFileError(f"{path} holds no frame that can be decoded; fetch it again.")
    places = np.linspace(0, len(decoded) - 1, frames).round().astype(int)
    return torch.stack([prepared(decoded[place].convert("RGB"), resize, crop, path) for place in places])


def _pyav() -> Any:
    try:
        return import_module("av")
    except ImportError:
        raise MissingExtraError("videos are read by PyAV, which is not installed: pip install av") from None
