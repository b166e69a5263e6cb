"""Drawing without replacement in proportion to weights: exactly k, never a zero, with the chances of the definition."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinewy.errors import InputError
from sinewy.select import count, sample_mask


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chance(chosen: tuple[int, ...], weights: list[float]) -> float:
    """The definition: the chance of drawing these one by one, in any order."""
    total = 0.0
    for order in permutations(chosen):
        left, probability = sum(weights), 1.0
        for entry in order:
            probability *= weights[entry] / left
            left -= weights[entry]
        total += probability
    return total


@pytest.mark.parametrize("k", [1, 2, 3])
def test_chances_are_those_of_drawing_one_by_one(k):
    weights, draws, generator = [1.0, 2.0, 0.0, 5.0, 4.0], 5000, seeded(0)
    drawn: dict[tuple[int, ...], int] = {}
    for _ in range(draws):
        places = tuple(sample_mask(torch.tensor(weights), k, generator).nonzero().flatten().tolist())
        drawn[places] = drawn.get(places, 0) + 1
    assert all(2 not in places for places in drawn)
    chances = {places: chance(places, weights) for places in drawn}
    assert sum(chances.values()) == pytest.approx(1)  # every possible set turned up
    chi_square = sum((drawn[places] - draws * p) ** 2 / (draws * p) for places, p in chances.items())
    assert chi_square < {1: 16.3, 2: 20.5, 3: 16.3}[k]  # exceeded by 1 in 1000 correct samplers; 3, 5, 3 degrees


def test_a_large_draw_favours_by_weight():
    n = 300_000
    weights = torch.ones(n)
    weights[: n // 3] = 3
    mask = sample_mask(weights, 3000, seeded(1))
    assert count(mask) == 3000
    heavy = count(mask[: n // 3])
    assert heavy == pytest.approx(0.6 * 3000, abs=4 * (3000 * 0.24) ** 0.5)  # 3 * 1/3 over 3 * 1/3 + 2/3, four sigma


weights_and_places = st.lists(st.tuples(st.sampled_from([0.0, 1e-30, 0.5, 1.0, 7.0]), st.booleans()), min_size=1)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(weights_and_places, st.integers(0, 99), st.data())
def test_exactly_k_positive_ones_among_the_eligible(entries, seed, data):
    weights = torch.tensor([weight for weight, _ in entries])
    among = torch.tensor([eligible for _, eligible in entries])
    possible = (weights > 0) & among
    k = data.draw(st.integers(0, count(possible)))
    mask = sample_mask(weights, k, seeded(seed), among)
    assert mask.dtype is torch.bool
    assert count(mask) == k
    assert not (mask & ~possible).any()
    assert torch.equal(mask, sample_mask(weights, k, seeded(seed), among))
    with pytest.raises(InputError, match=f"cannot draw {count(possible) + 1} of {count(possible)} entries of positive"):
        sample_mask(weights, count(possible) + 1, seeded(seed), among)


def test_seed_and_weights_alone_decide():
    weights = torch.rand(64, 8, 3, 3, generator=seeded(2))
    before = weights.clone()
    mask = sample_mask(weights, 500, seeded(3))
    assert torch.equal(weights, before)
    assert mask.shape == weights.shape
    assert mask.is_contiguous()
    channels_last = weights.to(memory_format=torch.channels_last)
    assert torch.equal(mask, sample_mask(channels_last, 500, seeded(3)))
    assert sample_mask(channels_last, 500, seeded(3)).is_contiguous()
    assert torch.equal(mask, sample_mask(weights.double(), 500, seeded(3)))
    assert torch.equal(mask, sample_mask(1024 * weights, 500, seeded(3)))
    assert not torch.equal(mask, sample_mask(weights, 500, seeded(4)))


def test_what_takes_no_part_may_be_anything():
    weights = torch.tensor([1.0, torch.nan, -1.0, torch.inf, 2.0])
    among = torch.tensor([True, False, False, False, True])
    assert sample_mask(weights, 2, seeded(0), among).tolist() == [True, False, False, False, True]


def test_weights_of_any_size():
    weights = torch.tensor([5e-324, 1e-300, 1e300, 1.7e308], dtype=torch.float64)
    for seed in range(20):
        assert sample_mask(weights, 2, seeded(seed)).tolist() == [False, False, True, True]
    assert count(sample_mask(torch.tensor([1, 0, 3]), 2, seeded(0))) == 2
    assert count(sample_mask(torch.tensor([1.0, 0.0, 3.0], dtype=torch.bfloat16), 2, seeded(0))) == 2


@pytest.mark.parametrize("bad", [-1.0, torch.nan, torch.inf])
def test_refuses_what_is_no_weight(bad):
    with pytest.raises(InputError, match="1 weights are negative or not finite"):
        sample_mask(torch.tensor([1.0, bad, 2.0]), 1, seeded(0))


def test_refuses_an_impossible_number():
    with pytest.raises(InputError, match="cannot draw -1 of 2"):
        sample_mask(torch.ones(2), -1, seeded(0))
