"""The verbs `figure` and `table`: any figure or table of a page, as a file for a paper."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from sinewy.analysis.limit_files import FILE as LIMIT_FILE
from sinewy.analysis.limit_files import read_limit
from sinewy.cli.printing import next_command, out, plain_table, print_json, say
from sinewy.cli.studies import Json
from sinewy.errors import InputError, unknown_name
from sinewy.files import read_json
from sinewy.report.contents import Record, figure_of, figures, missing, table_of, tables
from sinewy.report.practice.kept_audit import FILE as AUDIT_FILE
from sinewy.report.practice.kept_audit import read_audit
from sinewy.report.static.saving import save_figure
from sinewy.report.written.saving import save_table, table_text
from sinewy.runs.reading import read_study
from sinewy.runs.store import Store

Key = Annotated[str, typer.Argument(metavar="KEY", help="What to write. With SOURCE alone, the keys are listed.")]
Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="Folder of a study, of a limit or of an audit (--keep), or a JSON document that one printed.",
    ),
]
Methods = Annotated[
    str | None, typer.Option("--methods", help="Only these, with semicolons, and the reference: 'RigL 90 %;SET 90 %'.")
]


def figure(
    key: Key,
    source: Source = None,
    file: Annotated[Path | None, typer.Option("--out", "-o", help="The file; default: KEY.pdf.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="pdf, svg or png; default: as the file's name ends.")
    ] = None,
    width: Annotated[
        str | None, typer.Option("--width", help="Such as 3.25in, 8.5cm or 240pt; default: 3.25in or 6.75in.")
    ] = None,
    height: Annotated[str | None, typer.Option("--height", help="Likewise; default: as high as it needs.")] = None,
    methods: Methods = None,
    as_json: Json = False,
) -> None:
    """Write one figure of a page as PDF, SVG or PNG for a paper, or list those there are.

    Examples:  sinewy figure sinewy-demo      sinewy figure sparsity sinewy-demo -o fig1.pdf --width 3.25in
    """
    if source is None:
        _list_figures(key, as_json=as_json)
        return
    record = read_record(source)
    found = figure_of(record, key, _names(methods))
    if found is None:
        raise _unknown("figure", key, list(figures(record)), record, source)
    path = file or Path(f"{key}.{form or 'pdf'}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        save_figure(found, path, format=form, width=_inches("--width", width), height=_inches("--height", height))
    for warning in caught:
        say(f"note: {warning.message}")
    if as_json:
        print_json({"figure": key, "title": found.title, "caption": found.caption, "file": str(path)})
        return
    print(f"wrote {path}")
    say(f"{found.title}. {found.caption}")
    next_command("sinewy", "table", key, source)


def table(
    key: Key,
    source: Source = None,
    file: Annotated[Path | None, typer.Option("--out", "-o", help="The file; default: print it.")] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="markdown, latex, csv or json; default: as the file's name ends, or markdown."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Only these columns, with commas: method,clean_accuracy.")
    ] = None,
    methods: Methods = None,
    as_json: Json = False,
) -> None:
    """Write one table of a page, or the numbers of a figure, as Markdown, LaTeX, CSV or JSON, or list those there are.

    Examples:  sinewy table sinewy-demo      sinewy table results sinewy-demo --format latex -o results.tex
    """
    if source is None:
        _list_tables(key, as_json=as_json)
        return
    record = read_record(source)
    found = table_of(record, key, _names(methods))
    if found is None:
        raise _unknown("table", key, list(tables(record)), record, source)
    chosen = [name.strip() for name in columns.split(",")] if columns else []
    if as_json and form not in (None, "json"):
        raise InputError(f"--json prints JSON; leave out --format {form}, or leave out --json.")
    form = "json" if as_json else form
    if file is None:
        print(table_text(found, form or "markdown", columns=chosen), end="")
        return
    print(f"wrote {save_table(found, file, format=form, columns=chosen)}")


def read_record(source: str) -> Record:
    """Return what a folder of a study, a limit or an audit holds; a JSON document that was printed names its folder.

    Raises InputError where there is nothing to read.
    """
    path = Path(source)
    if path.suffix == ".json" and path.is_file():
        path = _folder_named_in(path)
    if not path.exists():
        raise InputError(f"{source} is not there; give the folder of a study, of a limit, or of an audit (--keep).")
    if (path / "study.json").is_file():
        return read_study(Store.open(path))
    if (path / LIMIT_FILE).is_file() or (path / "limit.json").is_file():
        return read_limit(path)
    if (path / AUDIT_FILE).is_file():
        return read_audit(path)
    raise InputError(f"{path} holds no study (study.json), limit ({LIMIT_FILE}) or kept audit ({AUDIT_FILE}).")


def _folder_named_in(path: Path) -> Path:
    document = read_json(path)
    folder = document.get("folder") if isinstance(document, dict) else None
    if not folder:
        raise InputError(f"{path} names no folder; run sinewy limit with --out FOLDER, and give that folder.")
    return next((p for p in (Path(folder), path.parent / folder) if p.exists()), Path(folder))


def _list_figures(source: str, *, as_json: bool) -> None:
    found = figures(read_record(source))
    rows = [{"key": key, "title": one.title} for key, one in found.items()]
    _list(rows, source, "figure", as_json=as_json)


def _list_tables(source: str, *, as_json: bool) -> None:
    found = tables(read_record(source))
    rows = [{"key": key, "title": one.title} for key, one in found.items()]
    _list(rows, source, "table", as_json=as_json)


def _list(rows: list[dict[str, Any]], source: str, verb: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"source": source, f"{verb}s": rows})
        return
    lines = plain_table(["key", "title"])
    for row in rows:
        lines.add_row(row["key"], row["title"])
    out().print(lines, markup=False)
    if rows:
        next_command("sinewy", verb, rows[0]["key"], source)


def _unknown(what: str, key: str, known: list[str], record: Record, source: str) -> InputError:
    reason = missing(record).get(key)
    if reason:
        return InputError(f"there is no {what} '{key}' here: {reason}")
    other, verb = (tables(record), "table") if what == "figure" else ({}, "")
    if key in other:
        return InputError(f"'{key}' is a table: sinewy {verb} {key} {source}")
    return unknown_name(what, key, known)


def _names(text: str | None) -> list[str] | None:
    """Return the names of methods; a name may hold commas, so semicolons part them where there are any."""
    if text is None:
        return None
    return [name.strip() for name in text.split(";" if ";" in text else ",") if name.strip()]


def _inches(option: str, text: str | None) -> float | None:
    """Return a length in inches; a bare number is inches."""
    if text is None:
        return None
    units = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
    number, factor = text.strip(), 1.0
    for unit, size in units.items():
        if number.endswith(unit):
            number, factor = number.removesuffix(unit), size
    try:
        return float(number) * factor
    except ValueError:
        raise InputError(f"{option} reads a length such as 3.25in, 8.5cm or 240pt; got '{text}'.") from None
