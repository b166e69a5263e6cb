"""A figure of the page as a vector or pixel file for a paper: `save_figure`. Drawn by Matplotlib, without a browser."""

from __future__ import annotations

import importlib.util
import io
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinewy.errors import InputError, MissingExtraError, unknown_name
from sinewy.files import write_bytes
from sinewy.report.figure import Figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FORMATS = ("pdf", "svg", "png")
COLUMN, PAGE = 3.25, 6.75
"""Inches: one column, and the whole width, of a conference paper."""

LEAST_INNER = 0.5
"""Share of the width that labels must leave for what is drawn; a figure that has less takes the whole width."""

NARROWEST, WIDEST = 1.5, 30.0
DPI = 300

SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.labelpad": 3.0,
    "axes.titlesize": 8.0,
    "legend.fontsize": 8.0,
    "text.parse_math": False,
    "text.usetex": False,
    "lines.scale_dashes": False,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "sinewy",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "path.simplify": False,
    "figure.dpi": 300,
    "text.hinting": "no_hinting",
}
"""Text stays text; equal figures are equal files, whatever a user's own matplotlibrc says."""

UNDATED = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "Sinewy"},
    "svg": {"Date": None, "Creator": "Sinewy"},
    "png": {"Software": None},
}


def save_figure(
    figure: Figure,
    path: Path | str,
    *,
    format: str | None = None,
    width: float | None = None,
    height: float | None = None,
) -> Path:
    """Write `figure` to `path` as PDF, SVG or PNG, and return the path.

    `format` is told by the ending of the path where it is not given. `width` and `height` are in inches; by default a
    figure is 3.25 wide, or 6.75 where it needs it, and as high as its parts are. Text has 8 points and stays text; the
    same figure is the same file, byte by byte. Warns of letters that the font of a PDF or PNG does not have. Raises
    MissingExtraError without Matplotlib, InputError for what cannot be drawn or written.
    """
    path = Path(path)
    kind = (format or path.suffix.removeprefix(".")).lower()
    if kind not in FORMATS:
        raise unknown_name(
            "format of a figure", kind or str(path), FORMATS, "Name one with --format, or by the ending."
        )
    content = figure_bytes(figure, kind, width=width, height=height)
    write_bytes(path, content)
    return path


def figure_bytes(
    figure: Figure,
    format: str,
    *,
    width: float | None = None,
    height: float | None = None,
) -> bytes:
    """Return the content of the file that `save_figure` writes."""
    drawing = draw(figure, width=width, height=height)
    stream = io.BytesIO()
    with _settings(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        drawing.savefig(stream, format=format, dpi=DPI, metadata=UNDATED[format])
    if format != "svg" and any(str(warning.message).startswith("Glyph") for warning in caught):
        warnings.warn("some letters are not in the font and are drawn as boxes; SVG keeps the text.", stacklevel=3)
    return stream.getvalue()


def draw(
    figure: Figure,
    *,
    width: float | None = None,
    height: float | None = None,
) -> Drawing:
    """Return `figure` as a Matplotlib figure; options and errors are those of `save_figure`."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("static figures need Matplotlib: pip install 'sinewy[figures]'")
    wide = width or (PAGE if figure.wide or _stands_side_by_side(figure) else COLUMN)
    for name, size in (("width", wide), ("height", height)):
        if size is not None and not NARROWEST <= size <= WIDEST:
            raise InputError(f"{name}={size:g} in is no size for a figure; give {NARROWEST:g} to {WIDEST:g} inches.")
    from sinewy.report.static.drawing import drawn_figure

    with _settings(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        drawing = drawn_figure(figure, wide, height)
        if width is None and wide < PAGE and drawing.axes[0].get_position().width < LEAST_INNER:
            return drawn_figure(figure, PAGE, height)
        return drawing


def _settings() -> AbstractContextManager[None]:
    """Return Matplotlib's own settings with ours, for as long as the context lasts."""
    import matplotlib

    ours: Any = {n: v for n, v in matplotlib.rcParamsDefault.items() if not n.startswith(("backend", "interactive"))}
    return matplotlib.rc_context(ours | SETTINGS)


def _stands_side_by_side(figure: Figure) -> bool:
    """Return whether panels of the figure stand beside each other."""
    return any(axis.domain and axis.domain[0] > 0 for axis in figure.plot.select_xaxes())
