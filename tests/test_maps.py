"""Matrices as data and as figures: shrunk, drawn, written as CSV, and harmless whatever they are called."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sinewy.analysis.maps import LARGEST, Map, picture, shrunk
from sinewy.errors import InputError
from sinewy.report.maps import LONG, MOST, map_figures


def drawn(values, **more):
    fields = {"title": "T", "reading": "how", "unit": "u"} | more
    return Map(values=np.asarray(values, float), **fields).as_dict()


def test_shrunk_by_hand():
    table = np.array([[1, 3, 5, 7], [1, 3, 5, 7], [2, 2, np.nan, np.nan]])
    np.testing.assert_array_equal(shrunk(table, 2), [[2, 6], [2, np.nan]])
    np.testing.assert_array_equal(shrunk(table[2:, 2:], 1), [[np.nan]])
    assert shrunk(table, 4) is not table
    np.testing.assert_array_equal(shrunk(table, 4), table)


@given(st.integers(1, 200), st.integers(1, 90), st.integers(1, 60))
def test_shrunk_keeps_the_size_and_the_range(rows, columns, most):
    table = np.random.default_rng(rows).normal(size=(rows, columns))
    small = shrunk(table, most)
    steps = (-(-rows // most), -(-columns // most))
    assert small.shape == (-(-rows // steps[0]), -(-columns // steps[1]))
    assert max(small.shape) <= most
    assert table.min() - 1e-9 <= small.min() <= small.max() <= table.max() + 1e-9
    if rows % steps[0] == 0 and columns % steps[1] == 0:
        assert small.mean() == pytest.approx(table.mean())


def test_a_picture_is_the_same_image_again():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 7)).astype(np.uint8)
    uri = picture(pixels)
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), pixels)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: drawn([1.0, 2.0]), "needs values"),
        (lambda: drawn([[1.0, 2.0]], columns=("a",)), "a map of 2 columns needs as many names"),
        (lambda: drawn([[1.0, 2.0]], rows=("a", "b")), "a map of 1 rows"),
        (lambda: picture(np.zeros((5, 7, 3), np.uint8)), "a picture is made of uint8"),
    ],
)
def test_bad_input(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_values_are_short_and_nothing_is_none():
    found = drawn([[0.123456, np.nan, 12345.678]])
    assert found["values"] == [[0.1235, None, 12350.0]]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_figure_per_title_networks_side_by_side_parts_below():
    maps = [
        drawn([[1.0, 2.0]], method=m, part=p, title=t, down="out", across="in")
        for t in ("counts", "sizes")
        for p in ("layer 1", "layer 2")
        for m in ("dense", "sparse")
    ]
    first, second = map_figures("kernels", maps)
    assert (first.key, first.title, second.key) == ("kernels-map-1", "counts", "kernels-map-2")
    assert [trace.coloraxis for trace in first.plot.data] == ["coloraxis", "coloraxis", "coloraxis2", "coloraxis2"]
    assert [trace.xaxis for trace in first.plot.data] == ["x", "x2", "x3", "x4"]
    titles = [annotation.text for annotation in first.plot.layout.annotations]
    assert titles == ["<b>dense</b>", "<b>sparse</b>"]
    assert first.plot.layout.yaxis.title.text == "layer 1<br>out"
    assert first.rows[0] == {"network": "dense", "part": "layer 1", "row": 0, "column": 0, "u": 1.0}


def test_colours_of_signed_maps_are_centred_and_blue_is_better():
    signed = {"signed": True, "better": "lower"}
    [figure] = map_figures("p", [drawn([[-1.0, 3.0]], **signed), drawn([[0.5, 0.0]], part="other", **signed)])
    axis = figure.plot.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-3, 3)
    assert axis.colorscale[0][1] == "#005a8f"
    [other] = map_figures("p", [drawn([[-1.0, 3.0]], signed=True, better="higher")])
    assert other.plot.layout.coloraxis.colorscale[-1][1] == "#005a8f"
    [flat] = map_figures("p", [drawn([[2.0, 2.0]])])
    assert flat.plot.layout.coloraxis.cmax > flat.plot.layout.coloraxis.cmin
    [empty] = map_figures("p", [drawn([[np.nan]])])
    assert empty.plot.layout.coloraxis.cmin == 0


def test_an_image_lies_under_its_map():
    image = picture(np.zeros((3, 32, 64), np.uint8))
    [figure] = map_figures("p", [drawn(np.ones((8, 8)), image=image)])
    under, over = figure.plot.data
    assert under.source == image
    assert (over.dx, over.x0, over.dy, over.y0) == (8, 3.5, 4, 1.5)
    assert over.opacity < 1


def test_many_networks_and_large_maps_stay_small():
    maps = [
        drawn(shrunk(np.random.default_rng(i).normal(size=(512, 512))), method=f"m{i}", part=p)
        for i in range(MOST + 3)
        for p in ("a", "b", "c")
    ]
    [figure] = map_figures("p", maps)
    assert len(figure.plot.data) == 3 * MOST
    assert f"{MOST} of {MOST + 3} networks are drawn" in figure.caption
    assert {row["network"] for row in figure.rows} == {f"m{i}" for i in range(MOST)}
    assert len(figure.rows) == 3 * MOST * LARGEST  # a line of a matrix each: more than LONG numbers
    assert LARGEST**2 * len(maps) > LONG
    assert len(figure.json) + len(figure.csv) < 2_000_000
    assert len({tuple(row) for row in figure.rows}) == 1
    [few] = map_figures("p", [drawn([[0.5]], method=f"m{i}") for i in range(MOST + 3)])
    assert len(few.rows) == MOST + 3


def test_hostile_names_are_inert():
    name = "</script><img src=x onerror=alert(1)>"
    [figure] = map_figures("p", [drawn([[1.0]], method=name, part=name, rows=(name,), columns=("=1+1",), unit=name)])
    assert "<img" not in figure.json
    assert "</script" not in figure.json
    text = base64.b64decode(figure.csv.partition(",")[2]).decode()
    assert "'=1+1" in text
