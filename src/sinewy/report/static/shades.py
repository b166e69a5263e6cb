"""The colours of a map: which number has which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from plotly.colors import get_colorscale

from sinewy.report.static.text import colour

LEVELS = 513
"""Colours of a scale: with one more than a power of two, its middle and quarters are exactly those that were named."""


class Shades:
    """The colours of a map: from the lowest number to the highest."""

    def __init__(self, tables: Sequence[Any], settings: Mapping[str, Any], prefix: str) -> None:
        values = np.array([v for table in tables for row in table for v in row if v is not None], dtype=float)
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        low = float(settings.get(f"{prefix}min", low) if settings.get(f"{prefix}min") is not None else low)
        high = float(settings.get(f"{prefix}max", high) if settings.get(f"{prefix}max") is not None else high)
        middle = settings.get(f"{prefix}mid")
        if middle is not None and settings.get(f"{prefix}min") is None:
            reach = max(high - middle, middle - low) or 1.0
            low, high = middle - reach, middle + reach
        scale = settings.get("colorscale") or "Viridis"
        stops = get_colorscale(scale) if isinstance(scale, str) else scale
        pairs = sorted((float(at), colour(tint)) for at, tint in stops)
        if settings.get("reversescale"):
            pairs = [(1 - at, tint) for at, tint in reversed(pairs)]
        self.colours = LinearSegmentedColormap.from_list("page", pairs, N=LEVELS)
        self.low, self.high = low, high if high > low else low + 1.0
        self.range = Normalize(self.low, self.high, clip=True)

    def at(self, value: float) -> tuple[float, float, float, float]:
        """Return the colour of a number."""
        red, green, blue, alpha = self.colours(self.range(value))
        return red, green, blue, alpha
