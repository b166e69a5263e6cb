"""Findings of several seeds as one: worked by hand, one seed unchanged, and intervals that cover by simulation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import t

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.evidence import Finding
from sinewy.analysis.over_seeds import combined, over_seeds


def estimate(value: float, below: float = 0.0, above: float = 0.0) -> Estimate:
    return Estimate(value, value - below, value + above, 100, 1)


def row(method: str, value: float, *, measure: str = "log10", reach: float = 0.0, apart: float | None = None, **more):
    difference = None if apart is None else estimate(apart)
    return Finding(method, "all", measure, estimate(value, reach, reach), difference, **more).as_dict()


def test_two_parts_by_hand():
    """Examples: mean of 0.03^2 and 0.05^2 below, 0.01^2 above. Seeds: 0.4 and 0.6, s = 0.1414, s / sqrt(2) = 0.1."""
    found = combined([estimate(0.4, 0.03, 0.01), estimate(0.6, 0.05, 0.01)])
    student = 12.7062 * 0.1
    assert found.value == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 - math.sqrt(0.0017 + student**2), abs=1e-4)
    assert found.high == pytest.approx(0.5 + math.sqrt(0.0001 + student**2), abs=1e-4)
    assert (found.n, found.seeds) == (100, 2)


def test_seeds_that_agree_leave_the_interval_of_the_examples():
    found = combined([estimate(0.7, 0.02, 0.01)] * 3)
    assert (found.low, found.high) == pytest.approx((0.68, 0.71))


def test_numbers_without_an_interval_get_one_over_seeds():
    values = np.array([1.0, 2.0, 6.0])
    found = combined([estimate(value) for value in values])
    assert (found.low, found.high) == pytest.approx(
        t.interval(0.95, 2, values.mean(), values.std(ddof=1) / math.sqrt(3))
    )


def test_one_seed_is_unchanged_and_an_unknown_bound_stays_unknown():
    rows = [row("dense", 0.5, reach=0.1), row("sparse", 0.4, reach=0.2, apart=-0.1, x=3.0)]
    for before, after in zip(rows, over_seeds({4: rows}), strict=True):
        assert {**after, "by_seed": None} == {**before, "by_seed": None}
        assert [part["seed"] for part in after["by_seed"]] == [4]
    unknown = Finding("a", "all", "AUROC", Estimate(0.5, -math.inf, 0.6, 1, 1)).as_dict()
    [joined] = over_seeds({0: [unknown], 1: [unknown]})
    assert joined["estimate"]["low"] == 0  # nothing is known of it, but it is a share
    assert json.loads(json.dumps(joined, allow_nan=False)) == joined


def test_rows_are_paired_by_what_they_say_not_by_place():
    by_seed = {
        0: [row("dense", 1.0), row("sparse", 3.0, apart=2.0, x=7.0), row("sparse", 0.0, measure="other")],
        1: [row("sparse", 5.0, apart=1.0, x=8.0), row("dense", 4.0)],
    }
    dense, sparse, other = over_seeds(by_seed)
    assert [part["method"] for part in (dense, sparse, other)] == ["dense", "sparse", "sparse"]
    assert (dense["estimate"]["value"], sparse["estimate"]["value"], other["estimate"]["value"]) == (2.5, 4.0, 0.0)
    assert sparse["difference"]["value"] == 1.5
    assert dense["difference"] is None
    assert (sparse["x"], other["estimate"]["seeds"]) == (None, 1)
    assert [(p["seed"], p["estimate"] is None) for p in other["by_seed"]] == [(0, False), (1, True)]
    assert [(p["seed"], p["estimate"]["value"], p["x"]) for p in sparse["by_seed"]] == [(0, 3.0, 7.0), (1, 5.0, 8.0)]


def test_points_of_a_curve_that_each_seed_has_elsewhere_are_where_they_are_on_average():
    """As in a reliability diagram, where x is the mean confidence in a bin."""
    [found] = over_seeds({s: [row("m", 0.5, x=x, series="curve")] for s, x in enumerate((0.2, 0.3))})
    assert found["x"] == 0.25


def test_shares_stay_in_their_range():
    by_seed = {s: [row("m", v, measure="accuracy", apart=v - 0.9)] for s, v in enumerate((0.9, 0.2))}
    [found] = over_seeds(by_seed)
    assert (found["estimate"]["low"], found["estimate"]["high"]) == (0, 1)
    assert (found["difference"]["low"], found["difference"]["high"]) == (-1, 1)
    assert found["estimate"]["value"] == pytest.approx(0.55)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("between", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("shared", [0.2, 0.9])
def test_coverage(seeds, between, shared):
    """Examples move all seeds (`shared` of their variance) and each by itself; trainings differ by `between` of it."""
    generator = np.random.default_rng([seeds, int(between), int(10 * shared)])
    studies = 1500
    common = generator.normal(0, math.sqrt(shared), (studies, 1))
    own = generator.normal(0, math.sqrt(1 - shared + between**2), (studies, seeds))
    covered = 0
    for values in common + own:
        found = combined([estimate(value, 1.96, 1.96) for value in values])
        covered += found.low <= 0 <= found.high
    assert covered / studies >= 0.95 - 2.6 * math.sqrt(0.05 * 0.95 / studies)
    print(f"{seeds} seeds, between {between}, shared {shared}: {covered / studies:.3f}")
