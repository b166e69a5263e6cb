"""The sheet that a static drawing lies on: panels, colour bars and legend, and room for their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from sinewy.report.static.axes import Panel
from sinewy.report.static.fitting import break_line, make_ticks_fit, set_within, shrink
from sinewy.report.static.shades import Shades
from sinewy.report.static.text import FONT_SIZE, PX, colour, dash, marker, plain
from sinewy.report.style import INK, Style

POINTS = 72
EDGE = 3.0
"""Points left free around everything."""

TALLEST = 1.6
"""How many times as high panels may become where titles on several lines stand between them."""

Box = tuple[float, float, float, float]


class Sheet:
    """A drawing of a given width whose height follows from what is on it."""

    def __init__(self, width: float, inner_height: float) -> None:
        self.drawing = Drawing(figsize=(width, inner_height + 1))
        self.width, self.inner_height = width, inner_height
        self.paper = self.drawing.add_axes((0, 0, 1, 1), frameon=False, xticks=[], yticks=[], zorder=-1)
        self.paper.set_in_layout(False)
        self._placed: list[tuple[Axes, Callable[[float, float], Box]]] = [(self.paper, lambda _w, _h: (0, 0, 1, 1))]
        self._titles: list[tuple[Text, float]] = []

    def add_axes(self, domain: Box) -> Axes:
        """Return new axes that take these shares of the area of all panels: left, bottom, right, top."""
        axes = self.drawing.add_axes((0, 0, 1, 1))
        self._placed.append((axes, lambda _w, _h: domain))
        return axes

    def add_title(self, text: Text, share: float) -> None:
        """Keep a text narrower than its share of the width of all panels."""
        self._titles.append((text, share))

    def add_colour_bar(self, shades: Shades, bar: Mapping[str, Any]) -> None:
        """Draw a scale of colours beside the panels, as high as it is on the page."""
        axes = self.drawing.add_axes((0, 0, 1, 1))
        thick = float(bar.get("thickness", 30)) * PX / POINTS
        length, top = float(bar.get("len", 1.0)), float(bar.get("y", 1.0 if bar.get("yanchor") == "top" else 0.5))

        def place(width: float, height: float) -> Box:
            share = length * PX / POINTS / height if bar.get("lenmode") == "pixels" else length
            share = min(share, 1.0)
            low = {"top": top - share, "bottom": top}.get(str(bar.get("yanchor", "middle")), top - share / 2)
            left = float(bar["x"]) if bar.get("x") is not None else 1 + 8 * PX / POINTS / width
            return left, max(low, 0.0), left + thick / width, max(low, 0.0) + share

        self._placed.append((axes, place))
        low, high = shades.low, shades.high
        column = np.linspace(0, 1, 256)[:, None]
        axes.imshow(column, aspect="auto", origin="lower", extent=(0, 1, low, high), cmap=shades.colours)
        axes.set(xticks=[], ylim=(low, high))
        axes.yaxis.tick_right()
        axes.tick_params(axis="y", length=0, labelcolor=INK, pad=2)
        if bar.get("tickvals") is not None:
            labels = [plain(label)[0] for label in bar.get("ticktext") or bar["tickvals"]]
            axes.set_yticks(list(bar["tickvals"]), labels)
        for spine in axes.spines.values():
            spine.set_visible(False)
        titled = bar.get("title") or {}
        title, _ = plain(titled.get("text") or "")
        if titled.get("side") == "right":
            axes.yaxis.set_label_position("right")
            axes.set_ylabel(title, rotation=-90, va="bottom", color=INK)
        else:
            axes.set_title(title, fontsize=FONT_SIZE, loc="left", color=INK, pad=4)

    def fit(self, panels: Sequence[Panel], legend: Sequence[tuple[str, Line2D]], height: float | None) -> None:
        """Give every part its place: margins as wide as their labels, the legend below, the height as needed."""
        box = _legend(self.drawing, legend, self.width) if legend else None
        below = 0.0
        if box is not None:
            below = _extent(self.drawing, [box]).height / POINTS + 2 * EDGE / POINTS
        margins = (0.5, 0.4, 0.2, 0.2)
        for step in range(5):
            self._place(margins, below)
            if step == 2:
                self._make_labels_fit(panels)
            if step == 3 and height is None:
                self.inner_height *= self._growth(panels)
            margins = self._needed(margins, below)
            if height is not None:
                self.inner_height = max(height - below - margins[1] - margins[3], 0.3)
        self._place(margins, below)

    def _place(self, margins: Box, below: float) -> None:
        left, bottom, right, top = margins
        height = below + bottom + self.inner_height + top
        self.drawing.set_size_inches(self.width, height)
        inner_width = max(self.width - left - right, 0.3 * self.width)
        for axes, where in self._placed:
            x0, y0, x1, y1 = where(inner_width, self.inner_height)
            axes.set_position(
                (
                    (left + x0 * inner_width) / self.width,
                    (below + bottom + y0 * self.inner_height) / height,
                    (x1 - x0) * inner_width / self.width,
                    (y1 - y0) * self.inner_height / height,
                )
            )

    def _needed(self, margins: Box, below: float) -> Box:
        """Return the margins that what is drawn needs, in inches."""
        found = _extent(self.drawing, [*(axes for axes, _ in self._placed[1:]), *self.paper.texts])
        width, height = (side * POINTS for side in self.drawing.get_size_inches())
        left, bottom, right, top = (margin * POINTS for margin in margins)
        beyond = (
            left - found.x0,
            bottom + below * POINTS - found.y0,
            found.x1 - (width - right),
            found.y1 - (height - top),
        )
        one, two, three, four = (max(length, 0.0) / POINTS + EDGE / POINTS for length in beyond)
        return one, two, three, four

    def _growth(self, panels: Sequence[Panel]) -> float:
        """Return how much higher the panels must be for titles to stand clear of what is above them."""
        renderer, growth = _renderer(self.drawing), 1.0
        above = [(axes.get_window_extent(renderer), axes.get_tightbbox(renderer)) for axes in (p.axes for p in panels)]
        for text, _ in self._titles:
            own = text.get_window_extent(renderer)
            for inside, whole in above:
                if whole and inside.y0 > own.y0 and whole.x0 < own.x1 and own.x0 < whole.x1 and own.y1 > whole.y0:
                    growth = max(growth, 1 + (own.y1 - whole.y0) / (inside.y0 - own.y0))
        return float(min(growth, TALLEST))

    def _make_labels_fit(self, panels: Sequence[Panel]) -> None:
        renderer = _renderer(self.drawing)
        inner = self.paper.get_window_extent(renderer).width
        gap = 2 * self.drawing.dpi / POINTS
        for text, share in self._titles:
            set_within(text, share * inner - (gap if share < 1 else 0), renderer)
        for panel in panels:
            left, _, right, _ = panel.domain
            break_line(panel.axes.xaxis.label, (right - left) * inner, renderer)
            shrink(panel.axes.xaxis.label, (right - left) * inner, renderer)
            make_ticks_fit(panel, renderer, gap)


def legend_entries(styles: Mapping[str, Style]) -> list[tuple[str, Line2D]]:
    """Return name and sample of each method, as the page's legend has them."""
    entries = []
    for name, style in styles.items():
        look = marker(style.symbol, 8, colour(style.colour))
        sample = Line2D([], [], color=style.colour, linewidth=style.width * PX, linestyle=dash(style.dash), **look)
        entries.append((name, sample))
    return entries


