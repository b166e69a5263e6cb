"""What probes found as matrices: figures of small heat maps, side by side, on colours that all can tell apart."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, Offered, all_drawn, dress
from sinewy.report.style import GAINS

Row = Mapping[str, Any]

MOST = 8
"""Networks that one figure has room for."""

PER_ROW = 4
WIDTH = 680
"""Pixels that a page has for a figure, more or less."""

SMALLEST, LARGEST = 110, 300
"""Sides of a panel, in pixels."""

GAP, NARROW = 58, 14
"""Pixels between panels above each other, where there is something to be written and where not."""

ROOM = 30
"""Pixels that a cell must have for its number to be written into it."""

LONG = 4000
"""Numbers that are written one to a line of the CSV file; more stand as matrices, of the networks that are drawn."""

TICKS = 9
COLOURS = "Cividis"
OVERLAY = 0.55
PICTURES = "data:image/png;base64,"


def map_figures(probe: str, maps: Sequence[Row]) -> list[Figure]:
    """Return the maps of a probe as one figure per title; its key is the probe's name and "-map-1", "-map-2", ..."""
    return all_drawn(offered_maps(probe, maps))


def offered_maps(probe: str, maps: Sequence[Row]) -> list[Offered]:
    """Return the same figures, not yet drawn."""
    titles: dict[str, list[Row]] = {}
    for drawn in maps:
        titles.setdefault(drawn["title"], []).append(drawn)
    keys = {title: f"{probe}-map-{number}" for number, title in enumerate(titles, start=1)}
    return [Offered(keys[title], title, partial(_figure, keys[title], title, own)) for title, own in titles.items()]


@dataclass(frozen=True)
class _Panel:
    """A map and where it stands: row and column from 1, what is written above and beside it, and its colours."""

    map: Row
    row: int
    column: int
    above: str
    beside: str
    colours: int


def _figure(key: str, title: str, maps: Sequence[Row]) -> Figure:
    methods = list(dict.fromkeys(drawn["method"] for drawn in maps))
    shown = set(methods[:MOST])
    own = [drawn for drawn in maps if drawn["method"] in shown]
    panels, rows = _placed(own), _table(maps if _numbers(maps) <= LONG else own)
    left_out = f" {len(shown)} of {len(methods)} networks are drawn." if len(methods) > MOST else ""
    columns = max(panel.column for panel in panels)
    return Figure(key, title, maps[0]["reading"] + left_out, _plot(panels), rows, wide=columns > 2)


def _placed(maps: Sequence[Row]) -> list[_Panel]:
    """Return networks side by side and parts below each other; where there is one of either, lines are filled."""
    methods, parts = (list(dict.fromkeys(drawn[name] for drawn in maps)) for name in ("method", "part"))
    if len(methods) == 1 or len(parts) == 1:
        names = [(drawn["part"] or drawn["method"]) if len(methods) == 1 else drawn["method"] for drawn in maps]
        places = [divmod(index, PER_ROW) for index in range(len(maps))]
        return [
            _Panel(drawn, row + 1, column + 1, name, "", 1)
            for drawn, name, (row, column) in zip(maps, names, places, strict=True)
        ]
    found = []
    for drawn in maps:
        row, column = parts.index(drawn["part"]) + 1, methods.index(drawn["method"]) + 1
        beside = drawn["part"] if column == 1 else ""
        found.append(
            _Panel(drawn, row, column, drawn["method"] if row == 1 else "", beside, 1 if drawn["image"] else row)
        )
    return found


