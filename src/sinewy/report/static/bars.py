"""Bars of a figure, drawn: beside each other, or stacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist

from sinewy.report.static.axes import Array, Panel
from sinewy.report.static.lines import each, error_bars_of, labels_of, points
from sinewy.report.static.text import HATCHES, PX, colour
from sinewy.report.style import INK

Trace = Mapping[str, Any]


def bar(panel: Panel, trace: Trace, offset: float, width: float, base: Array | None) -> tuple[list[Artist], Array]:
    """Draw one trace of bars, `offset` from their places and `width` wide; return them and where they end."""
    across = trace.get("orientation") == "h"
    along, places = points(panel, trace) if across else points(panel, trace)[::-1]
    length, place = (panel.x, panel.y) if across else (panel.y, panel.x)
    given = trace.get("base")
    low = base if base is not None else np.broadcast_to(np.asarray(0.0 if given is None else given, float), along.shape)
    mark = trace.get("marker") or {}
    opacity = float(trace.get("opacity") or 1.0)
    tints = each(mark.get("color") or "#4c78a8", len(along))
    hatch = HATCHES.get(str((mark.get("pattern") or {}).get("shape") or ""), "...")
    edge = (mark.get("line") or {}).get("color")
    draw = panel.axes.barh if across else panel.axes.bar
    bars = draw(
        places + offset,
        along,
        width,
        low,
        color=[colour(tint, opacity) for tint in tints],
        edgecolor=colour(edge) if edge else ("#ffffff" if hatch else "none"),
        linewidth=float((mark.get("line") or {}).get("width") or 0) * PX,
        hatch=hatch or None,
        zorder=3,
    )
    x_end, y_end = (low + along, places + offset) if across else (places + offset, low + along)
    drawn = [*bars, *error_bars_of(panel, trace, x_end, y_end, colour(INK))]
    if trace.get("text") is not None:
        drawn += labels_of(panel, {**trace, "textposition": "middle right" if across else "top center"}, x_end, y_end)
    length.reach(low + along, padded=True)
    length.reach(low)
    place.reach(np.concatenate([places + offset - width / 2, places + offset + width / 2]), padded=True)
    return drawn, low + along
