"""How strong each kind of C-bar is at each severity, and which kinds each of its sets has. Loads no torch."""

from __future__ import annotations

LEVELS: dict[str, dict[str, tuple[float, ...]]] = {
    "cifar": {
        "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
        "brownish_noise": (2.5, 4.0, 5.5, 6.5, 7.0),
        "checkerboard_cutout": (1.0, 2.0, 3.0, 4.0, 5.0),
        "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6.0),
        "inverse_sparkles": (1.0, 1.5, 2.5, 4.5, 5.0),
        "lines": (0.5, 1.0, 1.5, 2.0, 2.5),
        "pinch_and_twirl": (5.5, 6.0, 6.5, 8.5, 10.0),
        "ripple": (5.5, 6.0, 6.5, 7.5, 8.0),
        "sparkles": (0.7, 3.5, 5.6, 6.3, 7.0),
        "transverse_chromatic_abberation": (1.0, 2.0, 5.0, 9.0, 10.0),
    },
    "imagenet": {
        "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
        "brownish_noise": (1.0, 2.0, 3.0, 4.0, 5.0),
        "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
        "checkerboard_cutout": (2.0, 3.0, 4.0, 5.0, 6.0),
        "cocentric_sine_waves": (3.0, 5.0, 8.0, 9.0, 10.0),
        "inverse_sparkles": (1.0, 2.0, 4.0, 9.0, 10.0),
        "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
        "plasma_noise": (4.75, 7.0, 8.5, 9.25, 10.0),
        "single_frequency_greyscale": (1.0, 1.5, 2.0, 4.5, 5.0),
        "sparkles": (1.0, 2.0, 3.0, 5.0, 6.0),
    },
}
"""By preset and kind: the number from 0 to 10 that stands for each severity (`cifar10_c_bar.csv`,
`imagenet_c_bar.csv`). Kinds that only one of the two sets has, have no constants for the other."""
