"""Lines, rectangles and texts that lie on a panel or on the paper of a figure, drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist

from sinewy.errors import InputError
from sinewy.report.static.axes import Panel
from sinewy.report.static.sheet import Sheet
from sinewy.report.static.text import FONT_SIZE, PX, colour, dash, plain
from sinewy.report.style import INK

Panels = Mapping[tuple[str, str], Panel]


def draw_shapes(sheet: Sheet, panels: Panels, shapes: Iterable[Mapping[str, Any]]) -> None:
    """Draw the lines and rectangles that lie on a panel, or on the paper."""
    for number, shape in enumerate(shapes):
        panel, transform = _whereabouts(sheet, panels, shape)
        axes = panel.axes if panel else sheet.paper
        xs, ys = _corners(panel, shape)
        line = shape.get("line") or {}
        opacity = float(shape.get("opacity") or 1.0)
        width = float(line.get("width", 2)) * PX
        look = {"linewidth": width, "linestyle": dash(line.get("dash")), "transform": transform}
        look |= {"zorder": 1 if shape.get("layer") == "below" else 3.2}
        tint = colour(line.get("color") or "#444444", opacity)
        drawn: Sequence[Artist]
        if shape["type"] == "line":
            drawn = axes.plot(xs, ys, color=tint, scalex=False, scaley=False, **look)
        elif shape["type"] == "rect":
            filled = colour(shape["fillcolor"], opacity) if shape.get("fillcolor") else "none"
            x, y = [xs[0], xs[1], xs[1], xs[0]], [ys[0], ys[0], ys[1], ys[1]]
            drawn = axes.fill(x, y, facecolor=filled, edgecolor=tint if width else "none", **look)
        else:
            raise InputError(f"a static figure cannot draw the shape '{shape['type']}'; it knows line and rect.")
        name_artists(drawn, f"shape-{number}")


def draw_annotations(sheet: Sheet, panels: Panels, annotations: Iterable[Mapping[str, Any]]) -> None:
    """Write the texts that lie on a panel, or on the paper, where the titles of panels are."""
    for number, note in enumerate(annotations):
        panel, transform = _whereabouts(sheet, panels, note)
        axes = panel.axes if panel else sheet.paper
        xs, ys = _corners(panel, {**note, "x0": note.get("x", 0.5), "y0": note.get("y", 0.5)})
        label, bold = plain(note.get("text") or "")
        font = note.get("font") or {}
        horizontal = {"auto": "center"}.get(note.get("xanchor", "auto"), note.get("xanchor", "center"))
        vertical = {"middle": "center", "auto": "center"}.get(
            note.get("yanchor", "auto"), note.get("yanchor", "center")
        )
        text = axes.annotate(
            label,
            (xs[0], ys[0]),
            (
                float(note.get("xshift") or 0) * PX,
                float(note.get("yshift") or 0) * PX + (2 if vertical == "bottom" else 0),
            ),
            xycoords=transform,
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
            rotation=-float(note.get("textangle") or 0),
            fontsize=float(font.get("size") or 0) * PX or FONT_SIZE,
            color=colour(font.get("color") or INK, float(note.get("opacity") or 1.0)),
            fontweight="bold" if bold else "normal",
            parse_math=False,
            annotation_clip=False,
            zorder=6,
        )
        if note.get("bgcolor") or note.get("bordercolor"):
            edge = colour(note["bordercolor"]) if note.get("bordercolor") else "none"
            fill = colour(note["bgcolor"]) if note.get("bgcolor") else "none"
            text.set_bbox({"facecolor": fill, "edgecolor": edge, "linewidth": 0.6, "pad": 1.5})
        name_artists([text], f"annotation-{number}")
        if panel is None and horizontal == "center" and not note.get("textangle"):
            sheet.add_title(text, _column(panels.values(), float(xs[0])))


def name_artists(artists: Iterable[Artist], name: str) -> None:
    """Name what was drawn, so that it can be told in an SVG file, and counted."""
    for number, artist in enumerate(artists):
        artist.set_gid(f"{name}.{number}")


def _column(panels: Iterable[Panel], middle: float) -> float:
    """Return how much of the width a title at `middle` has: its panel's, or all of it."""
    sides = [panel.domain for panel in panels]
    own = [right - left for left, _, right, _ in sides if left - 1e-6 <= middle <= right + 1e-6]
    return min(own, default=1.0)


def _whereabouts(sheet: Sheet, panels: Panels, item: Mapping[str, Any]) -> tuple[Panel | None, Any]:
    """Return the panel of a mark and how its coordinates are meant: as data, as shares of the panel or of the paper."""
    xref, yref = str(item.get("xref", "x")), str(item.get("yref", "y"))
    if xref == yref == "paper":
        return None, sheet.paper.transAxes
    x_name, y_name = xref.removesuffix(" domain"), yref.removesuffix(" domain")
    panel = next(
        (p for (x, y), p in panels.items() if x_name in (x, "paper") and y_name in (y, "paper")),
        None,
    )
    if panel is None:
        raise InputError(f"a static figure has no panel of the axes '{xref}' and '{yref}' for a mark.")
    x_data, y_data = xref == x_name and xref != "paper", yref == y_name and yref != "paper"
    if x_data and y_data:
        return panel, panel.axes.transData
    if y_data:
        return panel, panel.axes.get_yaxis_transform()
    return panel, panel.axes.get_xaxis_transform() if x_data else panel.axes.transAxes


def _corners(panel: Panel | None, item: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    corners = []
    for name, axis in (("x", panel.x if panel else None), ("y", panel.y if panel else None)):
        ends = [item[f"{name}0"], item.get(f"{name}1", item[f"{name}0"])]
        on_data = axis is not None and str(item.get(f"{name}ref", name)) not in ("paper",)
        on_data = on_data and not str(item.get(f"{name}ref", name)).endswith("domain")
        if axis is not None and on_data:
            ends = list(axis.place(ends))
            axis.reach(ends)
        corners.append([float(end) for end in ends])
    return corners[0], corners[1]
