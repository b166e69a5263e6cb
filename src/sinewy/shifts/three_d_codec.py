"""The kinds of 3DCC that are a video codec: the image becomes a clip by its depth, and one frame of it is decoded.

3DCC renders a clip along a camera path, sends it through ffmpeg and keeps frames. Here the clip is of `FRAMES` frames,
the camera passing sideways with the image itself as the middle frame, which is the one that is returned. Path and
encoder are Sinewy's and PyAV's, so results are not comparable with the published files, and other versions of the
encoder may differ in bytes. These kinds loop over images, on the CPU.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.errors import InputError, MissingExtraError
from sinewy.shifts.draws import Draws
from sinewy.shifts.three_d_inputs import needs_depth
from sinewy.shifts.three_d_motion import SIDEWAYS, moved

FRAMES = 15
"""Frames of the clip that is made of an image."""

CRF = (24, 26, 32, 39, 41)
"""Constant rate factor of H.265: more is worse."""

BITRATE_SHARE = (2, 4, 8, 16, 32)
"""What the bit rate of the clip in H.264 at its default quality is divided by, for H.265 at an average bit rate."""

BYTES_PER_ERROR = (100_000, 50_000, 30_000, 20_000, 10_000)
"""Of as many bytes of the H.264 stream, one is replaced on average."""

RATE = 30
"""Frames per second."""

SMALLEST = 64
"""Pixels a side that the encoders take."""

Clip = NDArray[np.uint8]
"""(T, H, W, 3)."""


@needs_depth
def h265_crf(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) as H.265 of a constant quality leaves them."""
    del preset
    options = {"crf": str(CRF[severity - 1])}
    return _middles(_clips(images, depth, draws), lambda clip, _: _decoded(_encoded(clip, "libx265", options)), images)


@needs_depth
def h265_abr(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) as H.265 of an average bit rate leaves them."""
    del preset

    def through(clip: Clip, number: int) -> list[Clip]:
        del number
        seconds = len(clip) / RATE
        rate = int(8 * len(_encoded(clip, "libx264", {})) / seconds / BITRATE_SHARE[severity - 1])
        return _decoded(_encoded(clip, "libx265", {}, kilobits=max(rate // 1000, 1)))

    return _middles(_clips(images, depth, draws), through, images)


@needs_depth
def bit_error(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) decoded from an H.264 stream with wrong bytes; few errors hit an image."""
    del preset
    clips = _clips(images, depth, draws)
    seeds = draws.bits16(4).cpu().numpy()

    def through(clip: Clip, number: int) -> list[Clip]:
        stream = bytearray(_encoded(clip, "libx264", {}, container="h264"))
        noise = np.random.Philox(key=int.from_bytes(seeds[number].astype("<u2").tobytes(), "little"))
        words = noise.random_raw(len(stream))
        hit = np.flatnonzero(words % BYTES_PER_ERROR[severity - 1] == 0)
        for place in hit[hit > 64]:  # the head of the stream, without which nothing can be decoded
            stream[place] = int(words[place] >> 32) & 255
        return _decoded(bytes(stream)) or [clip[0]]

    return _middles(clips, through, images)


def _clips(images: Tensor, depth: Tensor, draws: Draws) -> Tensor:
    """Return uint8 (N, FRAMES, 3, H, W): a camera that passes sideways; the middle frame is the image."""
    if min(images.shape[-2:]) < SMALLEST:
        raise InputError(f"a video codec needs images of at least {SMALLEST} pixels, got {tuple(images.shape[-2:])}.")
    angle = draws.uniform().double() * (2 * np.pi)
    way = torch.stack([angle.cos(), angle.sin()], 1) * SIDEWAYS
    times = [(frame - FRAMES // 2) / 60 for frame in range(FRAMES)]
    frames = [images if time == 0 else moved(images, depth, time, way, 0.0).round().to(torch.uint8) for time in times]
    return torch.stack(frames, 1)


def _middles(clips: Tensor, through: Any, images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    even = (height - height % 2, width - width % 2)
    result = images.clone()
    for number, clip in enumerate(clips.permute(0, 1, 3, 4, 2).cpu().numpy()):
        frames: Sequence[Clip] = through(np.ascontiguousarray(clip[:, : even[0], : even[1]]), number)
        frame = frames[min(FRAMES // 2, len(frames) - 1)]
        result[number, :, : even[0], : even[1]] = torch.from_numpy(frame.copy()).permute(2, 0, 1)
    return result


def _encoded(
    clip: Clip, codec: str, options: dict[str, str], *, kilobits: int | None = None, container: str = "matroska"
) -> bytes:
    """Return a clip of even sides as an encoded file, on one thread, so that its bytes are always the same."""
    av = _pyav()
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as file:
        video = file.add_stream(codec, rate=RATE, options=options | _settings(codec, kilobits))
        video.height, video.width, video.pix_fmt = clip.shape[1], clip.shape[2], "yuv420p"
        video.thread_count = 1
        for frame in clip:
            file.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(video.encode(None))
    return stream.getvalue()


def _settings(codec: str, kilobits: int | None) -> dict[str, str]:
    """Return the options of an encoder: silent, one thread, and a rate per second that short clips keep to as well."""
    if codec != "libx265":
        return {"threads": "1"}
    rate = f":bitrate={kilobits}:vbv-maxrate={kilobits}:vbv-bufsize={kilobits}" if kilobits else ""
    return {"x265-params": f"log-level=none:pools=none:frame-threads=1{rate}"}


def _decoded(content: bytes) -> list[Clip]:
    """Return the frames (H, W, 3) that can be decoded."""
    av = _pyav()
    frames: list[Clip] = []
    try:
        with av.open(io.BytesIO(content)) as file:
            file.streams.video[0].thread_count = 1
            for packet in file.demux(video=0):
                try:
                    frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
                except av.error.FFmpegError:
                    continue  # a packet that cannot be decoded is lost, as it is on the way
    except av.error.FFmpegError:
        pass
    return frames


def _pyav() -> Any:
    try:
        av = import_module("av")
    except ImportError:
        raise MissingExtraError("video codecs come with PyAV, which is not installed: pip install av") from None
    av.logging.set_level(None)
    return av
