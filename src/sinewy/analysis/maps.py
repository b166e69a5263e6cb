"""What a probe found as a matrix: one panel of a figure of heat maps, as data. No torch."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinewy.errors import InputError

LARGEST = 64
"""Rows and columns that a map is drawn with at most; a larger one is shrunk."""

DIGITS = 4
"""Significant digits that a map keeps."""


@dataclass(frozen=True, eq=False)
class Map:
    """A matrix to be drawn as a heat map, (rows, columns); NaN where there is nothing.

    Maps of one `title` make one figure, with the same `reading` (how to read it) and `unit`. Those of one `method`
    stand in a column of it, those of one `part` in a row, and share their colours. `rows` and `columns` name the lines
    of the matrix, or are empty where they are only counted, as `down` and `across` say. `signed` values are drawn
    around 0; `better` is "higher", "lower" or "" (neither); colours end at `limits`. `image` is the
    data: URI of a PNG that lies under the map.
    """

    title: str
    values: NDArray[np.float64]
    reading: str
    unit: str
    method: str = ""
    part: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    down: str = ""
    across: str = ""
    signed: bool = False
    better: str = ""
    limits: tuple[float, float] | None = None
    image: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or 0 in self.values.shape:
            raise InputError(f"a map needs values (rows, columns), none of them 0, got {self.values.shape}.")
        for names, count, what in zip((self.rows, self.columns), self.values.shape, ("rows", "columns"), strict=True):
            if names and len(names) != count:
                raise InputError(f"a map of {count} {what} needs as many names or none, got {len(names)}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the map as JSON-able values, rounded to 4 significant digits; NaN becomes None."""
        named = {name: getattr(self, name) for name in ("title", "reading", "unit", "method", "part", "down", "across")}
        lines = {"rows": list(self.rows), "columns": list(self.columns)}
        values = [[_plain(value) for value in row] for row in self.values]
        limits = None if self.limits is None else list(self.limits)
        return {
            **named,
            **lines,
            "signed": self.signed,
            "better": self.better,
            "limits": limits,
            "image": self.image,
            "values": values,
        }


def shrunk(values: ArrayLike, most: int = LARGEST) -> NDArray[np.float64]:
    """Return a matrix of at most `most` rows and columns: means of blocks of the smallest size that will do.

    The last blocks may be smaller. Blocks of no values but NaN are NaN; others are means of the values they have.
    """
    table = np.asarray(values, np.float64)
    known = ~np.isnan(table)
    sums, counts = _blocks(np.where(known, table, 0.0), most), _blocks(known.astype(np.float64), most)
    return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))


def picture(pixels: NDArray[np.uint8]) -> str:
    """Return uint8 pixels (3, H, W) as the data: URI of a PNG file."""
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
        raise InputError(f"a picture is made of uint8 pixels (3, H, W), got {pixels.dtype} {pixels.shape}.")
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _blocks(table: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return the sums over blocks."""
    for axis, size in enumerate(table.shape):
        if size > most:
            table = np.add.reduceat(table, np.arange(0, size, -(-size // most)), axis=axis)
    return table


def _plain(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
