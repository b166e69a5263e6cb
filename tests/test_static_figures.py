"""Figures for papers: whatever a page draws is drawn again by Matplotlib, whole, with real text, in equal bytes."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from made_records import HOSTILE, METHODS, made_audit, made_limit, made_study
from report_studies import build_study
from sinewy.errors import InputError, MissingExtraError
from sinewy.report.contents import figure_of, figures
from sinewy.report.figure import Figure, dress
from sinewy.report.static.fitting import _in_view
from sinewy.report.static.saving import draw, figure_bytes, save_figure
from sinewy.report.style import GAINS, styles

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex, to_rgba
from matplotlib.text import Text

HERE = Path(__file__).parent
RECORDS = {"study": made_study, "audit": made_audit, "limit": made_limit}


@functools.cache
def drawn_by(record):
    return figures(RECORDS[record]())


@functools.cache
def drawing_of(record, key):
    return draw(drawn_by(record)[key])


def plotted(*traces, legend=None, **layout):
    plot = go.Figure(list(traces))
    dress(plot, height=300)
    plot.update_layout(**layout)
    return Figure("one", "One", "How to read it.", plot, [], legend or {})


def artists(drawing, prefix):
    return {a.get_gid(): a for a in drawing.findobj(lambda a: (a.get_gid() or "").startswith(f"{prefix}."))}


def numbers(drawing, what):
    """The numbers of the traces (shapes, annotations) that left something on the drawing."""
    found = drawing.findobj(lambda a: (a.get_gid() or "").startswith(f"{what}-"))
    return {int(a.get_gid().removeprefix(f"{what}-").partition(".")[0]) for a in found}


def finite_points(trace):
    numbers_of = [np.array([np.nan if v is None else (0 if isinstance(v, str) else v) for v in side], float)
                  for side in (trace.x, trace.y)]  # fmt: skip
    return int((np.isfinite(numbers_of[0]) & np.isfinite(numbers_of[1])).sum())


@pytest.mark.parametrize("record", RECORDS)
def test_every_figure_of_every_page_is_drawn_whole(record):
    assert len(drawn_by(record)) >= 5
    for key, figure in drawn_by(record).items():
        drawing, traces = drawing_of(record, key), figure.plot.data
        assert numbers(drawing, "trace") == set(range(len(traces))), key
        assert numbers(drawing, "shape") == set(range(len(figure.plot.layout.shapes))), key
        assert numbers(drawing, "annotation") == set(range(len(figure.plot.layout.annotations))), key
        for number, trace in enumerate(traces):
            _is_drawn_whole(drawing, number, trace)
        legend = drawing.legends[0].get_texts() if drawing.legends else []
        assert [text.get_text() for text in legend] == list(figure.legend), key


def _is_drawn_whole(drawing, number, trace):
    """Every point with a marker has one, every cell of a map is one."""
    if trace.type == "scatter" and trace.mode and "markers" in trace.mode:
        marked = [a for a in artists(drawing, f"trace-{number}").values() if _is_marked(a)]
        points = sum(int(np.isfinite(np.asarray(a.get_data(), float)).all(axis=0).sum()) for a in marked)
        assert points == finite_points(trace)
    if trace.type == "heatmap":
        mesh = artists(drawing, f"trace-{number}")[f"trace-{number}.0"]
        assert mesh.get_array().size == sum(len(row) for row in trace.z)


def _is_marked(artist):
    return hasattr(artist, "get_marker") and artist.get_linestyle() == "None" and artist.get_marker() not in ("_", "|")


@pytest.mark.parametrize("record", RECORDS)
def test_no_label_is_cut_off(record):
    for key in drawn_by(record):
        drawing = drawing_of(record, key)
        renderer, page = drawing.canvas.get_renderer(), drawing.bbox
        for text in drawing.findobj(lambda a: isinstance(a, Text) and a.get_visible() and a.get_text().strip()):
            box = text.get_window_extent(renderer)
            if not text.get_clip_on() and not _outside_its_axes(text, box):
                assert page.x0 - 2 < box.x0 < box.x1 < page.x1 + 2, (key, text.get_text())
                assert page.y0 - 2 < box.y0 < box.y1 < page.y1 + 2, (key, text.get_text())


@pytest.mark.parametrize(("key", "height"), [("gains", None), ("kinds", None), ("kinds", 12)])
def test_titles_of_narrow_panels_touch_nothing(key, height):
    """Six networks in panels of half an inch: their names stand clear of each other and of the panels above."""
    names = {
        "SET 50 %": "GradualMagnitude 50 %",
        "SET 90 %": "GradualMagnitude 90 %",
        "RigL 50 %": "a_name_that_cannot",
    }
    plain = build_study(examples=20, seeds=1)
    runs = [replace(run, method=names.get(run.method, run.method)) for run in plain.runs]
    runs += [replace(run, method=f"{run.method} too", id=f"{run.id} too") for run in runs[1:3]]
    drawing = draw(figure_of(replace(plain, runs=tuple(runs)), key), width=3.25, height=height)
    renderer = drawing.canvas.get_renderer()
    titles = [text.get_window_extent(renderer) for text in artists(drawing, "annotation-0").values()]
    titles += [t.get_window_extent(renderer) for i in range(1, 6) for t in artists(drawing, f"annotation-{i}").values()]
    panels = [axes.get_tightbbox(renderer) for axes in drawing.axes[1:] if axes.get_visible()]
    assert len(titles) == 6
    for index, title in enumerate(titles):
        for other in [*titles[index + 1 :], *panels]:
            assert not _overlap(title, other), (key, index)
    ticks = [[label.get_window_extent(renderer) for label in _in_view(axes)] for axes in drawing.axes[1:5]]
    assert all(ticks)
    for left, right in pairwise(ticks):
        assert not any(_overlap(one, other) for one in left for other in right)


def _overlap(one, other):
    """Whether two boxes share more than a hair."""
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    return wide > 0.5 and min(one.y1, other.y1) - max(one.y0, other.y0) > 0.5


def _outside_its_axes(text, box):
    """Ticks beyond the limits of an axis have labels that are never drawn."""
    axes = text.axes
    if axes is None or text not in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        return False
    ticks = [t for t in (*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks()) if text in (t.label1, t.label2)]
    sides = [axes.get_xlim(), axes.get_ylim()]
    return not any(min(s) <= t.get_loc() <= max(s) for t in ticks for s in sides)


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_equal_figures_are_equal_bytes(form):
    figure = drawn_by("limit")["map"]
    assert figure_bytes(figure, form) == figure_bytes(figure, form)


def test_bytes_do_not_depend_on_the_process(tmp_path):
    script = (
        "import sys; sys.path.insert(0, 'tests'); from made_records import made_limit\n"
        "from sinewy.report.contents import figure_of, figures; from sinewy.report.static.saving import figure_bytes\n"
        "import hashlib; f = figures(made_limit())['curves']\n"
        "print(*[hashlib.sha256(figure_bytes(f, k)).hexdigest() for k in ('svg', 'pdf', 'png')])"
    )
    quiet = {"PYTHONHASHSEED": "1", "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, env=quiet, cwd=HERE.parent, capture_output=True, text=True, check=True)
    own = [
        hashlib.sha256(figure_bytes(drawn_by("limit")["curves"], form)).hexdigest() for form in ("svg", "pdf", "png")
    ]
    assert done.stdout.split() == own


def test_an_svg_holds_real_text_of_any_name_and_no_date():
    content = figure_bytes(drawn_by("study")["severity"], "svg", width=3.25).decode()
    texts = [
        "".join(node.itertext()).strip() for node in ElementTree.fromstring(content).iter() if node.tag.endswith("text")
    ]
    assert HOSTILE in texts
    assert "severity (0 = clean)" in texts
    assert 'width="234pt"' in content
    assert "<dc:date>" not in content


def test_a_pdf_embeds_its_fonts_and_holds_no_date():
    content = figure_bytes(drawn_by("limit")["curves"], "pdf")
    assert b"/FontFile2" in content
    assert b"CreationDate" not in content


def test_styles_are_those_of_the_page():
    figure = drawn_by("study")["severity"]
    drawing = draw(figure)
    by_group = {style.group: style for style in figure.legend.values()}
    for number, trace in enumerate(figure.plot.data):
        style, own = by_group[trace.meta], artists(drawing, f"trace-{number}").values()
        lines = [a for a in own if hasattr(a, "get_marker") and a.get_marker() == "None"]
        line = next(a for a in lines if a.get_linestyle() != "None" and len(a.get_xdata()) == len(trace.x))
        assert to_hex(line.get_color()) == style.colour
        assert line.is_dashed() == (style.dash != "solid")
    marked = {a.get_marker() for a in drawing.legends[0].get_lines()}
    assert len(marked) == len({style.symbol for style in figure.legend.values()})


def test_methods_can_be_chosen():
    study = made_study()
    chosen = figures(study, ["RigL 90 %"])["severity"]
    assert list(chosen.legend) == ["dense", "RigL 90 %"]
    assert list(figures(study)["severity"].legend) == list(METHODS)
    with pytest.raises(InputError, match="Did you mean 'RigL 90 %'"):
        figures(study, ["RigL 9 %"])


def test_error_bars_end_where_the_interval_does():
    bars = {"type": "data", "symmetric": False, "array": [2, 1], "arrayminus": [0.5, 0.25]}
    drawing = draw(plotted(go.Scatter(x=[1, 2], y=[10, 20], error_y=bars, mode="markers")))
    segments = next(a for a in artists(drawing, "trace-0").values() if hasattr(a, "get_segments")).get_segments()
    assert [sorted(s[:, 1].tolist()) for s in segments] == [[9.5, 12], [19.75, 21]]


def test_axes_are_as_set():
    figure = plotted(
        go.Scatter(x=[1, 1000], y=["low", "high"], mode="markers"),
        xaxis={"type": "log", "range": [-1, 4]},
        yaxis={"autorange": "reversed"},
    )
    axes = draw(figure).axes[1]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == pytest.approx((0.1, 1e4))
    assert axes.get_ylim() == (1.5, -0.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["low", "high"]


def test_axes_that_match_share_their_limits():
    plot = make_subplots(rows=1, cols=2, shared_yaxes=True)
    plot.add_scatter(x=[0, 1], y=[0, 1], row=1, col=1)
    plot.add_scatter(x=[0, 1], y=[0, 50], row=1, col=2)
    one, other = draw(Figure("k", "t", "c", plot, [])).axes[1:3]
    assert one.get_ylim() == other.get_ylim()
    assert one.get_ylim()[1] > 50
    assert one.get_position().x1 < other.get_position().x0


def test_marks_lie_where_they_should():
    plot = go.Figure(go.Scatter(x=[0, 10], y=[0, 1]))
    plot.add_hrect(y0=0.2, y1=0.4, fillcolor="#000000", opacity=0.5, line_width=0, layer="below")
    plot.add_vline(x=5, line={"color": "#ff0000", "dash": "dot"})
    plot.add_annotation(x=2, y=0.5, text="here", showarrow=False)
    drawing = draw(Figure("k", "t", "c", plot, []))
    corners = artists(drawing, "shape-0")["shape-0.0"].get_xy()
    assert corners[:, 1].min() == pytest.approx(0.2)
    assert corners[:, 1].max() == pytest.approx(0.4)
    line = artists(drawing, "shape-1")["shape-1.0"]
    assert list(line.get_xdata()) == [5, 5]
    assert to_rgba(line.get_color()) == (1, 0, 0, 1)
    assert artists(drawing, "annotation-0")["annotation-0.0"].xy == (2, 0.5)


def test_a_map_has_the_colours_and_texts_of_the_page():
    heat = go.Heatmap(
        z=[[-2, 0], [2, None]], x=["a", "b"], y=["c", "d"], zmin=-2, zmax=2, colorscale=GAINS,
        text=[["x", ""], ["y", "z"]], texttemplate="%{text}",
    )  # fmt: skip
    found = artists(draw(plotted(heat)), "trace-0")
    mesh = found.pop("trace-0.0")
    mesh.update_scalarmappable()
    assert [to_hex(colour) for colour in mesh.get_facecolors()[:3]] == [GAINS[0][1], GAINS[2][1], GAINS[4][1]]
    assert mesh.get_facecolors()[3][3] == 0
    assert {text.get_text(): text.get_position() for text in found.values()} == {"x": (0, 0), "y": (0, 1), "z": (1, 1)}
    assert {text.get_text(): text.get_color() for text in found.values()}["x"] == "#ffffff"


def test_bars_stand_beside_each_other_or_on_each_other():
    pair = [go.Bar(x=["a", "b"], y=[1, 2]), go.Bar(x=["a", "b"], y=[3, 4])]
    beside = draw(plotted(*pair, barmode="group"))
    one, other = (artists(beside, f"trace-{i}")[f"trace-{i}.0"] for i in (0, 1))
    assert one.get_x() + one.get_width() == pytest.approx(other.get_x())
    assert one.get_width() == pytest.approx(0.4)
    stacked = draw(plotted(*pair, barmode="stack"))
    upper = artists(stacked, "trace-1")["trace-1.1"]
    assert (upper.get_y(), upper.get_height()) == (2, 4)


def test_an_area_follows_its_steps():
    area = go.Scatter(x=[0, 1, 2], y=[1, 3, 2], mode="lines", line={"shape": "hv"}, fill="tozeroy", fillcolor="#abcdef")
    polygon = artists(draw(plotted(area)), "trace-0")["trace-0.0"]
    assert polygon.get_xy()[:7].tolist() == [[0, 1], [1, 1], [1, 3], [2, 3], [2, 2], [2, 0], [0, 0]]


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (plotted(go.Pie(values=[1, 2])), "pie trace"),
        (plotted(go.Scatter(x=[1], y=[1], stackgroup="a")), "'stackgroup' of scatter"),
        (plotted(go.Scatter(x=[1], y=[1], line={"shape": "spline"}, mode="lines")), "shape 'spline'"),
        (plotted(go.Scatter(x=[1], y=[1], marker={"symbol": "hourglass"}, mode="markers")), "marker 'hourglass'"),
        (plotted(go.Scatter(x=[1], y=[1]), xaxis={"rangeslider": {"visible": True}}), "'rangeslider' of xaxis"),
        (plotted(go.Scatter(x=[1], y=[1]), xaxis={"type": "date"}), "axis of type 'date'"),
        (plotted(go.Scatter(x=[1], y=[1]), shapes=[{"type": "circle", "x0": 0, "x1": 1, "y0": 0, "y1": 1}]), "circle"),
        (plotted(go.Scatter(x=[1], y=[1]), annotations=[{"text": "a", "x": 1, "y": 1}]), "arrows"),
        (
            plotted(go.Scatter(x=[1], y=[1]), xaxis={"title": {"text": "<a href='x'>y</a>x<sup>2</sup>"}}),
            "tag <a href='x'>",
        ),
        (plotted(go.Image(source="data:image/svg+xml;base64,AAAA")), "PNG data: URIs"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_not_left_out(figure, said):
    with pytest.raises(InputError, match=re.escape(said)):
        draw(figure)


def test_sizes(tmp_path):
    figure = drawn_by("limit")["curves"]
    assert draw(figure).get_size_inches()[0] == pytest.approx(3.25)
    assert draw(drawn_by("limit")["map"]).get_size_inches()[0] == pytest.approx(6.75)
    assert draw(figure, width=5, height=3).get_size_inches() == pytest.approx((5, 3), abs=0.05)
    with pytest.raises(InputError, match=r"width=0.5 in"):
        draw(figure, width=0.5)
    with pytest.raises(InputError, match="Did you mean 'pdf'"):
        save_figure(figure, tmp_path / "a.pfd")
    assert save_figure(figure, tmp_path / "new" / "a.svg").read_bytes().startswith(b"<?xml")
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "a.svg"]


def test_letters_that_the_font_lacks_are_said(tmp_path):
    figure = plotted(go.Scatter(x=["\u6570\u636e"], y=[1], mode="markers"))
    with pytest.warns(UserWarning, match="drawn as boxes; SVG keeps the text"):
        save_figure(figure, tmp_path / "a.pdf")
    assert "\u6570\u636e" in save_figure(figure, tmp_path / "a.svg").read_text()


def test_a_users_own_settings_change_nothing():
    import matplotlib

    figure = drawn_by("limit")["map"]
    before = figure_bytes(figure, "svg")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "xtick.direction": "in"}):
        assert figure_bytes(figure, "svg") == before


def test_matplotlib_is_an_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sinewy\[figures\]'"):
        draw(drawn_by("limit")["curves"])


def test_neither_torch_nor_matplotlib_is_loaded_before_it_is_needed():
    script = "import sys, sinewy.report.contents, sinewy.report.static.saving\n"
    script += "import sinewy.report.written.saving, sinewy.cli.figures\n"
    script += "print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_style_without_marker_or_dash_is_told_apart():
    legend = styles(["dense", "SET 90 %"], "dense")
    figure = plotted(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", meta="m0"), legend=legend)
    looks = {
        (line.get_color(), line.get_linestyle(), line.get_marker()) for line in draw(figure).legends[0].get_lines()
    }
    assert len(looks) == 2
