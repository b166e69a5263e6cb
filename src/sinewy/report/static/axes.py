"""The axes of a static drawing: linear, logarithmic or named places, how far they reach, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, MultipleLocator, NullLocator
from numpy.typing import NDArray

from sinewy.errors import InputError
from sinewy.report.numbers import PREFIXES
from sinewy.report.static.text import FONT_SIZE, PX, colour, dash, plain
from sinewy.report.style import FAINT, GRID, INK

PADDING = 0.05
"""Share of its length by which an axis goes beyond the markers on it."""

MOST_POWERS = 6
"""Powers of ten that an axis names."""

Array = NDArray[np.float64]
Side = Literal["x", "y"]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Axis:
    """One axis of Plotly's, "x" or "y2", and what is known of the values on it; axes that match share one of these."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.kind = str(settings.get("type", "-"))
        if self.kind not in ("-", "linear", "log", "category"):
            raise InputError(f"a static figure cannot draw an axis of type '{self.kind}'.")
        self.places: dict[str, int] = {}
        self._low, self._high = math.inf, -math.inf
        self._padded: list[float] = []
        for name in settings.get("categoryarray") or ():
            self.places.setdefault(str(name), len(self.places))

    def learn(self, values: Iterable[Any]) -> None:
        """Note the values of a trace before any is placed: names make this an axis of names."""
        known = [value for value in values if value is not None]
        if self.kind == "-" and any(isinstance(value, str) and not _is_number(value) for value in known):
            self.kind = "category"
        if self.kind == "category":
            for value in known:
                self.places.setdefault(str(value), len(self.places))

    def place(self, values: Iterable[Any]) -> Array:
        """Return where values stand, NaN for one that is missing; a name stands at its number."""
        if self.kind == "category":
            return np.array([np.nan if v is None else self._place_of(v) for v in values], dtype=np.float64)
        return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)

    def reach(self, places: Array | Sequence[float], *, padded: bool = False) -> None:
        """Make the axis reach these places; `padded` leaves room beyond them, for markers."""
        found = np.asarray(places, dtype=np.float64)
        found = found[np.isfinite(found) & ((found > 0) if self.kind == "log" else True)]
        if found.size:
            self._low, self._high = min(self._low, float(found.min())), max(self._high, float(found.max()))
            if padded:
                self._padded += [float(found.min()), float(found.max())]

    def limits(self, settings: Mapping[str, Any]) -> tuple[float, float]:
        """Return both ends: those set, or the reach of the data; the first is the larger on a reversed axis."""
        given = settings.get("range")
        if given is not None and None not in given:
            low, high = (10.0 ** float(v) if self.kind == "log" else float(v) for v in given)
            return low, high
        low, high = self._natural(str(settings.get("rangemode", "normal")))
        return (high, low) if str(settings.get("autorange", "")).endswith("reversed") else (low, high)

    def _natural(self, mode: str) -> tuple[float, float]:
        if self.kind == "category":
            return -0.5, max(len(self.places), 1) - 0.5
        if self._low > self._high:
            return (1.0, 10.0) if self.kind == "log" else (0.0, 1.0)
        low, high = (math.log10(v) if self.kind == "log" else v for v in (self._low, self._high))
        ends = [math.log10(v) if self.kind == "log" else v for v in self._padded]
        pad = PADDING * (high - low) or (0.5 if ends else 0.0)
        low, high = min([low, *(v - pad for v in ends)]), max([high, *(v + pad for v in ends)])
        if mode == "tozero":
            low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        return (10.0**low, 10.0**high) if self.kind == "log" else (low, high)

    def _place_of(self, value: Any) -> float:
        return float(value) if isinstance(value, int | float) and str(value) not in self.places else self._named(value)

    def _named(self, value: Any) -> float:
        return float(self.places.setdefault(str(value), len(self.places)))