def _plot(panels: Sequence[_Panel]) -> go.Figure:
    rows, columns = max(p.row for p in panels), max(p.column for p in panels)
    side = min(LARGEST, max(SMALLEST, WIDTH // columns - 40))
    gap = GAP if any(panel.map["across"] for panel in panels) else NARROW
    height = rows * side + (rows - 1) * gap
    above = {(panel.row, panel.column): panel.above for panel in panels}
    longest = max(8, WIDTH // columns // 8)
    plot = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[
            f"<b>{figure_text(above.get((row, column), ''), longest)}</b>" if above.get((row, column)) else ""
            for row in range(1, rows + 1)
            for column in range(1, columns + 1)
        ],
        horizontal_spacing=0.1 / columns,
        vertical_spacing=gap / height if rows > 1 else 0,
    )
    dress(plot, height=height + 120)
    plot.update_layout(margin={"l": 12, "r": 12, "t": 46, "b": 56})
    plot.update_annotations(font={"size": 12})
    for panel in panels:
        _draw(plot, panel, side, longest)
    for number in sorted({panel.colours for panel in panels}):
        own = [panel for panel in panels if panel.colours == number]
        name = "coloraxis" if number == 1 else f"coloraxis{number}"
        plot.update_layout({name: _colours(own, rows, all_rows=len({p.colours for p in panels}) == 1)})
    return plot


def _draw(plot: go.Figure, panel: _Panel, side: int, longest: int) -> None:
    drawn, place = panel.map, {"row": panel.row, "col": panel.column}
    height, width = len(drawn["values"]), len(drawn["values"][0])
    steps: dict[str, float] = {"x0": 0, "dx": 1, "y0": 0, "dy": 1}
    if drawn["image"].startswith(PICTURES):
        plot.add_trace(go.Image(source=drawn["image"], hoverinfo="skip"), **place)
        across, down = _size(drawn["image"])
        dx, dy = across / width, down / height
        steps = {"x0": dx / 2 - 0.5, "dx": dx, "y0": dy / 2 - 0.5, "dy": dy}
    plot.add_trace(go.Heatmap(z=drawn["values"], **steps, **_trace(panel, side)), **place)
    for axis, names, title in (("xaxes", drawn["columns"], drawn["across"]), ("yaxes", drawn["rows"], drawn["down"])):
        first = panel.column == 1 or axis == "xaxes"
        beside = figure_text(panel.beside, 34) if axis == "yaxes" and panel.beside else ""
        label = "<br>".join(part for part in (beside, figure_text(title, 40)) if part) if first else ""
        update = getattr(plot, f"update_{axis}")
        update(
            **_axis(names if first else [], longest),
            title={"text": label, "standoff": 6, "font": {"size": 12}},
            **place,
        )
    x = "x" if (number := _axes(plot, panel)) == 1 else f"x{number}"
    plot.update_yaxes(autorange="reversed", scaleanchor=x, automargin=True, **place)
    plot.update_xaxes(automargin=True, **place)


def _trace(panel: _Panel, side: int) -> dict[str, Any]:
    drawn = panel.map
    names = [figure_text(name) for name in (drawn["method"], drawn["part"]) if name]
    where = f"{figure_text(drawn['down'] or 'row')} %{{y}}, {figure_text(drawn['across'] or 'column')} %{{x}}"
    settings: dict[str, Any] = {
        "coloraxis": "coloraxis" if panel.colours == 1 else f"coloraxis{panel.colours}",
        "hoverongaps": False,
    }
    if drawn["image"]:
        settings["opacity"], where = OVERLAY, "%{x:.0f}, %{y:.0f}"
    elif drawn["rows"] and side >= ROOM * len(drawn["columns"]):
        settings |= {"texttemplate": "%{z:.2f}", "xgap": 1, "ygap": 1}
    if drawn["rows"] and drawn["columns"]:
        across = [figure_text(name) for name in drawn["columns"]]
        settings["customdata"] = [[[figure_text(name), other] for other in across] for name in drawn["rows"]]
        where = f"{figure_text(drawn['down'])} %{{customdata[0]}}<br>{figure_text(drawn['across'])} %{{customdata[1]}}"
    lines = [f"<b>{names[0]}</b>" if names else "", *names[1:], where, f"{figure_text(drawn['unit'])} %{{z:.4g}}"]
    return settings | {"hovertemplate": "<br>".join(line for line in lines if line) + "<extra></extra>"}


def _axis(names: Sequence[str], longest: int) -> dict[str, Any]:
    plain = {"showgrid": False, "zeroline": False, "ticks": "", "constrain": "domain"}
    if not names:
        return plain | {"showticklabels": False}
    every = -(-len(names) // TICKS)
    middle = len(names) // 2 % every
    places = list(range(middle, len(names), every))
    texts = [figure_text(names[place], min(longest, 26)) for place in places]
    return plain | {"tickmode": "array", "tickvals": places, "ticktext": texts, "tickfont": {"size": 11}}


def _colours(panels: Sequence[_Panel], rows: int, *, all_rows: bool) -> dict[str, Any]:
    drawn = [panel.map for panel in panels]
    known = [value for one in drawn for row in one["values"] for value in row if value is not None] or [0.0, 1.0]
    low, high = drawn[0]["limits"] or (float(min(known)), float(max(known)))
    scale: Any = COLOURS
    if drawn[0]["signed"]:
        reach = max(abs(low), abs(high)) or 1.0
        low, high = -reach, reach
        scale = (
            [[at, colour] for (at, _), (_, colour) in zip(GAINS, reversed(GAINS), strict=True)]
            if drawn[0]["better"] == "lower"
            else GAINS
        )
    middle = 0.5 if all_rows else 1 - (panels[0].row - 0.5) / rows
    bar = {
        "title": {"text": figure_text(drawn[0]["unit"], 22), "side": "right", "font": {"size": 12}},
        "thickness": 12,
        "outlinewidth": 0,
        "len": 1 if all_rows else 0.9 / rows,
        "y": middle,
    }
    return {"colorscale": scale, "cmin": low, "cmax": high if high > low else low + 1, "colorbar": bar}


def _axes(plot: go.Figure, panel: _Panel) -> int:
    """Return the number of a panel's axes, which are counted line by line."""
    return int(plot.get_subplot(panel.row, panel.column).xaxis.plotly_name.removeprefix("xaxis") or 1)


def _size(image: str) -> tuple[int, int]:
    """Return width and height of a PNG file, which stand in its first bytes."""
    head = base64.b64decode(image[len(PICTURES) : len(PICTURES) + 32])
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)


def _numbers(maps: Sequence[Row]) -> int:
    return sum(len(drawn["values"]) * len(drawn["values"][0]) for drawn in maps)


def _table(maps: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the numbers as rows: one each, or where there are many, one line of a matrix each."""
    numbers = _numbers(maps)
    most = max(len(drawn["values"][0]) for drawn in maps)
    found = []
    for drawn in maps:
        names = {"network": drawn["method"], "part": drawn["part"]}
        for index, values in enumerate(drawn["values"]):
            row = drawn["rows"][index] if drawn["rows"] else index
            if numbers > LONG:
                found.append(names | {"row": row} | {str(i): v for i, v in enumerate([*values, *[None] * most][:most])})
                continue
            columns = drawn["columns"] or range(len(values))
            for column, value in zip(columns, values, strict=True):
                found.append(names | {"row": row, "column": column, drawn["unit"]: value})
    return found
