"""The selection kernel: exactly k, ties to the lowest position, NaN refused, as a stable full sort would choose."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinewy.errors import InputError
from sinewy.select import count, largest, largest_mask, positions, random_free

LARGE = 300_000
"""So many values that the thresholds are guessed first."""

SHARES = (0.0, 0.001, 0.03, 0.3, 0.7, 0.9, 0.999, 1.0)


def by_full_sort(values: torch.Tensor, k: int, among: torch.Tensor | None = None) -> torch.Tensor:
    """The definition: a stable descending sort, the first k of it."""
    eligible = torch.arange(values.numel()) if among is None else among.flatten().nonzero().squeeze(1)
    order = values.flatten()[eligible].double().sort(descending=True, stable=True).indices[:k]
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[eligible[order]] = True
    return mask.view(values.shape)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many(kind: str) -> torch.Tensor:
    normal = torch.randn(LARGE, generator=seeded(0))
    return {
        "normal": normal,
        "ties everywhere": (2 * normal).round(),
        "mostly zero": (normal - 1.5).relu(),
        "all equal": torch.ones(LARGE),
        "periodic": torch.arange(LARGE) % 18.0,  # in step with an even sample
        "ascending": torch.arange(float(LARGE)),
        "infinities": normal.where(normal.abs() < 1, normal * torch.inf),
        "float64": normal.double(),
        "bfloat16": normal.bfloat16(),
    }[kind]


def test_worked_example():
    values = torch.tensor([3.0, 1.0, 3.0, 2.0, 3.0, -torch.inf])
    assert largest(values, 0).tolist() == []
    assert largest(values, 2).tolist() == [0, 2]
    assert largest(values, 4).tolist() == [0, 2, 3, 4]
    assert largest(values, 6).tolist() == [0, 1, 2, 3, 4, 5]
    among = torch.tensor([False, True, True, True, True, False])
    assert largest_mask(values, 1, among).tolist() == [False, False, True, False, False, False]
    assert positions(largest_mask(values, 3, among)).tolist() == [2, 3, 4]


numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(allow_nan=False, width=32))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=40), st.data())
def test_agrees_with_a_full_sort(entries, data):
    values = torch.tensor([value for value, _ in entries])
    among = torch.tensor([eligible for _, eligible in entries]) if data.draw(st.booleans()) else None
    k = data.draw(st.integers(0, len(values) if among is None else count(among)))
    mask = largest_mask(values, k, among)
    assert mask.dtype is torch.bool
    assert count(mask) == k
    assert torch.equal(mask, by_full_sort(values, k, among))
    assert torch.equal(positions(mask), mask.nonzero().squeeze(1))


@pytest.mark.parametrize(
    "kind",
    [
        "normal",
        "ties everywhere",
        "mostly zero",
        "all equal",
        "periodic",
        "ascending",
        "infinities",
        "float64",
        "bfloat16",
    ],
)
def test_many_values_agree_with_a_full_sort(kind):
    values = many(kind)
    part = torch.rand(LARGE, generator=seeded(1)) < 0.1
    for among in (None, part, ~part):
        n = LARGE if among is None else count(among)
        for share in SHARES:
            k = round(share * n)
            assert torch.equal(largest_mask(values, k, among), by_full_sort(values, k, among)), (share, k)


def test_a_wrong_guess_costs_no_exactness():
    values = torch.zeros(LARGE)
    values[: LARGE // 100] = torch.rand(LARGE // 100, generator=seeded(2))  # the sample sees too few of them
    among = torch.zeros(LARGE, dtype=torch.bool)
    among[:9000] = True
    for k in (1, 2000, 2999, 3000, 3001, 8999):
        assert torch.equal(largest_mask(values, k), by_full_sort(values, k))
        assert torch.equal(largest_mask(values, k, among), by_full_sort(values, k, among))


def test_memory_format_does_not_matter():
    weight = torch.randn(8, 16, 3, 3, generator=seeded(3)).mul(4).round()
    among = torch.rand(weight.shape, generator=seeded(4)) < 0.5
    expected = largest_mask(weight, 300, among)
    last = torch.channels_last
    assert expected.is_contiguous()
    assert torch.equal(largest_mask(weight.to(memory_format=last), 300, among.to(memory_format=last)), expected)
    assert torch.equal(largest(weight.to(memory_format=last), 300), largest(weight.flatten(), 300))


@pytest.mark.parametrize("n", [10, LARGE])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_nan_is_refused_wherever_it_is(n, k):
    for place in (0, n // 2, n - 1):
        values = torch.arange(float(n))
        values[place] = torch.nan
        with pytest.raises(InputError, match="1 scores are NaN"):
            largest_mask(values, k)
        among = torch.ones(n, dtype=torch.bool)
        among[place] = False
        if k < n:
            assert count(largest_mask(values, k, among)) == k


def test_as_many_as_there_are():
    values, among = torch.arange(5.0), torch.tensor([True, True, False, False, False])
    for k in (-1, 6):
        with pytest.raises(InputError, match=f"cannot select {k} of 5 weights"):
            largest(values, k)
    with pytest.raises(InputError, match="cannot select 3 of 2 weights"):
        largest_mask(values, 3, among)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32))
def test_free_places_are_free_distinct_exact_and_repeatable(n, taken_share, share, seed):
    taken = torch.rand(n, generator=seeded(seed)) < taken_share
    k = int(share * (n - count(taken)))
    drawn = random_free(taken, k, seeded(seed))
    assert drawn.dtype is torch.int64
    assert len(drawn) == len(set(drawn.tolist())) == k
    assert not taken[drawn].any()
    assert torch.equal(drawn, random_free(taken, k, seeded(seed)))


@pytest.mark.parametrize(("n", "k"), [(64, 20), (2048, 200)], ids=["permutation", "rejection"])
def test_free_places_are_uniform(n, k):
    """Each free place is drawn with probability k / free: the counts over 2000 draws stay within chi-square bounds."""
    taken, generator, draws = torch.arange(n) % 2 == 0, seeded(5), 2000
    counts = torch.zeros(n)
    for _ in range(draws):
        counts[random_free(taken, k, generator)] += 1
    free = counts[~taken]
    expected = draws * k / len(free)
    chance = expected * (1 - k / len(free))
    chi_square = float(((free - expected) ** 2).sum()) / chance
    freedom = len(free) - 1
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_free_places_are_the_first_acceptable_draws():
    """Rejection takes the draws in order, without repeats, so the result cannot depend on how they were batched."""
    taken = torch.rand(5000, generator=seeded(6)) < 0.5
    stream = torch.randint(5000, (20_000,), generator=seeded(7)).tolist()
    wanted = list(dict.fromkeys(place for place in stream if not taken[place]))[:500]
    assert random_free(taken, 500, seeded(7)).tolist() == wanted


def test_no_more_than_is_free():
    taken = torch.tensor([True, False, True, False])
    assert sorted(random_free(taken, 2, seeded(8)).tolist()) == [1, 3]
    assert random_free(taken, 0, seeded(8)).tolist() == []
    for k in (-1, 3):
        with pytest.raises(InputError, match=f"cannot draw {k} of 2 free positions"):
            random_free(taken, k, seeded(8))
