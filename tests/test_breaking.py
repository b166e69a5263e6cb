"""What a pruned network gets wrong: classes, shifts and single examples, by hand; calibration over several shifts."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from sinewy.analysis.breaking import Example, choose, class_losses, clearest_losses, worst_condition
from sinewy.analysis.confidence import confidence_findings, reliability_curve
from sinewy.analysis.evidence import Evidence
from sinewy.analysis.shown import Shown
from sinewy.metrics.calibration import expected_calibration_error
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.report.practice.pictures import BYTES, cards, chosen_text

FOG, SNOW = ("fog", 3), ("snow", 1)


def outcomes(label, prediction, true_probability=None, confidence=None):
    label, prediction = np.asarray(label, np.int32), np.asarray(prediction, np.int32)
    zeros = np.zeros(len(label), np.float32)
    probability = zeros if true_probability is None else np.asarray(true_probability, np.float32)
    sure = zeros if confidence is None else np.asarray(confidence, np.float32)
    return Outcomes(label, prediction, sure, probability, 1 - probability, zeros)


def test_the_loss_of_a_class_by_hand():
    """Class 0: three examples, two lost under fog and one won clean: mean change (−2/3 + 1/3) / 2; class 2: none."""
    label = [0, 0, 0, 2, 2]
    parent = [outcomes(label, [0, 0, 1, 2, 1]), outcomes(label, [0, 0, 0, 2, 2])]
    pruned = [outcomes(label, [0, 0, 0, 2, 1]), outcomes(label, [0, 1, 1, 2, 2])]
    first, second = class_losses(parent, pruned)
    assert (first.number, second.number) == (0, 2)
    assert (first.parent, first.pruned) == (pytest.approx(5 / 6), pytest.approx(4 / 6))
    assert first.change.value == pytest.approx(-1 / 6)
    assert (second.change.value, second.change.n) == (0.0, 2)
    # Agresti and Min: with b = c = 0, the half examples alone: 1.96 * sqrt(1 / n') / sqrt(n'), n' = n + 2
    assert second.change.high == pytest.approx(1.959964 / 4) == -second.change.low
    assert first.change.low < first.change.value < first.change.high


def test_intervals_of_classes_cover_the_truth():
    """2 000 classes of 40 examples, 15 % lost and 5 % won: the interval holds −0.10 about as often as it says."""
    generator, classes, n = np.random.default_rng(0), 2000, 40
    label = np.repeat(np.arange(classes), n)
    fate = generator.choice([-1, 0, 1], p=[0.15, 0.8, 0.05], size=len(label))
    wrong = (label + 1) % classes
    parent = outcomes(label, np.where(fate == 1, wrong, label))
    pruned = outcomes(label, np.where(fate == -1, wrong, label))
    changes = [row.change for row in class_losses([parent], [pruned])]
    assert 0.93 < np.mean([c.low <= -0.1 <= c.high for c in changes]) < 0.98


def test_examples_are_chosen_by_what_was_lost():
    label = [0] * 6
    parent = outcomes(label, [0, 0, 0, 0, 1, 0], [0.9, 0.8, 0.9, 0.6, 0.1, 0.7])
    pruned = outcomes(label, [1, 1, 1, 0, 1, 1], [0.1, 0.3, 0.1, 0.5, 0.1, 0.3])
    assert clearest_losses(parent, pruned, 9).tolist() == [0, 2, 1, 5]  # equal drops: the earlier one first
    assert clearest_losses(parent, pruned, 2).tolist() == [0, 2]
    right = outcomes(label, [0] * 6)
    before, after = {CLEAN: right, FOG: parent, SNOW: right}, {CLEAN: right, FOG: pruned, SNOW: right}
    assert worst_condition(before, after) == FOG
    assert worst_condition({CLEAN: right}, {CLEAN: right}) is None
    assert choose(before, after, FOG, 3) == [(FOG, 0), (FOG, 2), (FOG, 1)]  # nothing is lost on clean images
    both = ({CLEAN: parent, FOG: parent}, {CLEAN: pruned, FOG: pruned})
    assert choose(*both, FOG, 4) == [(CLEAN, 0), (CLEAN, 2), (FOG, 0), (FOG, 2)]
    assert len(choose(*both, FOG, 12)) == 8
    assert choose({CLEAN: parent}, {CLEAN: pruned}, None, 12) == [(CLEAN, i) for i in (0, 2, 1, 5)]


def test_calibration_over_shifts_is_that_of_all_answers_together():
    generator = np.random.default_rng(1)
    label = generator.integers(0, 4, 300)
    models = {}
    for name, skill in (("parent", 0.9), ("pruned", 0.6)):
        models[name] = {
            condition: outcomes(
                label,
                np.where(generator.random(300) < skill, label, (label + 1) % 4),
                generator.random(300),
                generator.uniform(0.3, 1, 300),
            )
            for condition in (CLEAN, FOG, SNOW)
        }
    evidence = Evidence("parent", models)
    found = {(f.method, f.measure): f for f in confidence_findings(evidence, (FOG, SNOW), "shifted")}
    for name, own in models.items():
        together = [np.concatenate([getattr(own[c], column) for c in (FOG, SNOW)]) for column in ("confidence", "loss")]
        right = np.concatenate([own[c].correct for c in (FOG, SNOW)])
        expected = expected_calibration_error(together[0], right)
        assert found[name, "ECE"].estimate.value == pytest.approx(expected, abs=1e-9)
        assert found[name, "NLL"].estimate.value == pytest.approx(together[1].mean(), abs=1e-6)
        curve = reliability_curve(evidence, name, (FOG, SNOW))
        assert sum(part.count for part in curve) == 600
        assert sum(p.count * abs(p.accuracy - p.confidence) for p in curve) / 600 == pytest.approx(expected)
    assert found["parent", "ECE"].difference is None
    assert found["pruned", "NLL"].difference.n == 300  # an example counts once, with all its shifts


def pictures(side, count=12):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    examples = tuple(Example(i, CLEAN, 0, ((0, 0.9), (1, 0.6)), image) for i, image in enumerate(images))
    return Shown(("<cat>", "dog"), examples, "pruned")


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_small_pictures_are_the_very_bytes():
    shown = pictures(32)
    found = cards(shown, ("parent", "pruned"))
    assert all(
        (pixels(c["uri"]).transpose(2, 0, 1) == e.pixels).all() for c, e in zip(found, shown.examples, strict=True)
    )
    assert (found[0]["width"], found[0]["shrunk"]) == (96, False)  # three times 32
    assert (
        found[3]["alt"]
        == "Test image 3, as it is. It shows <cat>; parent says <cat> (90\u00a0%), pruned says dog (60\u00a0%)."
    )
    assert "These are the pixels that the networks saw." in chosen_text(shown, found)


def test_large_pictures_are_shrunk_to_fit():
    """Noise of 224 pixels compresses to nothing smaller: 12 of them would take 2 MB."""
    shown = pictures(224)
    found = cards(shown, ("parent", "pruned"))
    assert sum(len(card["uri"]) for card in found) <= BYTES < 300_000
    small = pixels(found[0]["uri"])
    assert small.shape[0] < 224
    assert small.mean() == pytest.approx(shown.examples[0].pixels.mean(), abs=1)
    assert "smaller than the networks saw them" in chosen_text(shown, found)
    flat = np.full((3, 300, 150), 7, np.uint8)
    tall = Shown((), tuple(Example(i, CLEAN, 3, ((3, 1.0), (1, 1.0)), flat) for i in range(2)))
    assert [card["truth"] for card in cards(tall, ("a", "b"))] == ["class 3"] * 2
    assert cards(Shown(), ("a", "b")) == []
