"""Draws: the same numbers for the same image however it is batched, and the distributions they claim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from sinewy.seeds import derive
from sinewy.shifts.draws import Draws

METHODS = {
    "uniform": lambda draws, *shape: draws.uniform(*shape),
    "normal": lambda draws, *shape: draws.normal(*shape),
    "integers": lambda draws, *shape: draws.integers(-3, 7, *shape),
    "bits16": lambda draws, *shape: draws.bits16(*shape),
}


def make(start: int = 0, count: int = 6, *, kind: str = "fog", severity: int = 3, seed: int = 0) -> Draws:
    return Draws(kind, severity, seed, start, count)


def test_numbers_come_from_the_philox_counter_block_of_the_image() -> None:
    key = derive("corruption", "fog", 3, 0, 0)
    raw = np.random.Philox(key=key, counter=41).random_raw(4)
    words = [int(raw[k // 4] >> np.uint64(16 * (k % 4))) & 0xFFFF for k in range(5)]
    assert make(start=41, count=1).bits16(5).tolist() == [words]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (5,), (3, 7, 11)])
def test_images_get_the_same_numbers_however_they_are_batched(method: str, shape: tuple[int, ...]) -> None:
    draw = METHODS[method]
    together = draw(make(count=6), *shape)
    apart = torch.cat([draw(make(start, 1), *shape) for start in range(6)])
    chunks = torch.cat([draw(make(0, 4), *shape), draw(make(4, 2), *shape)])
    assert together.shape == (6, *shape)
    assert torch.equal(together, apart)
    assert torch.equal(together, chunks)


@pytest.mark.parametrize("method", METHODS)
def test_every_call_image_seed_kind_and_severity_has_its_own_numbers(method: str) -> None:
    draw = METHODS[method]
    first = make()
    streams = [draw(first, 16), draw(first, 16)]
    streams += [draw(make(seed=1), 16), draw(make(kind="snow"), 16), draw(make(severity=4), 16)]
    rows = torch.cat(streams)
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_a_call_does_not_disturb_the_next() -> None:
    one, other = make(), make()
    one.uniform(3, 32, 32)
    other.integers(0, 5)
    assert torch.equal(one.normal(8), other.normal(8))


def test_dtypes_and_ranges() -> None:
    draws = make(count=64)
    uniform, normal = draws.uniform(64, 64), draws.normal(64, 64)
    integers, bits = draws.integers(-3, 7, 64, 64), draws.bits16(64, 64)
    assert uniform.dtype == normal.dtype == torch.float32
    assert integers.dtype == bits.dtype == torch.int64
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert sorted(integers.unique().tolist()) == list(range(-3, 7))
    assert 0 <= bits.min() < 16
    assert 65519 < bits.max() <= 65535


def test_uniform_is_uniform() -> None:
    sample = make(count=256).uniform(1024).flatten().numpy()
    assert stats.kstest(sample, "uniform").pvalue > 1e-3


def test_normal_is_standard_normal() -> None:
    sample = make(count=256).normal(1024).flatten().double().numpy()
    assert stats.kstest(sample, "norm").pvalue > 1e-3
    error = 1 / np.sqrt(len(sample))
    assert abs(sample.mean()) < 4 * error
    assert abs(sample.var() - 1) < 4 * error * np.sqrt(2)
    assert abs(stats.kurtosis(sample)) < 4 * error * np.sqrt(24)


def test_all_normal_values_together_have_the_moments_of_the_normal_distribution() -> None:
    draws = make(count=1)
    draws._words = lambda dtype, shape: np.arange(65536, dtype=dtype)[None]  # type: ignore[method-assign]
    values = draws.normal(65536).double()[0]
    assert abs(values.mean()) < 1e-7
    assert abs(values.var(correction=0) - 1) < 1e-5
    assert abs((values**4).mean() - 3) < 1e-3
    assert values.max() == pytest.approx(4.4, abs=0.05)
    steps = stats.norm.cdf(values.numpy())
    assert np.abs(steps - (np.arange(65536) + 0.5) / 65536).max() < 2**-16


def test_integers_are_equally_likely() -> None:
    sample = make(count=256).integers(0, 6, 1024).flatten()
    assert stats.chisquare(torch.bincount(sample).numpy()).pvalue > 1e-3


def test_neighbouring_images_and_calls_are_uncorrelated() -> None:
    draws = make(count=2)
    a, b = draws.normal(65536), draws.normal(65536)
    for x, y in ((a[0], a[1]), (a[0], b[0]), (a[0, 1:], a[0, :-1])):
        assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 4 / 256


@pytest.mark.parametrize(("low", "high"), [(3, 3), (5, 2), (0, 2**31)])
def test_integers_refuses_an_empty_or_too_wide_range(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="low < high"):
        make().integers(low, high)
