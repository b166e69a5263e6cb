"""A table of the page in LaTeX, for booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sinewy.report.escaping import readable
from sinewy.report.table import Cell, Column, Table

SIGNS = {
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "·": r"$\cdot$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "■": r"$\blacksquare$",
    "•": r"$\bullet$",
    "✓": r"\checkmark{}",
    "✗": r"$\times$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "∞": r"$\infty$",
    "ℓ": r"$\ell$",
    "²": r"$^2$",
    "½": r"\textonehalf{}",
    "\u00a0": "~",
    "\u2009": r"\,",
    "\ufffd": "?",
}
GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "varepsilon",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "varphi",
    "χ": "chi",
    "Δ": "Delta",
    "Σ": "Sigma",
}
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\n": " ",
    "\t": " ",
}
_TABLE = str.maketrans(SPECIAL | SIGNS | {letter: f"$\\{name}$" for letter, name in GREEK.items()})

FULL_WIDTH = 6
"""Columns above which a table spans both columns of a page."""

PACKAGES = "% needs \\usepackage[T1]{fontenc}, \\usepackage{booktabs} and \\usepackage{amssymb}"
WIDE_LETTERS = "% holds letters beyond Latin: compile with LuaLaTeX or XeLaTeX and a font that has them"


def latex(table: Table) -> str:
    """Return a table float with caption and label: the best is bold, what cannot be told from it underlined."""
    float_name = "table*" if len(table.columns) > FULL_WIDTH else "table"
    aligned = "".join("l" if column.words else "r" for column in table.columns)
    lines = [
        rf"\begin{{{float_name}}}[t]",
        r"\centering",
        r"\small",
        rf"\caption{{{escaped(table.title)}. {escaped(table.caption)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9-]+', '-', table.key)}}}",
        rf"\begin{{tabular}}{{@{{}}{aligned}@{{}}}}",
        r"\toprule",
        *_heads(table.columns),
        r"\midrule",
        *(_line(_cell(row[column.key]) for column in table.columns) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\end{{{float_name}}}",
    ]
    notes = [PACKAGES, *([WIDE_LETTERS] if any(ord(letter) > 0x17F for line in lines for letter in line) else [])]
    return "\n".join([*notes, *lines, ""])


def escaped(text: object) -> str:
    """Return text that LaTeX sets as it is, whatever is in it."""
    return readable(text).translate(_TABLE)


def _heads(columns: Iterable[Column]) -> list[str]:
    """Return the line of headings, under one of the groups that span them if there are any."""
    columns = list(columns)
    spans: list[tuple[str, int, int]] = []
    for number, column in enumerate(columns, start=1):
        if spans and column.group and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1], number)
        else:
            spans.append((column.group, number, number))
    heads = [_line(escaped(column.title) for column in columns)]
    if not any(group for group, _, _ in spans):
        return heads
    over = _line(
        rf"\multicolumn{{{last - first + 1}}}{{c}}{{{escaped(group)}}}" if group else "" for group, first, last in spans
    )
    rules = "".join(rf"\cmidrule(lr){{{first}-{last}}}" for group, first, last in spans if group)
    return [over, rules, *heads]


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    text = {"best": rf"\textbf{{{text}}}", "tied": rf"\underline{{{text}}}"}.get(cell.stand, text)
    small = rf"{{\scriptsize {escaped(cell.small)}}}" if cell.small else ""
    return " ".join(part for part in (text, escaped(cell.mark), small) if part)


def _line(cells: Iterable[str]) -> str:
    """Return one row; a bracket that opens it is kept from being taken for an option of the row before."""
    row = " & ".join(cells)
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"
