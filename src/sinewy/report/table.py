"""What a table of the page is: headed columns, cells that know how they are sorted and marked, and its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sinewy.report.escaping import csv_uri


@dataclass(frozen=True)
class Cell:
    """One cell: its `text`, a `small` second line, and the `value` its column is sorted by, if not the text.

    `stand` is "best" or "tied" (not distinguishable from the best), `verdict` "better", "worse", "unclear" or
    "failed"; both are "" where there is nothing to say. `mark` is the sign of the verdict, `hint` the same
    in words. `link` is the anchor on the page that tells more.
    """

    text: str
    small: str = ""
    value: float | None = None
    stand: str = ""
    verdict: str = ""
    mark: str = ""
    hint: str = ""
    link: str = ""


@dataclass(frozen=True)
class Column:
    """One column: its `key` in the rows, its `title`, the `group` whose heading spans it, whether it holds `words`.

    Titles hold the arrow of their direction: "clean ↑" is better if higher.
    """

    key: str
    title: str
    group: str = ""
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A table: `rows` of cells by the key of their column, the first column heads its row; `data` are its numbers.

    `caption` says how to read it. `anchors` are the anchors of the rows, `marked` the row set apart (the reference).
    """

    key: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Cell]]
    data: Sequence[Mapping[str, Any]]
    anchors: Sequence[str] = field(default_factory=tuple)
    marked: int | None = None

    @property
    def csv(self) -> str:
        """The numbers as a data: URI."""
        return csv_uri(self.data)

    @property
    def groups(self) -> list[tuple[str, int, int]]:
        """The headings of the upper line: group, number of its columns, index of its first column."""
        spans: list[tuple[str, int, int]] = []
        for index, column in enumerate(self.columns):
            if column.group and spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1, spans[-1][2])
            else:
                spans.append((column.group, 1, index))
        return spans if any(column.group for column in self.columns) else []
