"""How text from users becomes harmless: in figures, in scripts and in spreadsheets. HTML is escaped by the template."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 60
"""Characters of a name that a figure has room for."""

DIGITS = 7
"""Significant digits of a fraction in a CSV file of the page."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
_SCRIPT = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def readable(text: object) -> str:
    """Return `text` with every control character, the ones that turn the writing direction included, made visible."""
    return _CONTROL.sub("\ufffd", str(text))


def figure_text(text: object, longest: int = LONGEST) -> str:
    """Return `text` shortened in its middle and escaped for Plotly, whose labels and hovers read a subset of HTML."""
    short = readable(text).replace("\n", " ")
    if len(short) > longest:
        short = f"{short[: longest // 2]}…{short[longest // 2 + 1 - longest :]}"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def script_json(document: str) -> str:
    """Return the JSON `document` with the characters that could end a <script> element written as escapes."""
    return document.translate(_SCRIPT)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return `rows`, which share their keys, as CSV; text that a spreadsheet would run as a formula starts with '."""
    if not rows:
        return ""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([_inert(name) for name in rows[0]])
    writer.writerows([[_inert(value) for value in row.values()] for row in rows])
    return stream.getvalue()


def csv_uri(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return `rows` as a data: URI of a CSV file, numbers rounded to 7 significant digits: large studies are long."""
    short = [{name: _rounded(value) for name, value in row.items()} for row in rows]
    encoded = base64.b64encode(csv_text(short).encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{encoded}"


def _rounded(value: Any) -> Any:
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return int(value) if value.is_integer() else float(f"{value:.{DIGITS}g}")


def _inert(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = readable(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
