"""Shifts: the changes of the input a model is audited under. This file lists the corruptions; it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy.shifts.corruption import corrupt as corrupt
    from sinewy.shifts.corruption import protocol as protocol

CORRUPTIONS: dict[str, str] = {
    "gaussian_noise": "sinewy.shifts.noise:gaussian_noise",
    "shot_noise": "sinewy.shifts.noise:shot_noise",
    "impulse_noise": "sinewy.shifts.noise:impulse_noise",
    "defocus_blur": "sinewy.shifts.blur:defocus_blur",
    "glass_blur": "sinewy.shifts.blur:glass_blur",
    "motion_blur": "sinewy.shifts.blur:motion_blur",
    "zoom_blur": "sinewy.shifts.blur:zoom_blur",
    "snow": "sinewy.shifts.weather:snow",
    "frost": "sinewy.shifts.frost:frost",
    "fog": "sinewy.shifts.weather:fog",
    "brightness": "sinewy.shifts.weather:brightness",
    "contrast": "sinewy.shifts.digital:contrast",
    "elastic_transform": "sinewy.shifts.elastic:elastic_transform",
    "pixelate": "sinewy.shifts.digital:pixelate",
    "jpeg_compression": "sinewy.shifts.digital:jpeg_compression",
    "speckle_noise": "sinewy.shifts.noise:speckle_noise",
    "gaussian_blur": "sinewy.shifts.blur:gaussian_blur",
    "spatter": "sinewy.shifts.spatter:spatter",
    "saturate": "sinewy.shifts.digital:saturate",
}
"""Every corruption in the order of the benchmark: the first fifteen are the benchmark, the last four are held out."""

BENCHMARK: tuple[str, ...] = tuple(CORRUPTIONS)[:15]
"""The fifteen kinds that published mean corruption errors are over."""

PRESETS: dict[str, int] = {"cifar": 32, "tiny": 64, "imagenet": 224}
"""Published sets of severity constants, with the side in pixels of the images they were made for."""

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)
"""The published severities; 0 means uncorrupted."""


def __getattr__(name: str) -> Any:
    """Import `corrupt` and `protocol` when first asked for, so that listing the kinds costs no torch import."""
    if name in ("corrupt", "protocol"):
        from sinewy.shifts import corruption

        return getattr(corruption, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
