"""Shifts: the changes of the input a model is audited under. This file lists the corruptions; it imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sinewy.families import resolve

if TYPE_CHECKING:
    from sinewy.shifts.corruption import corrupt as corrupt
    from sinewy.shifts.corruption import protocol as protocol
    from sinewy.shifts.loading import load as load
    from sinewy.shifts.recompression import Recompression as Recompression
    from sinewy.shifts.replay import Drawn as Drawn
    from sinewy.shifts.segmentation import corrupt_pairs as corrupt_pairs
    from sinewy.shifts.spectrum import high_frequency as high_frequency
    from sinewy.shifts.strengths import Continuous as Continuous
    from sinewy.shifts.three_d import corrupt_3d as corrupt_3d
    from sinewy.shifts.values import Corruption as Corruption
    from sinewy.shifts.values import Shift as Shift
    from sinewy.shifts.video import corrupt_clips as corrupt_clips

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

C_BAR: dict[str, str] = {
    "blue_noise_sample": "sinewy.shifts.c_bar_waves:blue_noise_sample",
    "brownish_noise": "sinewy.shifts.c_bar_waves:brownish_noise",
    "caustic_refraction": "sinewy.shifts.c_bar_warp:caustic_refraction",
    "checkerboard_cutout": "sinewy.shifts.c_bar_cover:checkerboard_cutout",
    "circular_motion_blur": "sinewy.shifts.c_bar_blur:circular_motion_blur",
    "cocentric_sine_waves": "sinewy.shifts.c_bar_waves:cocentric_sine_waves",
    "inverse_sparkles": "sinewy.shifts.c_bar_sparkles:inverse_sparkles",
    "lines": "sinewy.shifts.c_bar_cover:lines",
    "perlin_noise": "sinewy.shifts.c_bar_clouds:perlin_noise",
    "pinch_and_twirl": "sinewy.shifts.c_bar_warp:pinch_and_twirl",
    "plasma_noise": "sinewy.shifts.c_bar_clouds:plasma_noise",
    "ripple": "sinewy.shifts.c_bar_warp:ripple",
    "single_frequency_greyscale": "sinewy.shifts.c_bar_waves:single_frequency_greyscale",
    "sparkles": "sinewy.shifts.c_bar_sparkles:sparkles",
    "transverse_chromatic_abberation": "sinewy.shifts.c_bar_blur:transverse_chromatic_abberation",
}
"""Every kind of C-bar; `sinewy.shifts.c_bar_levels.LEVELS` says which ten are CIFAR-10-C-bar's and ImageNet-C-bar's."""

MNIST_C: dict[str, str] = {
    "mnist-c/shot_noise": "sinewy.shifts.mnist_c:shot_noise",
    "mnist-c/impulse_noise": "sinewy.shifts.mnist_c:impulse_noise",
    "mnist-c/glass_blur": "sinewy.shifts.mnist_c_glass:glass_blur",
    "mnist-c/motion_blur": "sinewy.shifts.mnist_c:motion_blur",
    "mnist-c/shear": "sinewy.shifts.mnist_c_affine:shear",
    "mnist-c/scale": "sinewy.shifts.mnist_c_affine:scale",
    "mnist-c/rotate": "sinewy.shifts.mnist_c_affine:rotate",
    "mnist-c/brightness": "sinewy.shifts.mnist_c:brightness",
    "mnist-c/translate": "sinewy.shifts.mnist_c_affine:translate",
    "mnist-c/stripe": "sinewy.shifts.mnist_c:stripe",
    "mnist-c/fog": "sinewy.shifts.mnist_c_fog:fog",
    "mnist-c/spatter": "sinewy.shifts.mnist_c:spatter",
    "mnist-c/dotted_line": "sinewy.shifts.mnist_c_strokes:dotted_line",
    "mnist-c/zigzag": "sinewy.shifts.mnist_c_strokes:zigzag",
    "mnist-c/canny_edges": "sinewy.shifts.mnist_c_edges:canny_edges",
}
"""Every kind of MNIST-C in its order, under names that no other family has; they have severity 1 only."""

THREE_D: dict[str, str] = {
    "3dcc/near_focus": "sinewy.shifts.three_d_focus:near_focus",
    "3dcc/far_focus": "sinewy.shifts.three_d_focus:far_focus",
    "3dcc/fog_3d": "sinewy.shifts.three_d_light:fog_3d",
    "3dcc/flash": "sinewy.shifts.three_d_light:flash",
    "3dcc/color_quant": "sinewy.shifts.three_d_light:color_quant",
    "3dcc/low_light": "sinewy.shifts.three_d_light:low_light",
    "3dcc/iso_noise": "sinewy.shifts.three_d_light:iso_noise",
    "3dcc/xy_motion_blur": "sinewy.shifts.three_d_motion:xy_motion_blur",
    "3dcc/z_motion_blur": "sinewy.shifts.three_d_motion:z_motion_blur",
    "3dcc/h265_abr": "sinewy.shifts.three_d_codec:h265_abr",
    "3dcc/h265_crf": "sinewy.shifts.three_d_codec:h265_crf",
    "3dcc/bit_error": "sinewy.shifts.three_d_codec:bit_error",
}
"""Every kind of 3DCC; color_quant, low_light and iso_noise need no depth, the others come by `corrupt_3d`."""

CONTINUOUS: dict[str, str] = {
    "uniform_noise": "sinewy.shifts.additive:uniform_noise",
    "normal_noise": "sinewy.shifts.additive:normal_noise",
    "low_frequency_attenuation": "sinewy.shifts.frequency:low_frequency_attenuation",
    "high_frequency_attenuation": "sinewy.shifts.frequency:high_frequency_attenuation",
    "fourier_basis_noise": "sinewy.shifts.frequency:fourier_basis_noise",
    "out_of_domain": "sinewy.shifts.domain:out_of_domain",
}
"""Shifts whose strength is any number, not a severity: (images, strength, *, options) -> float32 images."""

VIDEO: tuple[str, ...] = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "compression",
    "rotate",
    "static_rotate",
    "translate",
    "sampling",
    "reverse_sampling",
    "jumble",
    "box_jumble",
    "freeze",
)
"""Every kind of corruption of clips: eight of the picture, three that move it, five of the order of the frames."""

BENCHMARK: tuple[str, ...] = tuple(CORRUPTIONS)[:15]
"""The fifteen kinds that published mean corruption errors are over."""

PRESETS: dict[str, int] = {"cifar": 32, "tiny": 64, "imagenet": 224}
"""Published sets of severity constants, with the side in pixels of the images they were made for."""

SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)
"""The published severities; 0 means uncorrupted."""


_HOMES = {
    "Continuous": "strengths",
    "Corruption": "values",
    "Drawn": "replay",
    "Recompression": "recompression",
    "Shift": "values",
    "corrupt": "corruption",
    "corrupt_3d": "three_d",
    "corrupt_clips": "video",
    "corrupt_pairs": "segmentation",
    "high_frequency": "spectrum",
    "load": "loading",
    "protocol": "corruption",
}


def __getattr__(name: str) -> Any:
    """Import functions when first asked for, so that listing the kinds costs no torch import."""
    if name in _HOMES:
        return getattr(import_module(f"sinewy.shifts.{_HOMES[name]}"), name)
    if name in CONTINUOUS:
        return resolve("shift", name, CONTINUOUS)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *CONTINUOUS])