class Panel:
    """One subplot: its Matplotlib axes, and the two axes of Plotly's that it lies on."""

    def __init__(self, axes: Axes, x: Axis, y: Axis, x_settings: Mapping[str, Any], y_settings: Mapping[str, Any]):
        self.axes, self.x, self.y = axes, x, y
        self.x_settings, self.y_settings = x_settings, y_settings
        for axis, scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
            if axis.kind == "log":
                scale("log")

    @property
    def domain(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top, in shares of the area that all panels have together."""
        (left, right), (bottom, top) = (s.get("domain", (0.0, 1.0)) for s in (self.x_settings, self.y_settings))
        return left, bottom, right, top

    def finish(self) -> None:
        """Set limits, ticks, grid, lines and titles, once everything is drawn."""
        self.axes.set_xlim(*self.x.limits(self.x_settings))
        self.axes.set_ylim(*self.y.limits(self.y_settings))
        self.axes.set_axisbelow(True)
        sides: tuple[tuple[Side, Axis, Mapping[str, Any]], ...] = (
            ("x", self.x, self.x_settings),
            ("y", self.y, self.y_settings),
        )
        for name, axis, settings in sides:
            _set_ticks(self.axes, name, axis, settings)
            _set_lines(self.axes, name, settings)
            title, _ = plain((settings.get("title") or {}).get("text") or "")
            getattr(self.axes, f"set_{name}label")(title, color=INK)


def _set_ticks(axes: Axes, name: Side, axis: Axis, settings: Mapping[str, Any]) -> None:
    drawn = axes.xaxis if name == "x" else axes.yaxis
    values, labels = settings.get("tickvals"), settings.get("ticktext")
    drawn.set_minor_locator(NullLocator())
    if values is not None:
        drawn.set_major_locator(FixedLocator(list(axis.place(values))))
        texts = [plain(label)[0] for label in (labels if labels is not None else map(_number, axis.place(values)))]
        drawn.set_major_formatter(FuncFormatter(lambda _value, index: texts[index] if index is not None else ""))
    elif axis.kind == "category":
        names = [plain(place)[0] for place in axis.places]
        drawn.set_major_locator(FixedLocator(list(range(len(names)))))
        drawn.set_major_formatter(FuncFormatter(lambda _value, index: names[index] if index is not None else ""))
    else:
        _set_numbers(drawn, axis, settings)
    outside = settings.get("ticks", "") == "outside"
    shown = settings.get("showticklabels", True) is not False and settings.get("visible", True) is not False
    size = float((settings.get("tickfont") or {}).get("size") or 0) * PX or FONT_SIZE
    low = "labelbottom" if name == "x" else "labelleft"
    tint = colour(settings.get("tickcolor", FAINT))
    look = {"length": 3.0 if outside else 0.0, "width": 0.6, "pad": 2.0}
    axes.tick_params(axis=name, color=tint, labelcolor=INK, labelsize=size, **{low: shown}, **look)
    angle = settings.get("tickangle")
    if angle and name == "x":
        turn(axes, -float(angle))


def _set_numbers(drawn: Any, axis: Axis, settings: Mapping[str, Any]) -> None:
    suffix, prefix = str(settings.get("ticksuffix", "")), str(settings.get("tickprefix", ""))
    written = _formatted(str(settings.get("tickformat", "")), short=settings.get("exponentformat") == "SI")
    if axis.kind == "log":
        drawn.set_major_locator(_log_places(axis, settings))
        drawn.set_major_formatter(
            FuncFormatter(
                lambda value, _: f"{prefix}{written(value) if written is not _number else _power(value)}{suffix}"
            )
        )
        return
    step = settings.get("dtick")
    count = int(settings.get("nticks") or 6)
    drawn.set_major_locator(MultipleLocator(float(step)) if step else MaxNLocator(count, steps=[1, 2, 5, 10]))
    drawn.set_major_formatter(FuncFormatter(lambda value, _: f"{prefix}{written(value)}{suffix}"))


def _formatted(form: str, *, short: bool = False) -> Any:
    if not form:
        return _short if short else _number
    if form.endswith("%"):
        return lambda value: format(float(value), form).replace("-", "−")
    try:
        format(1.0, form)
    except ValueError as error:
        raise InputError(f"a static figure cannot write numbers by the format '{form}'.") from error
    return lambda value: format(float(value), form).replace("-", "−")


def turn(axes: Axes, degrees: float) -> None:
    """Write the labels under an x axis at an angle, their ends at the ticks."""
    axes.tick_params(axis="x", rotation=degrees)
    for label in axes.get_xticklabels():
        label.set(ha="right" if degrees % 180 < 90 else "left", va="top", rotation_mode="anchor")
        if degrees % 180 == 90:
            label.set(ha="right", va="center")


def _set_lines(axes: Axes, name: Side, settings: Mapping[str, Any]) -> None:
    visible = settings.get("visible", True) is not False
    if settings.get("showgrid", True) is not False and visible:
        style = dash(settings.get("griddash"))
        axes.grid(True, axis=name, color=colour(settings.get("gridcolor", GRID)), linewidth=0.6, linestyle=style)
    near, far = ("bottom", "top") if name == "x" else ("left", "right")
    lined = "linecolor" in settings or "linewidth" in settings
    axes.spines[near].set(
        visible=visible and bool(settings.get("showline", lined)), linewidth=0.6, color=settings.get("linecolor", FAINT)
    )
    axes.spines[far].set_visible(bool(settings.get("mirror")) and visible)
    if settings.get("side") in ("right", "top"):
        axes.yaxis.tick_right() if name == "y" else axes.xaxis.tick_top()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(value: float) -> str:
    """Return a number as an axis has it: no exponent where people would write none."""
    value = 0.0 if abs(value) < 1e-12 else float(value)
    text = f"{value:.6g}"
    if "e" in text:
        digits, _, power = text.partition("e")
        text = f"{digits}·10{str(int(power)).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−")


def _power(value: float) -> str:
    exponent = round(math.log10(value)) if value > 0 else 0
    if -3 <= exponent <= 4 or abs(math.log10(value) - exponent) > 1e-6:
        return _number(value)
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def _short(value: float) -> str:
    """Return a number with a prefix, as "4.1M"."""
    power = min(max(math.floor(math.log10(abs(value)) / 3), 0), len(PREFIXES) - 1) if value else 0
    return f"{_number(float(f'{value / 1000**power:.6g}'))}{PREFIXES[power]}"


def _log_places(axis: Axis, settings: Mapping[str, Any]) -> FixedLocator:
    """Return ticks at powers of ten, or at 1, 2 and 5 times these where the axis spans few."""
    low, high = sorted(axis.limits(settings))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    spans = math.log10(high / low)
    steps = (1, 2, 5) if spans < 2.5 else (1,)
    every = max(1, math.ceil(spans / MOST_POWERS))
    places = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
    return FixedLocator([place for place in places if low <= place <= high])
