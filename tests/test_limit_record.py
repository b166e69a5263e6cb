"""What a limit says: safe sparsities by hand, the answer in words, and the record read again from its folder."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import sinewy as sw
from limit_parts import load_digits, record, trained_network
from sinewy.analysis.limit_files import read_limit
from sinewy.errors import CorruptFileError, InputError
from sinewy.outcomes import CLEAN
from sinewy.report.practice.limit_text import limit_answer, limit_rows, limit_summary, limit_text


def test_a_parent_that_retraining_overtakes_is_named():
    """Levels that got training the parent never had are safe for that reason, too."""
    caveat = "up to 9.5 points better than the unpruned network"
    curve = {"clean": [10, 1, 9, 30]}
    assert caveat in limit_text(record(curve, parent_errors=20, retrain="6ep"))
    assert caveat not in limit_text(record(curve, parent_errors=20))
    for errors in (0, 2):  # not better, or by one example: nothing that chance would not do
        assert "not trained to its end" not in limit_text(record(curve, parent_errors=errors, retrain="6ep"))


def test_safe_and_first_break_by_hand():
    """200 examples, 1 point is 2 of them. Fog breaks at 0.36, recovers at 0.49; clean never breaks."""
    found = record({"clean": [0, 0, 1, 2], "fog": [1, 3, 2, 9], "snow": [3, 5, 9, 20]})
    fog, snow = found.potentials["fog"], found.potentials["snow"]
    assert (fog.sparsity, fog.first_break, fog.break_loss.value) == (0.49, 0.36, pytest.approx(0.015))
    assert (snow.sparsity, snow.first_break) == (0.0, 0.2)
    assert found.potentials["clean"].censored
    assert found.weakest == "snow"
    assert found.certificates["snow"].sparsity == found.certificate.sparsity == 0.0
    rows = {row["group"]: row for row in limit_rows(found)}
    assert (rows["clean"]["safe"], rows["clean"]["first_break"], rows["fog"]["safe"]) == (0.59, None, 0.49)
    assert limit_answer(found).startswith("If snow can reach this model in use, do not prune")
    text = limit_text(found)
    assert "0.36  -1.5" in text
    assert "0.59" in text.split("your test set")[1].split("\n")[0]
    assert text.count("← the limit") == 1
    assert "the loss rises and falls again" in text
    assert "the loss rises and falls again" not in limit_text(record({"clean": [0, 0, 9, 9]}))


def test_the_answer_when_nothing_is_weaker():
    assert "no group of shifts allows less" in limit_answer(record({"clean": [0, 9, 9, 9], "fog": [0, 9, 9, 9]}))
    assert "No shift was measured" in limit_answer(record({"clean": [0, 9, 9, 9]}))
    assert "stop at 0.20" in limit_answer(record({"clean": [0, 0, 0, 0], "fog": [0, 9, 9, 9]}))
    assert record({"clean": [0, 0, 0, 0]}, n=2000).certificate.sparsity == 0.59


def test_every_group_that_sets_the_limit_is_named():
    found = record({"clean": [0, 0, 0, 9], "fog": [0, 9, 9, 9], "snow": [0, 5, 9, 9], "frost": [0, 0, 9, 9]})
    assert limit_answer(found).startswith("If fog or snow can reach this model in use, stop at 0.20. If inputs stay")
    assert limit_text(found).count("← the limit") == 2


def test_an_answer_at_which_another_group_breaks_says_so():
    """Snow allows 0.36, fog 0.59; but at 0.36 fog loses too much: what holds for each does not hold for both."""
    found = record({"clean": [0, 0, 0, 0], "fog": [0, 3, 3, 2], "snow": [0, 2, 3, 9]})
    assert limit_answer(found).endswith(
        "But losses rise and fall again: at 0.36, inputs under fog lose more than 1 point. Beyond 0.20 some inputs do."
    )
    early = record({"clean": [0, 3, 0, 9], "fog": [3, 3, 0, 0], "snow": [0, 2, 9, 9]})
    assert limit_answer(early).endswith(
        "at 0.36, clean inputs and inputs under fog lose more than 1 point. From the first sparsity tried on some "
        "inputs do."
    )
    assert "rise and fall" not in limit_answer(record({"clean": [0, 0, 0, 0], "fog": [3, 2, 2, 9]}))
    assert "rise and fall" not in limit_answer(record({"clean": [9, 9, 9, 9], "fog": [3, 9, 9, 2]}))


def test_the_largest_sparsity_tried_is_said_in_english():
    said = "0.59, the most that was tried, stays within 1 point of the unpruned network"
    assert said in limit_answer(record({"clean": [0, 0, 0, 0]}))
    assert "200 test examples" in limit_text(record({"clean": [0, 0, 0, 0]}))
    one = limit_text(record({"clean": [0, 0, 0, 0]}, n=1))
    assert "1 test example." in one
    assert "but 1 example cannot show it" in one


def test_a_parent_at_chance_is_named():
    """Nothing can be lost by who has nothing; an unbalanced set is answered by its largest class."""
    said = "where always answering its most frequent class is right on"
    found = record({"clean": [0, 0, 0, 0]})

    def with_labels(share, right):
        label = (np.arange(200) >= share * 200).astype(np.int32)
        correct = np.arange(200) % 100 < 100 * right
        own = replace(found.parent[CLEAN], label=label, prediction=np.where(correct, label, 1 - label))
        level = tuple(replace(one, outcomes={CLEAN: own}) for one in found.levels)
        return limit_text(replace(found, parent={CLEAN: own}, levels=level))

    assert "right on 50.0 % of the test set, where always answering its most frequent class is right on 50.0" in (
        with_labels(0.5, 0.5)
    )
    assert said in with_labels(0.9, 0.9)
    assert said not in with_labels(0.5, 0.7)
    assert said not in with_labels(0.9, 0.98)
    assert said not in limit_text(found)  # of one class, where chance is all


def test_which_networks_are_looked_at_closely():
    """That of the answer is the sparsest safe one of the weakest group; the next one breaks."""
    found = record({"clean": [0, 0, 1, 2], "fog": [1, 3, 2, 9]})
    assert (found.answer.sparsity, found.beyond.sparsity) == (0.49, 0.59)
    everything = record({"clean": [0, 0, 0, 0]})
    assert (everything.answer.sparsity, everything.beyond) == (0.59, None)
    nothing = record({"clean": [9, 9, 9, 9]})
    assert (nothing.answer.sparsity, nothing.beyond) == (0.2, None)


def test_a_record_is_read_again_from_its_folder(tmp_path):
    digits, folder = load_digits(), tmp_path / "limit"
    made = sw.limit(trained_network(), digits, grid=[0.5, 0.9], shifts=["fog"], first=60, folder=folder)
    read = read_limit(folder)
    assert limit_summary(read) == limit_summary(made.record)
    assert (read.classes, read.groups) == (tuple(digits.test.classes), made.record.groups)
    assert [level.layers for level in read.levels] == [level.layers for level in made.record.levels]
    assert [level.left for level in read.levels] == [level.left for level in made.record.levels]
    document = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**document, "levels": [{"sparsity": 0.5}]}))
    with pytest.raises(CorruptFileError, match=r"record.json is not the record of a limit"):
        read_limit(folder)
    with pytest.raises(InputError, match="holds no finished limit"):
        read_limit(tmp_path)
