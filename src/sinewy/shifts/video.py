"""Corruptions of video clips: those of the picture afresh in every frame, those of time on the order of the frames.

Schiappa et al., "A Large-Scale Robustness Analysis of Video Action Recognition Models" (CVPR 2023); these sixteen are
the UCF101 of Wu et al. 2025 (Appendix A.2), which has severities 1 to 4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.shifts import VIDEO
from sinewy.shifts.corruption import by_blocks, corrupt, kind_function
from sinewy.shifts.draws import Draws
from sinewy.shifts.names import check_severity
from sinewy.shifts.video_frames import ORDERS, frame_order
from sinewy.shifts.video_geometry import STATIC_ANGLES, rotate, translated

PICTURE: dict[str, tuple[str, str]] = {
    "gaussian_noise": ("gaussian_noise", "imagenet"),
    "shot_noise": ("shot_noise", "tiny"),
    "impulse_noise": ("impulse_noise", "imagenet"),
    "speckle_noise": ("speckle_noise", "tiny"),
    "defocus_blur": ("defocus_blur", "imagenet"),
    "motion_blur": ("motion_blur", "imagenet"),
    "zoom_blur": ("zoom_blur", "imagenet"),
    "compression": ("jpeg_compression", "imagenet"),
}
"""Kinds that are those of images, and whose constants they have, whatever the size of the frames."""


@torch.no_grad()
def corrupt_clips(
    clips: Tensor,
    kind: str,
    severity: int,
    *,
    seed: int = 0,
    start: int = 0,
    crop: int | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return `clips` corrupted by a kind in `VIDEO` at a severity 1 to 5, or 0 for a copy: uint8 (N, T, 3, H, W).

    Kinds of the picture, and "rotate", draw afresh for every frame; "static_rotate" turns all frames by 7.5, 15, 30, 45
    or 90 degrees; "translate" moves a whole clip up and left by up to 8 severity - 1 pixels on each axis, black coming
    in, and then keeps the upper left `crop` x `crop` pixels (published: 224; None keeps the size). "sampling" and
    "reverse_sampling" keep every second to every 32nd frame, so the clip gets shorter; the other kinds of time keep its
    length (see `frame_order`). `start` is the number in its set of the first clip: a clip's bytes depend on its own
    bytes, kind, severity, seed and number. Raises InputError for anything else.
    """
    _check(clips, kind, severity, crop)
    n, frames = clips.shape[:2]
    clean = corrupt(clips.flatten(0, 1), "brightness", 0, seed=seed, start=start, device=device)
    if severity == 0:
        return clean.view(clips.shape)
    name = f"video/{kind}"
    if kind in ORDERS:
        draws = Draws(name, severity, seed, start, n, clean.device)
        order = frame_order(kind, severity, frames, draws)
        # one index_select of whole frames: the numbers of the frames in the flat batch
        flat = (order + torch.arange(n, device=clean.device)[:, None] * frames).flatten()
        return clean.index_select(0, flat).view(n, order.shape[1], *clips.shape[2:])
    if kind == "translate":
        draws = Draws(name, severity, seed, start, n, clean.device)
        return translated(clean.view(clips.shape), draws.integers(0, 8 * severity, 2), crop)

    def shift(block: Tensor, first: int) -> Tensor:
        draws = Draws(name, severity, seed, start * frames + first, len(block), clean.device)
        return _picture(block, kind, severity, draws)

    return by_blocks(clean, shift, name, clean.device).view(clips.shape)


def _picture(frames: Tensor, kind: str, severity: int, draws: Draws) -> Tensor:
    if kind == "static_rotate":
        return rotate(frames, torch.full((len(frames),), STATIC_ANGLES[severity - 1], device=frames.device))
    if kind == "rotate":
        most = 6 * severity + 1
        return rotate(frames, draws.integers(-most, most + 1).double())
    image_kind, preset = PICTURE[kind]
    return kind_function(image_kind)(frames, severity, preset, draws)


def _check(clips: Any, kind: str, severity: Any, crop: Any) -> None:
    if kind not in VIDEO:
        raise unknown_name("corruption of clips", kind, VIDEO)
    check_severity(severity)
    if not isinstance(clips, Tensor) or clips.ndim != 5 or clips.shape[2] != 3 or 0 in clips.shape[1:]:
        shape = tuple(clips.shape) if isinstance(clips, Tensor) else type(clips).__name__
        channels_first = isinstance(clips, Tensor) and clips.ndim == 5 and clips.shape[1] == 3
        hint = " Use clips.transpose(1, 2) for (N, 3, T, H, W)." if channels_first else ""
        raise InputError(f"clips must be a uint8 tensor (N, T, 3, H, W), got {shape}.{hint}")
    if crop is not None and (isinstance(crop, bool) or not isinstance(crop, int) or crop < 1 or kind != "translate"):
        raise InputError(f"crop is the side in pixels that 'translate' leaves, got {crop!r} for '{kind}'.")
