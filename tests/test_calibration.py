"""Calibration errors by hand and against other libraries; the temperature that lowers them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sinewy as sw
from sinewy.analysis import calibrated
from sinewy.analysis.calibrated import RELIABILITY
from sinewy.analysis.evidence import Evidence
from sinewy.metrics.calibration import (
    TEMPERATURES,
    assign,
    brier,
    expected_calibration_error,
    fit_temperature,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability,
)
from sinewy.outcomes import CLEAN, Outcomes

CONFIDENCE = np.array([0.55, 0.6, 0.95, 1.0, 0.85])
CORRECT = np.array([True, False, True, True, False])


def outcomes(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.random(n), generator.random(n) < 0.6


def test_by_hand():
    # Five bins: (0.4, 0.6] holds 0.55 and 0.6, accuracy 1/2; (0.8, 1] the other three, accuracy 2/3, confidence 2.8/3.
    expected = 2 / 5 * abs(0.5 - 0.575) + 3 / 5 * abs(2 / 3 - 2.8 / 3)
    assert expected_calibration_error(CONFIDENCE, CORRECT, bins=5) == pytest.approx(expected)
    assert maximum_calibration_error(CONFIDENCE, CORRECT, bins=5) == pytest.approx(2.8 / 3 - 2 / 3)
    low, high = reliability(CONFIDENCE, CORRECT, bins=5)
    assert (low.count, high.count, low.high, high.high) == (2, 3, pytest.approx(0.6), 1.0)
    assert (low.accuracy, high.confidence) == (0.5, pytest.approx(2.8 / 3))


def test_bins_are_closed_on_the_right_and_hold_all():
    index, edges = assign(np.array([0.0, 0.2, 0.2000001, 1.0]), bins=5)
    assert list(index) == [0, 0, 1, 4]
    assert len(edges) == 6


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_expected_error_is_torchmetrics(bins):
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    confidence, correct = outcomes(500)
    for norm, ours in (("l1", expected_calibration_error), ("max", maximum_calibration_error)):
        theirs = metrics.binary_calibration_error(
            torch.tensor(confidence), torch.tensor(correct).int(), n_bins=bins, norm=norm
        )
        # Theirs takes P(class 1) and no prediction; with confidences for probabilities it is the same sum.
        assert ours(confidence, correct, bins=bins) == pytest.approx(float(theirs), abs=1e-6)


def test_equal_mass_shares_the_examples_out():
    confidence, correct = outcomes(600)
    counts = [part.count for part in reliability(confidence, correct, bins=15, binning="mass")]
    assert counts == [40] * 15


@given(st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.9, 1.0]), min_size=1, max_size=40), st.randoms())
@settings(max_examples=60, deadline=None)
def test_order_does_not_matter_and_errors_are_shares(values, random):
    confidence = np.array(values)
    correct = np.array([random.random() < value for value in values])
    order = np.array(random.sample(range(len(values)), len(values)))
    for binning in ("width", "mass"):
        found = expected_calibration_error(confidence, correct, binning=binning)
        assert found == pytest.approx(expected_calibration_error(confidence[order], correct[order], binning=binning))
        assert 0 <= found <= maximum_calibration_error(confidence, correct, binning=binning) + 1e-12 <= 1 + 1e-12
        assert sum(part.count for part in reliability(confidence, correct, binning=binning)) == len(values)


def test_likelihood_and_brier():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(50, 4)) * 3, generator.integers(0, 4, 50)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert negative_log_likelihood(logits, labels) == pytest.approx(float(expected))
    sure_and_wrong = np.array([[1.0, 0.0]])
    assert brier(sure_and_wrong, np.array([1])) == 2
    assert brier(sure_and_wrong, np.array([0])) == 0


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_found(temperature):
    generator = np.random.default_rng(0)
    honest = generator.normal(size=(20_000, 5)) * 2
    labels = (honest + generator.gumbel(size=honest.shape)).argmax(1)  # a draw from softmax(honest)
    stated = honest * temperature
    found = fit_temperature(stated, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    best = negative_log_likelihood(stated / found, labels)
    assert all(best <= negative_log_likelihood(stated / (found * f), labels) for f in (0.9, 0.99, 1.01, 1.1))


def test_a_set_without_an_error_has_no_best_temperature():
    found = fit_temperature(np.eye(3) * 9, np.arange(3))
    assert TEMPERATURES[0] <= found < 0.3
    assert negative_log_likelihood(np.eye(3) * 9 / found, np.arange(3)) < 1e-12


def recorded(confidence: np.ndarray, correct: np.ndarray) -> Outcomes:
    label = np.zeros(len(correct), np.int32)
    numbers = confidence.astype(np.float32)
    return Outcomes(label, (~correct).astype(np.int32), numbers, numbers, -np.log(numbers), 2 * (1 - numbers) ** 2)


def test_findings_are_the_metrics_with_paired_intervals():
    confidence, correct = outcomes(400)
    honest = np.full(400, correct.mean())
    models = {
        "dense": {CLEAN: recorded(confidence, correct)},
        "twin": {CLEAN: recorded(confidence, correct)},
        "honest": {CLEAN: recorded(honest, correct)},
    }
    found = {(f.method, f.measure): f for f in calibrated.findings(Evidence("dense", models))}
    for binning in ("width", "mass"):
        own = found["dense", f"ECE, equal {binning}"].estimate
        assert own.value == pytest.approx(expected_calibration_error(confidence, correct, binning=binning), abs=1e-6)
        assert own.low <= own.value <= own.high
        twin = found["twin", f"ECE, equal {binning}"].difference
        assert (twin.value, twin.low, twin.high) == (0, 0, 0)
    assert found["honest", "ECE, equal width"].difference.high < 0
    assert found["dense", "NLL"].estimate.value == pytest.approx(
        -np.log(confidence.astype(np.float32)).mean(), rel=1e-5
    )
    assert {measure for _, measure in found} == {
        "NLL",
        "Brier",
        "ECE, equal width",
        "ECE, equal mass",
        "MCE",
        RELIABILITY,
    }


def test_the_interval_of_an_honest_model_is_not_pushed_away_from_zero():
    """Chance alone makes an ECE; the resampled ones are larger by as much again, and are moved back."""
    generator = np.random.default_rng(2)
    confidence = generator.random(1000)
    outcome = recorded(confidence, generator.random(1000) < confidence)
    [own] = [
        f.estimate
        for f in calibrated.findings(Evidence("m", {"m": {CLEAN: outcome}}))
        if f.measure == "ECE, equal width"
    ]
    assert own.low < own.value < own.high < 2 * own.value


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: expected_calibration_error(np.array([]), np.array([], bool)), "at least 1, got shape"),
        (lambda: expected_calibration_error(np.array([1.5]), np.array([True])), r"must lie in \[0, 1\], got 1.5"),
        (lambda: expected_calibration_error(np.array([0.5]), np.array([True, False])), "1 confidences but 2 verdicts"),
        (lambda: expected_calibration_error(CONFIDENCE, CORRECT, bins=0), "bins=0"),
        (lambda: reliability(CONFIDENCE, CORRECT, binning="widht"), "Did you mean 'width'"),
        (lambda: fit_temperature(np.zeros((3, 2)), np.array([0, 1])), "one row of classes per label"),
        (lambda: negative_log_likelihood(np.zeros((1, 2)), np.array([2])), "labels must be 0 to 1"),
        (lambda: fit_temperature(np.full((3, 2), np.nan), np.zeros(3, int)), "3 of 3 rows hold NaN or infinity"),
        (lambda: negative_log_likelihood(np.array([[np.inf, 0.0]]), np.zeros(1, int)), "1 of 1 rows hold NaN"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        call()


def test_validation_images_without_an_error_tell_no_temperature():
    """A network that names the brightest channel, on images of one bright channel each: always right."""
    from torch import nn

    from sinewy.data import as_image_set
    from sinewy.probes.calibration import CalibrationProbe

    labels = np.arange(30) % 3
    images = np.zeros((30, 3, 8, 8), np.uint8)
    images[np.arange(30), labels] = 200
    data = as_image_set((images, labels))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.warns(
        UserWarning, match=r"sure makes no error on its 20 validation images, so they tell no temperature"
    ):
        list(CalibrationProbe(validation=data.first(20)).measure({"sure": model}, data))
