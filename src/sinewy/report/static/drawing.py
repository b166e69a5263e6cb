"""From a figure of the page to a drawing: panels, traces in their order, marks, colour bars and legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from sinewy.report.figure import Figure
from sinewy.report.static.axes import Array, Axis, Panel
from sinewy.report.static.bars import bar
from sinewy.report.static.known import check_layout, check_trace
from sinewy.report.static.lines import scatter
from sinewy.report.static.maps import heatmap, image
from sinewy.report.static.marks import draw_annotations, draw_shapes, name_artists
from sinewy.report.static.shades import Shades
from sinewy.report.static.sheet import Sheet, legend_entries
from sinewy.report.static.text import PX, colour, dash, marker, plain

Settings = Mapping[str, Any]
Trace = Mapping[str, Any]
Place = tuple[str, str]

PAGE_WIDTH = 860.0
"""Pixels that the page has for a figure: panels with square cells shrink with the width."""

LEAST_HIGH = 0.6
"""Share of its height on the page that a figure keeps, however narrow: labels do not shrink."""


def drawn_figure(figure: Figure, width: float, height: float | None) -> Drawing:
    """Return `figure` as a Matplotlib figure, `width` inches wide, and `height` high unless that is None.

    Artists carry the number of what they draw as their gid: "trace-0.0", "shape-1.0", "annotation-2.0". Raises
    InputError for anything that a static drawing does not know.
    """
    layout = _unpacked(figure.plot.layout.to_plotly_json())
    traces = [
        _unpacked(trace.to_plotly_json()) for trace in figure.plot.data if trace.visible not in (False, "legendonly")
    ]
    check_layout(layout)
    for trace in traces:
        check_trace(trace)
    sheet = Sheet(width, _inner_height(layout, width))
    panels = _panels(sheet, layout, traces)
    _draw_traces(sheet, panels, layout, traces)
    draw_shapes(sheet, panels, layout.get("shapes") or ())
    draw_annotations(sheet, panels, layout.get("annotations") or ())
    drawn_on = {(_ref(trace, "x"), _ref(trace, "y")) for trace in traces}
    for place, panel in panels.items():
        panel.finish()
        panel.axes.set_visible(place in drawn_on)
    legend = legend_entries(figure.legend) + (_own_legend(traces) if layout.get("showlegend") else [])
    sheet.fit(list(panels.values()), legend, height)
    return sheet.drawing


def _inner_height(layout: Settings, width: float) -> float:
    """Return how high the panels are together, in inches."""
    margin = layout.get("margin") or {}
    pixels = float(layout.get("height") or 450) - float(margin.get("t", 100)) - float(margin.get("b", 80))
    square = any("scaleanchor" in axis for name, axis in layout.items() if name.startswith(("xaxis", "yaxis")))
    share = min(1.0, max(LEAST_HIGH, width * 72 / PX / PAGE_WIDTH)) if square else 1.0
    return max(pixels, 60.0) * share * PX / 72


def _panels(sheet: Sheet, layout: Settings, traces: Sequence[Trace]) -> dict[Place, Panel]:
    """Return the panels by the axes they lie on; those without a trace as well."""
    settings = {n.replace("axis", ""): s for n, s in layout.items() if n.startswith(("xaxis", "yaxis"))}
    places = [(_ref(trace, "x"), _ref(trace, "y")) for trace in traces]
    drawn_on = {y for _, y in places}
    places += [(str(s.get("anchor") or "x"), y) for y, s in settings.items() if y[0] == "y" and y not in drawn_on]
    places = [(x, y) for x, y in dict.fromkeys(places) if x != "free"]
    axes = _axes(settings, [name for place in places for name in place])
    for trace in traces:
        for name in ("x", "y"):
            axes[_ref(trace, name)].learn(trace.get(name) or ())
    found = {}
    for x, y in places:
        x_settings, y_settings = settings.get(x, {}), settings.get(y, {})
        (left, right), (low, high) = (s.get("domain", (0.0, 1.0)) for s in (x_settings, y_settings))
        drawn = sheet.add_axes((left, low, right, high))
        if x_settings.get("scaleanchor") or y_settings.get("scaleanchor"):
            drawn.set_aspect("equal", adjustable="box")
        found[x, y] = Panel(drawn, axes[x], axes[y], x_settings, y_settings)
    return found


def _axes(settings: Settings, names: Sequence[str]) -> dict[str, Axis]:
    """Return the axis of each name; axes that match another are that one."""
    made: dict[str, Axis] = {}
    found = {}
    for name in names:
        root, seen = name, {name}
        while (other := settings.get(root, {}).get("matches")) and other not in seen:
            root = str(other)
            seen.add(root)
        if root not in made:
            made[root] = Axis(settings.get(root, {}))
        found[name] = made[root]
    return found


def _draw_traces(sheet: Sheet, panels: Mapping[Place, Panel], layout: Settings, traces: Sequence[Trace]) -> None:
    shades = _shades(layout, traces)
    before: dict[Place, tuple[Array, Array]] = {}
    bars = _bar_places(layout, traces)
    ends: dict[tuple[Place, str], Array] = {}
    for index, trace in enumerate(traces):
        place = _ref(trace, "x"), _ref(trace, "y")
        panel, kind = panels[place], trace.get("type", "scatter")
        if kind == "heatmap":
            drawn = heatmap(panel, trace, shades[index])
        elif kind == "image":
            drawn = image(panel, trace)
        elif kind == "bar":
            stack = (place, str(trace.get("orientation")))
            drawn, end = bar(panel, trace, *bars[index], ends.get(stack))
            if layout.get("barmode") in ("stack", "relative"):
                ends[stack] = end
        else:
            drawn, before[place] = scatter(panel, trace, before.get(place))
        name_artists(drawn, f"trace-{index}")
    _draw_colour_bars(sheet, layout, traces, shades)


def _shades(layout: Settings, traces: Sequence[Trace]) -> dict[int, Shades]:
    """Return the colours of each map; maps on one colour axis share them."""
    maps = {index: trace for index, trace in enumerate(traces) if trace.get("type") == "heatmap"}
    by_axis: dict[str, list[Any]] = {}
    for trace in maps.values():
        if trace.get("coloraxis"):
            by_axis.setdefault(str(trace["coloraxis"]), []).append(trace["z"])
    shared = {name: Shades(tables, layout.get(name) or {}, "c") for name, tables in by_axis.items()}
    return {
        index: shared[str(trace["coloraxis"])] if trace.get("coloraxis") else Shades([trace["z"]], trace, "z")
        for index, trace in maps.items()
    }


def _draw_colour_bars(sheet: Sheet, layout: Settings, traces: Sequence[Trace], shades: Mapping[int, Shades]) -> None:
    done: set[str] = set()
    for index, own in shades.items():
        name = str(traces[index].get("coloraxis") or f"trace {index}")
        settings = traces[index] if name.startswith("trace ") else (layout.get(name) or {})
        if name not in done and settings.get("showscale", True) is not False:
            sheet.add_colour_bar(own, settings.get("colorbar") or {})
        done.add(name)


def _bar_places(layout: Settings, traces: Sequence[Trace]) -> dict[int, tuple[float, float]]:
    """Return offset and width of each trace of bars: grouped ones share the room of a place."""
    gap_between = layout.get("bargap")
    room = 1 - (0.2 if gap_between is None else float(gap_between))
    gap = float(layout.get("bargroupgap") or 0)
    grouped = layout.get("barmode", "group") == "group"
    bars = [index for index, trace in enumerate(traces) if trace.get("type") == "bar"]
    found = {}
    for index in bars:
        together = [i for i in bars if all(_ref(traces[i], n) == _ref(traces[index], n) for n in "xy")]
        count, position = (len(together), together.index(index)) if grouped else (1, 0)
        step = _spacing(traces[index]) * room / count
        width = float(traces[index].get("width") or step * (1 - gap))
        found[index] = ((position - (count - 1) / 2) * step, width)
        if traces[index].get("offset") is not None:
            found[index] = (float(traces[index]["offset"]) + width / 2, width)
    return found


def _spacing(trace: Trace) -> float:
    """Return how far apart the places of bars are: 1, or the smallest step between numbers."""
    places = trace.get("y" if trace.get("orientation") == "h" else "x")
    numbers = [place for place in (places if places is not None else ()) if isinstance(place, int | float)]
    steps = np.diff(np.unique(np.asarray(numbers, dtype=float)))
    return float(steps.min()) if len(numbers) == len(places or ()) and steps.size else 1.0


def _own_legend(traces: Sequence[Trace]) -> list[tuple[str, Line2D]]:
    """Return the entries of a figure that names its traces itself."""
    entries = []
    for trace in traces:
        if not trace.get("name") or trace.get("showlegend") is False:
            continue
        line, mark = trace.get("line") or {}, trace.get("marker") or {}
        tint = line.get("color") or (mark.get("color") if isinstance(mark.get("color"), str) else None) or "#4c78a8"
        mode = str(trace.get("mode") or ("lines" if trace.get("type") != "bar" else "markers"))
        symbol = "square" if trace.get("type") == "bar" else mark.get("symbol") or "circle"
        look = marker(symbol, 8, colour(tint)) if "markers" in mode and isinstance(symbol, str) else {}
        style: Any = dash(line.get("dash")) if "lines" in mode else "none"
        width = float(line.get("width", 2)) * PX
        entries.append(
            (plain(trace["name"])[0], Line2D([], [], color=colour(tint), linewidth=width, linestyle=style, **look))
        )
    return entries


def _ref(trace: Trace, name: str) -> str:
    return str(trace.get(f"{name}axis") or name)


def _unpacked(found: Any) -> Any:
    """Return plain lists for whatever arrays a figure holds."""
    if isinstance(found, Mapping):
        return {name: _unpacked(value) for name, value in found.items()}
    if isinstance(found, np.ndarray):
        return found.tolist()
    if isinstance(found, list | tuple):
        return [_unpacked(value) for value in found]
    return found.item() if isinstance(found, np.generic) else found
