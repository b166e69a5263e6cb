"""What a figure of the page is: a drawing, how to read it, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sinewy.analysis import Estimate
from sinewy.report.escaping import csv_uri, script_json
from sinewy.report.style import DASHES, FAINT, GRID, INK, MARKERS, Style

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>"
PANEL = 250
"""Height of one panel of a figure, in pixels."""


@dataclass(frozen=True)
class Figure:
    """One figure: `key` names its element and its CSV file, `caption` says how to read it, `rows` are its numbers.

    `legend` maps each method to its style; an empty one draws no legend. `wide` lets it scroll sideways on a phone.
    """

    key: str
    title: str
    caption: str
    plot: go.Figure
    rows: Sequence[Mapping[str, Any]]
    legend: Mapping[str, Style] = field(default_factory=dict)
    wide: bool = False

    @property
    def json(self) -> str:
        """The drawing as JSON that is safe inside a <script> element."""
        return script_json(str(self.plot.to_json()))

    @property
    def csv(self) -> str:
        """The numbers as a data: URI."""
        return csv_uri(self.rows)

    @property
    def entries(self) -> list[dict[str, str]]:
        """The legend: name, group, colour, and the SVG shapes of dash and marker."""
        return [
            {"name": name, "group": s.group, "colour": s.colour, "dash": DASHES[s.dash], "marker": MARKERS[s.symbol]}
            for name, s in self.legend.items()
        ]


@dataclass(frozen=True)
class Offered:
    """A figure that can be drawn: its key, its title, and what draws it, or finds that there is nothing to draw."""

    key: str
    title: str
    draw: Callable[[], Figure | None]


def all_drawn(offered: Iterable[Offered]) -> list[Figure]:
    """Return the figures that there is something to draw for."""
    return [figure for one in offered if (figure := one.draw()) is not None]


def panels(titles: Sequence[str], x_title: str) -> go.Figure:
    """Return an empty figure of panels stacked over one x axis, each with its title on its y axis."""
    plot = make_subplots(rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.16 / len(titles))
    dress(plot, height=PANEL * len(titles) + 70)
    for row, title in enumerate(titles, start=1):
        plot.update_yaxes(title={"text": title, "standoff": 8}, row=row, col=1)
    plot.update_xaxes(title={"text": x_title}, row=len(titles), col=1)
    return plot


def dress(plot: go.Figure, height: int) -> None:
    """Give `plot` the page's type, colours and margins."""
    plot.update_layout(
        template="none",
        height=height,
        margin={"l": 62, "r": 14, "t": 34, "b": 52},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        showlegend=False,
        hoverlabel={
            "bgcolor": "#ffffff",
            "bordercolor": FAINT,
            "font": {"color": INK, "family": FONT},
            "align": "left",
        },
        hovermode="closest",
        dragmode=False,
    )
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": FAINT, "ticks": "outside", "tickcolor": FAINT}
    plot.update_xaxes(**axis)
    plot.update_yaxes(**axis)


def add_curve(
    plot: go.Figure,
    row: int,
    style: Style,
    xs: Sequence[float],
    estimates: Sequence[Estimate],
    hovers: Sequence[Sequence[str]],
) -> None:
    """Draw `estimates`, in percent, over `xs` with their intervals; each point shows its three lines of `hovers`."""
    plot.add_scatter(
        x=list(xs),
        y=[100 * estimate.value for estimate in estimates],
        error_y=error_bars(estimates),
        mode="lines+markers",
        line=style.line,
        marker=style.marker,
        meta=style.group,
        customdata=[list(hover) for hover in hovers],
        hovertemplate=HOVER,
        row=row,
        col=1,
    )


def error_bars(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return Plotly error bars, in percent, of the intervals of `estimates`."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (e.high - e.value) for e in estimates],
        "arrayminus": [100 * (e.value - e.low) for e in estimates],
        "thickness": 1.2,
        "width": 3,
    }


def dodge(position: int, of: int, step: float) -> float:
    """Return the offset that keeps the error bars of `of` methods side by side, `step` apart."""
    return (position - (of - 1) / 2) * step
