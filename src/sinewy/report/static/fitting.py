"""How words are made to fit: titles over narrow panels, and the labels under an axis."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from sinewy.report.static.axes import Panel, turn

SMALLEST_FONT = 5.0

NARROW = 5
"""Numbers that a panel has at least room for, or those at its ends are set inside it."""

SHORT = 2
"""Characters of a label that is left out rather than turned, where there is no room for every one."""


def set_within(text: Text, room: float, renderer: Any) -> None:
    """Make a title smaller where it is wider than its room, and set it on more lines where that is not enough."""
    size = float(text.get_fontsize())
    shrink(text, room, renderer)
    if text.get_window_extent(renderer).width > room:
        words = text.get_text()

        def wide(line: str) -> bool:
            text.set_text(line)
            return bool(text.get_window_extent(renderer).width > room)

        text.set_text("\n".join(part for line in words.split("\n") for part in _wrapped(line, wide)))
        text.set_fontsize(size)
        shrink(text, room, renderer)


def _wrapped(line: str, wide: Callable[[str], bool]) -> list[str]:
    """Return a line as several that are not too wide: broken at spaces, within words before a capital, or anywhere."""
    parts = [part for word in re.split(r" (?!%)", line) for part in _pieces(word, wide)]
    lines = [""]
    for text, joint in parts:
        longer = f"{lines[-1]}{joint if lines[-1] else ''}{text}"
        if lines[-1] and wide(longer):
            lines.append(text)
        else:
            lines[-1] = longer
    return lines


def _pieces(word: str, wide: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Return the parts that a word may be broken into, each with what joins it to the one before."""
    if not wide(word):
        return [(word, " ")]
    found = [
        letter for part in re.split(r"(?<=[a-z])(?=[A-Z])", word) for letter in (list(part) if wide(part) else [part])
    ]
    return [(part, "" if index else " ") for index, part in enumerate(found)]


def break_line(text: Text, room: float, renderer: Any) -> None:
    """Set a text on two lines where it is wider than its room."""
    words = text.get_text()
    spaces = [index for index, letter in enumerate(words) if letter == " "]
    if text.get_window_extent(renderer).width > room and spaces and "\n" not in words:
        middle = min(spaces, key=lambda index: abs(index - len(words) / 2))
        text.set_text(f"{words[:middle]}\n{words[middle + 1 :]}")


def shrink(text: Text, room: float, renderer: Any) -> None:
    """Make a text smaller where it is wider than its room."""
    wide = text.get_window_extent(renderer).width
    if wide > room:
        text.set_fontsize(max(SMALLEST_FONT, float(text.get_fontsize()) * room / wide))


def make_ticks_fit(panel: Panel, renderer: Any, gap: float) -> None:
    """Turn the labels under an axis where they would run into each other, and leave some out where that is too few."""
    axes = panel.axes
    labels = _in_view(axes)
    if any(label.get_rotation() for label in labels) or _fits(axes, renderer, gap):
        return
    if all(len(label.get_text()) <= SHORT for label in labels):
        for label in labels[1::2]:
            label.set_alpha(0)
    elif panel.x.kind == "category" or panel.x_settings.get("ticktext") is not None:
        turn(axes, 50)
    elif isinstance(places := axes.xaxis.get_major_locator(), MaxNLocator):
        for fewer in (3, 2, 1):
            places.set_params(nbins=fewer)
            if _fits(axes, renderer, gap):
                return


def _fits(axes: Axes, renderer: Any, gap: float) -> bool:
    """Return whether labels stand clear of each other, those at the ends set inside a narrow panel."""
    panel, labels = axes.get_window_extent(renderer), _in_view(axes)
    for label in labels:
        box = label.get_window_extent(renderer)
        if box.width < panel.width < NARROW * box.width:
            side: Literal["left", "center", "right"] = (
                "left" if box.x0 < panel.x0 else "right" if box.x1 > panel.x1 else "center"
            )
            label.set_horizontalalignment(side)
    boxes = sorted((label.get_window_extent(renderer) for label in labels), key=lambda box: box.x0)
    return all(left.x1 + gap < right.x0 for left, right in pairwise(boxes))


def _in_view(axes: Axes) -> list[Text]:
    """Return the labels under an axis that are seen."""
    low, high = sorted(axes.get_xlim())
    hair = (high - low) / 1000
    pairs = zip(axes.get_xticks(), axes.get_xticklabels(), strict=False)
    return [t for x, t in pairs if low - hair <= x <= high + hair and t.get_visible() and t.get_text()]