def _legend(drawing: Drawing, entries: Sequence[tuple[str, Line2D]], width: float) -> Artist:
    """Put a legend at the lower edge, in as many columns as there is room for."""
    names, samples = [name for name, _ in entries], [sample for _, sample in entries]
    for columns in range(min(len(names), 8), 0, -1):
        box = drawing.legend(
            samples,
            names,
            ncols=columns,
            loc="lower center",
            bbox_to_anchor=(0.5, 0.0),
            frameon=False,
            handlelength=3.2,
            columnspacing=1.4,
            labelspacing=0.35,
            borderpad=0.2,
            borderaxespad=0.1,
            labelcolor=INK,
        )
        if columns == 1 or _extent(drawing, [box]).width <= width * POINTS - 2 * EDGE:
            return box
        box.remove()
    raise AssertionError("a legend of one column is always taken")


def _extent(drawing: Drawing, artists: Iterable[Artist]) -> Bbox:
    """Return the box around artists, in points."""
    renderer = _renderer(drawing)
    boxes = [artist.get_tightbbox(renderer) for artist in artists if artist.get_visible()]
    found = Bbox.union([box for box in boxes if box is not None and box.width + box.height > 0])
    return Bbox(found.get_points() * POINTS / drawing.dpi)


def _renderer(drawing: Drawing) -> Any:
    """Return what measures text, at the resolution that pixel files have."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = drawing.canvas if isinstance(drawing.canvas, FigureCanvasAgg) else FigureCanvasAgg(drawing)
    renderer: Any = canvas.get_renderer()  # type: ignore[no-untyped-call]
    return renderer
