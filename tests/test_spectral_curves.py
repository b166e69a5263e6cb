"""Radius-accuracy curves and maps of single frequencies: with networks that see one frequency only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sinewy.errors import InputError
from sinewy.metrics.radius_curves import fourier_errors, radius_curves
from sinewy.shifts.frequency import fourier_basis_noise, high_frequency_attenuation

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


class Sees(nn.Module):
    """Predicts class 1 where the image has the given wave in it, else 0."""

    def __init__(self, pattern, threshold):
        super().__init__()
        self.register_buffer("pattern", pattern)
        self.threshold = threshold

    def forward(self, x):
        seen = (x.mean(1) * self.pattern).sum((1, 2)).abs() - self.threshold
        return torch.stack([-seen, seen], 1)


def wave(cycles, side=8):
    return torch.cos(2 * torch.pi * cycles * torch.arange(side) / side).expand(side, side)


def images_of(cycles):
    """Four grey images with the wave and four without."""
    with_wave = (0.5 + 0.25 * wave(cycles)).expand(4, 3, 8, 8)
    return torch.cat([with_wave, torch.full((4, 3, 8, 8), 0.5)]), torch.tensor([1] * 4 + [0] * 4)


@pytest.mark.parametrize(("attenuation", "last_seen"), [("low", 2), ("high", 1)])
def test_a_wave_is_lost_where_the_radius_takes_its_frequency(attenuation, last_seen):
    # frequency 2 of a reach of 4: low attenuation takes D < r, from r = 3 on; high takes D >= 4 - r, from r = 2 on
    images, labels = images_of(2)
    curve = radius_curves(
        {"wave": Sees(wave(2), 1.0)}, images, labels, attenuation=attenuation, keep_mean=True, **PLAIN
    )
    found = curve["wave"]
    assert found.radii == (0, 1, 2, 3, 4)
    expected = [1.0 if radius <= last_seen else 0.5 for radius in found.radii]
    assert found.correct.mean(axis=1).tolist() == expected
    assert found.correct.shape == (5, 8)
    assert found.correct.dtype == bool


def test_curves_agree_with_the_shift_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    images = torch.randint(0, 256, (11, 3, 8, 8), dtype=torch.uint8)
    labels = torch.randint(0, 4, (11,))
    options = {"attenuation": "high", "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "radii": [0, 2.5]}
    found = radius_curves({"m": model}, images, labels, **options)["m"].correct
    centre, scale = (torch.tensor(options[name]).view(3, 1, 1) for name in ("mean", "std"))
    for row, radius in zip(found, options["radii"], strict=True):
        shifted = (high_frequency_attenuation(images, radius) - centre) / scale
        assert row.tolist() == (model(shifted).argmax(1) == labels).tolist()
    assert np.array_equal(radius_curves({"m": model}, images, labels, batch=4, **options)["m"].correct, found)


def test_error_map_is_high_at_the_frequency_the_network_sees():
    images, labels = torch.full((6, 3, 8, 8), 0.5), torch.zeros(6, dtype=torch.long)
    model = Sees(wave(2), 0.5)
    found = fourier_errors({"m": model}, images, labels, norm=2.0, reach=3, **PLAIN)["m"]
    assert found.shape == (7, 7)
    seen = np.zeros((7, 7), bool)
    seen[3, 1] = seen[3, 5] = True  # frequencies (0, -2) and (0, 2)
    assert found[seen].min() == found[seen].max() > 0  # where the signs of the three channels do not cancel
    assert found[~seen].max() == 0


def test_error_map_agrees_with_the_shift():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    images, labels = torch.rand(9, 3, 4, 4), torch.randint(0, 3, (9,))
    found = fourier_errors({"m": model}, images, labels, norm=1.0, seed=3, batch=2, **PLAIN)["m"]
    noisy = fourier_basis_noise(images, 1.0, frequency=(1, -2), seed=3)
    wrong = float((model(noisy).argmax(1) != labels).float().mean())
    assert found[3, 0] == found[1, 4] == pytest.approx(wrong)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"attenuation": "middle"}, "unknown attenuation"),
        ({"labels": torch.zeros(3)}, "one per image"),
        ({"std": (1.0, 0.0, 1.0)}, "std above 0"),
        ({"radii": [9], "attenuation": "high"}, "radius"),
        ({"models": {}}, "at least 1 model"),
        ({"images": torch.full((8, 3, 8, 8), 2.0)}, "0, 1"),
    ],
)
def test_bad_requests_get_a_sentence(options, sentence):
    images, labels = images_of(2)
    request = {"models": {"m": Sees(wave(2), 1.0)}, "images": images, "labels": labels, "attenuation": "low", **PLAIN}
    with pytest.raises(InputError, match=sentence):
        radius_curves(**(request | options))


def test_a_reach_beyond_the_image_is_refused():
    with pytest.raises(InputError, match="reach=5"):
        fourier_errors({"m": Sees(wave(2), 1.0)}, *images_of(2), norm=1.0, reach=5, **PLAIN)
