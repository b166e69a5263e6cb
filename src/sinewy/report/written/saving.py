"""A table of the page in the form that a paper, a README or a program wants: `save_table`, `table_text`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sinewy.errors import unknown_name
from sinewy.files import write_text
from sinewy.report.escaping import csv_text, readable
from sinewy.report.table import Cell, Column, Table
from sinewy.report.tables import MARKS
from sinewy.report.written.latex import latex

ENDINGS = {".md": "markdown", ".markdown": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}
"""The format that a file's name means."""

_MARKDOWN = str.maketrans(
    {"\\": "\\\\", "`": "\\`", "*": "\\*", "_": "\\_", "|": "\\|", "~": "\\~", "$": "\\$"}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " "}
)


def save_table(table: Table, path: Path | str, *, format: str | None = None, columns: Sequence[str] = ()) -> Path:
    """Write `table` to `path` and return the path; options and errors are those of `table_text`.

    `format` is told by the ending of the path (.md, .tex, .csv, .json) where it is not given.
    """
    path = Path(path)
    write_text(path, table_text(table, format or ENDINGS.get(path.suffix.lower(), path.suffix), columns=columns))
    return path


def table_text(table: Table, format: str = "markdown", *, columns: Sequence[str] = ()) -> str:
    """Return `table` as "markdown", "latex" (for booktabs), "csv" or "json", with a newline at its end.

    Text from users is escaped. CSV and JSON hold the numbers, unrounded, the others the table as the page writes it.
    `columns` are the keys of the ones to write, in this order; all by default. Raises InputError for an unknown format
    or column.
    """
    if format not in FORMATS:
        raise unknown_name("format of a table", format, FORMATS)
    return FORMATS[format](_narrowed(table, columns, plain=format in ("csv", "json")))


def markdown(table: Table) -> str:
    """Return a table as GitHub and most others read it: the best is bold, what cannot be told from it italic."""
    heads = [_escaped(f"{column.title} ({column.group})" if column.group else column.title) for column in table.columns]
    rules = [":--" if column.words else "--:" for column in table.columns]
    lines = [[_in_markdown(row[column.key]) for column in table.columns] for row in table.rows]
    caption = table.caption.replace("underlined:", "italic:")
    rows = ["| " + " | ".join(cells) + " |" for cells in [heads, rules, *lines]]
    return "\n".join([f"**{_escaped(table.title)}.** {_escaped(caption)}", "", *rows, ""])


def comma_separated(table: Table) -> str:
    """Return the numbers of a table as CSV; text that a spreadsheet would run as a formula starts with '."""
    return csv_text(table.data)


def as_json(table: Table) -> str:
    """Return the numbers of a table as one JSON document."""
    document = {"key": table.key, "title": table.title, "caption": table.caption, "rows": list(table.data)}
    return json.dumps(_finite(document), indent=2, default=str, allow_nan=False) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
    "json": as_json,
}


def _narrowed(table: Table, columns: Sequence[str], *, plain: bool) -> Table:
    """Return `table` with these columns only; those of CSV and JSON are the names of its numbers."""
    if not columns:
        return table if plain else _explained(table)
    known = list(dict.fromkeys(name for row in table.data for name in row)) if plain else [c.key for c in table.columns]
    for name in columns:
        if name not in known:
            raise unknown_name(f"column of '{table.key}'", name, known)
    if plain:
        return replace(table, data=[{name: row.get(name) for name in columns} for row in table.data])
    by_key: dict[str, Column] = {column.key: column for column in table.columns}
    return _explained(replace(table, columns=[by_key[name] for name in columns]))


def _explained(table: Table) -> Table:
    """Return `table` with a caption that explains only the marks that are in it."""
    used = {row[column.key].mark for row in table.rows for column in table.columns}
    caption = table.caption
    for mark, meaning in MARKS.values():
        if mark not in used:
            caption = caption.replace(f"{mark} {meaning}.", "").replace("  ", " ").strip()
    return replace(table, caption=caption)


def _in_markdown(cell: Cell) -> str:
    text = _escaped(cell.text)
    text = {"best": f"**{text}**", "tied": f"*{text}*"}.get(cell.stand, text)
    return " ".join(part for part in (text, cell.mark, _escaped(cell.small)) if part)


def _escaped(text: object) -> str:
    return readable(text).translate(_MARKDOWN).replace("](", "\\](")


def _finite(value: object) -> object:
    """Return `value` with None for every number that JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value - value != 0 else value
