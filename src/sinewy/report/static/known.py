"""What a static drawing knows of Plotly: whatever a figure uses beyond this is an error, never left out in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sinewy.errors import InputError

Known = Mapping[str, Any]


def _all(names: str) -> Known:
    return dict.fromkeys(names.split())


WITHOUT_INK = _all(
    "uid name meta ids customdata hoverinfo hovertemplate hovertext hoverlabel hoveron hoverongaps hoverdistance"
    " hovermode dragmode legendgroup legendrank showlegend visible template modebar uirevision automargin fixedrange"
    " anchor autosize scaleanchor scaleratio constrain constraintoward selectedpoints spikedistance simplify cliponaxis"
    " legend separators hoversubplots alignmentgroup offsetgroup ticklabelstandoff ticklabelposition"
    " ticklabelmode zauto cauto autocolorscale exclude_empty_subplots showarrow captureevents"
)
"""Attributes that draw nothing, or that a static drawing decides by itself."""

FONT: Known = _all("family size color weight")
LINE: Known = _all("color dash width shape")
ERROR: Known = _all("type symmetric array arrayminus thickness width color visible")
TITLE: Known = {"text": None, "standoff": None, "font": FONT, "side": None}
MARKER: Known = {
    **_all("color symbol size opacity colorscale cmin cmax cmid coloraxis"),
    "line": _all("color width"),
    "pattern": _all("shape fgcolor bgcolor size solidity fillmode"),
    "showscale": None,
}
COLORBAR: Known = {
    **_all("thickness outlinewidth len lenmode x xanchor xpad y yanchor ypad"),
    **_all("tickvals ticktext tickformat ticksuffix tickprefix dtick nticks ticks orientation tickmode"),
    "title": TITLE,
    "tickfont": FONT,
}
SCALE: Known = {**_all("colorscale reversescale showscale"), "colorbar": COLORBAR}
PLACED: Known = _all("type xaxis yaxis x y opacity zorder")

TRACES: Mapping[str, Known] = {
    "scatter": {
        **PLACED,
        **_all("mode text textposition fill fillcolor connectgaps"),
        "line": LINE,
        "marker": MARKER,
        "error_x": ERROR,
        "error_y": ERROR,
        "textfont": FONT,
    },
    "bar": {
        **PLACED,
        **_all("orientation base width offset text textposition textangle"),
        "marker": MARKER,
        "error_x": ERROR,
        "error_y": ERROR,
        "textfont": FONT,
    },
    "image": {**PLACED, **_all("source x0 dx y0 dy")},
    "heatmap": {
        **PLACED,
        **SCALE,
        **_all("x0 dx y0 dy"),
        **_all("z zmin zmax zmid coloraxis text texttemplate xgap ygap zsmooth transpose"),
        "textfont": FONT,
    },
}
"""The attributes of each kind of trace that are drawn."""

AXIS: Known = {
    **_all("type domain range autorange rangemode matches side categoryorder categoryarray"),
    **_all("tickvals ticktext tickmode tick0 dtick nticks tickangle tickformat ticksuffix tickprefix exponentformat"),
    **_all("ticks tickcolor ticklen tickwidth showticklabels showgrid gridcolor gridwidth griddash"),
    **_all("zeroline zerolinecolor zerolinewidth showline linecolor linewidth mirror color visible"),
    "title": TITLE,
    "tickfont": FONT,
    "minor": _all("ticks showgrid ticklen"),
}
SHAPE: Known = {
    **_all("type x0 x1 y0 y1 xref yref fillcolor opacity layer"),
    "line": LINE,
}
ANNOTATION: Known = {
    **_all("text x y xref yref xanchor yanchor xshift yshift align textangle opacity"),
    **_all("bgcolor bordercolor borderwidth borderpad"),
    "font": FONT,
}
LAYOUT: Known = {
    **_all("height width margin paper_bgcolor plot_bgcolor barmode bargap bargroupgap boxmode grid"),
    "font": FONT,
    "title": TITLE,
}


def check_trace(trace: Mapping[str, Any]) -> None:
    """Raise InputError for a kind of trace, or an attribute of it, that a static drawing does not know."""
    kind = str(trace.get("type", "scatter"))
    if kind not in TRACES:
        raise InputError(f"a static figure cannot draw a {kind} trace yet; it knows: {', '.join(TRACES)}.")
    _check(trace, TRACES[kind], kind)


def check_layout(layout: Mapping[str, Any]) -> None:
    """Raise InputError for anything in a layout that a static drawing does not know."""
    rest = {}
    for name, value in layout.items():
        if name.startswith(("xaxis", "yaxis")):
            _check(value, AXIS, name)
        elif name.startswith("coloraxis"):
            _check(value, {**SCALE, **_all("cmin cmax cmid")}, name)
        elif name in ("shapes", "annotations"):
            _check_all(value, SHAPE if name == "shapes" else ANNOTATION, name)
        else:
            rest[name] = value
    _check(rest, LAYOUT, "layout")


def _check_all(items: Iterable[Mapping[str, Any]], known: Known, where: str) -> None:
    for number, item in enumerate(items):
        if where == "annotations" and item.get("showarrow", True) is not False:
            raise InputError("a static figure cannot draw annotations with arrows; give them showarrow=False.")
        _check(item, known, f"{where}[{number}]")


def _check(found: Mapping[str, Any], known: Known, where: str) -> None:
    for name, value in found.items():
        if name in WITHOUT_INK and name not in known:
            continue
        if name not in known:
            raise InputError(f"a static figure cannot draw '{name}' of {where} (it is {str(value)[:60]!r}).")
        if isinstance(known[name], Mapping) and isinstance(value, Mapping):
            _check(value, known[name], f"{where}.{name}")
