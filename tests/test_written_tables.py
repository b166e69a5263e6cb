"""Tables for papers: the page's numbers in Markdown, LaTeX, CSV and JSON, and inert whatever a name holds."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_records import HOSTILE, METHODS, made_audit, made_limit, made_study
from sinewy.errors import InputError
from sinewy.report.contents import tables
from sinewy.report.table import Cell, Column, Table
from sinewy.report.written.latex import escaped
from sinewy.report.written.saving import FORMATS, save_table, table_text

RECORDS = {"study": made_study, "audit": made_audit, "limit": made_limit}


@functools.cache
def tables_of(record):
    return tables(RECORDS[record]())


def small(**changes):
    columns = (Column("method", "method", words=True), Column("a", "clean ↑", "accuracy, %"), Column("b", "n"))
    rows = [
        {"method": Cell("one|two"), "a": Cell("91.0 ± 0.2", "[90, 92]", 0.91, "best"), "b": Cell("500")},
        {"method": Cell("x_1"), "a": Cell("−3.1", "", -0.031, "tied", "worse", "▼", "worse"), "b": Cell("–")},
    ]
    data = [{"method": "one|two", "a": 0.91, "b": 500}, {"method": "=x_1", "a": float("nan"), "b": None}]
    return Table(**{"key": "small", "title": "Small & fine", "caption": "50 % of #1.", "columns": columns, "rows": rows,
                    "data": data} | changes)  # fmt: skip


def cells_of(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def test_markdown_by_hand():
    assert table_text(small(), "markdown") == (
        "**Small &amp; fine.** 50 % of #1.\n"
        "\n"
        "| method | clean ↑ (accuracy, %) | n |\n"
        "| :-- | --: | --: |\n"
        "| one\\|two | **91.0 ± 0.2** [90, 92] | 500 |\n"
        "| x\\_1 | *−3.1* ▼ | – |\n"
    )


def test_latex_by_hand():
    assert table_text(small(), "latex").splitlines()[1:] == [
        r"\begin{table}[t]",
        r"\centering",
        r"\small",
        r"\caption{Small \& fine. 50 \% of \#1.}",
        r"\label{tab:small}",
        r"\begin{tabular}{@{}lrr@{}}",
        r"\toprule",
        r" & \multicolumn{1}{c}{accuracy, \%} &  \\",
        r"\cmidrule(lr){2-2}",
        r"method & clean $\uparrow$ & n \\",
        r"\midrule",
        r"one\textbar{}two & \textbf{91.0 $\pm$ 0.2} {\scriptsize [90, 92]} & 500 \\",
        r"x\_1 & \underline{$-$3.1} $\blacktriangledown$ & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_csv_and_json_hold_the_numbers():
    rows = list(csv.DictReader(io.StringIO(table_text(small(), "csv"))))
    assert rows[0] == {"method": "one|two", "a": "0.91", "b": "500"}
    assert rows[1]["method"] == "'=x_1", "no spreadsheet runs it"
    document = json.loads(table_text(small(), "json"))
    assert document["rows"][1] == {"method": "=x_1", "a": None, "b": None}
    assert document["title"] == "Small & fine"


def test_columns_can_be_chosen():
    assert table_text(small(), "markdown", columns=["b", "method"]).splitlines()[4] == "| 500 | one\\|two |"
    assert table_text(small(), "csv", columns=["a"]) == "a\r\n0.91\r\nnan\r\n"
    with pytest.raises(InputError, match=r"unknown column of 'small' 'c'. Known: a, b, method\."):
        table_text(small(), "latex", columns=["c"])


def test_marks_are_explained_only_where_they_stand():
    study = tables_of("study")["results"]
    assert "▼ worse than the reference" in table_text(study, "markdown")
    assert "▼" not in table_text(study, "markdown", columns=["method", "clean_accuracy"])


def test_a_group_of_one_gap_is_spanned_apart():
    keys = "abcd"
    columns = [Column(k, k, group) for k, group in zip(keys, ("G", "", "G", "G"), strict=True)]
    lines = table_text(small(columns=columns, rows=[{k: Cell(k) for k in keys}]), "latex").splitlines()
    assert r"\multicolumn{1}{c}{G} &  & \multicolumn{2}{c}{G} \\" in lines
    assert r"\cmidrule(lr){1-1}\cmidrule(lr){3-4}" in lines


@pytest.mark.parametrize("record", RECORDS)
def test_every_table_in_every_format(record):
    for key, table in tables_of(record).items():
        assert table.key == key
        lines = table_text(table, "markdown").splitlines()[2:]
        assert {len(cells_of(line)) for line in lines} == {len(table.columns)}
        assert len(lines) == 2 + len(table.rows)
        latex_is_whole(table_text(table, "latex"), len(table.columns), len(table.rows))
        assert len(list(csv.reader(io.StringIO(table_text(table, "csv"))))) == 1 + len(table.data)
        assert len(json.loads(table_text(table, "json"))["rows"]) == len(table.data)


def latex_is_whole(text, columns, rows):
    """What a compiler would say first: braces pair, rows have as many cells, nothing special stands unescaped."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[\\{}&%$#_]", "", body)
    assert plain.count("{") == plain.count("}")
    assert body.count("$") % 2 == 0 or r"\$" in body
    assert not re.search(r"[%#^~]", plain.replace(r"\textasciicircum", "").replace(r"\textasciitilde", ""))
    inside = re.search(r"\\midrule\n(.*?)\\bottomrule", body, re.DOTALL)[1].splitlines()
    assert len(inside) == rows
    for line in inside:
        assert line.endswith(r"\\")
        assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
    environments = re.findall(r"\\(begin|end)\{([a-z*]+)\}", body)
    assert [name for kind, name in environments if kind == "begin"] == ["table*" if columns > 6 else "table", "tabular"]


@given(st.text(max_size=40))
def test_no_text_is_a_command_to_latex(text):
    found = escaped(text)
    words = "textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|textquotedbl|ldots|checkmark"
    known = rf"\\({words}|textonehalf)\{{\}}"
    rest = re.sub(r"\$\\[A-Za-z]+\$|\$-\$|\$\^2\$|\\,", "", re.sub(known, "", found))
    assert not re.search(r"[\\{}$&#^_%~]", re.sub(r"\\[{}$&#_%]", "", rest).replace("~", "")), found
    assert "\n" not in found


@given(st.text(max_size=40))
def test_no_text_breaks_a_row_of_markdown(text):
    table = small(rows=[{"method": Cell(text), "a": Cell(""), "b": Cell("")}])
    line = table_text(table, "markdown").splitlines()[-1]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 4
    assert "<" not in line


def test_hostile_names_stand_in_tables_and_do_nothing():
    latex = table_text(tables_of("study")["results"], "latex")
    assert r"100\% \textbackslash{}textbf\{x\} \& \$a\_1\$ \textless{}b\textgreater{}\#" in latex
    assert HOSTILE not in latex
    assert "<b>" not in table_text(tables_of("study")["results"], "markdown")


def test_the_main_table_says_what_the_panel_says():
    table = tables_of("study")["results"]
    best = max(table.data, key=lambda row: row["clean_accuracy"])["method"]
    rows = {cells_of(line)[0]: line for line in table_text(table, "markdown").splitlines()[4:]}
    marked = next(row for row in table.rows if row["clean_accuracy"].stand == "best")
    assert marked["method"].text == best
    assert f"**{marked['clean_accuracy'].text}**" in next(line for name, line in rows.items() if name.startswith(best))


def test_findings_stand_beside_each_other():
    table = tables_of("study")["attack"]
    assert [column.title for column in table.columns] == ["condition", "measure", *METHODS]
    first, error = table.rows[0], table.rows[-1]
    assert first["measure"].text == "accuracy ↑"
    assert [first[f"method {i}"].mark for i in range(3)] == ["", "▼", "▼"]
    assert error["measure"].text == "ECE ↓"
    assert error["method 1"].mark == "▲", "less error is better"
    assert first["method 0"].text == "0.800"
    assert first["method 0"].small == "[0.780, 0.820]"


def test_tables_of_a_limit():
    record, found = made_limit(), tables_of("limit")
    assert list(found)[:3] == ["limit", "certificate", "sparsities"]
    assert [row["inputs"].text for row in found["limit"].rows] == ["your test set", "noise", "weather_1"]
    assert [float(row["safe"].text.rstrip(" +")) for row in found["limit"].rows] == [
        round(p.sparsity, 2) for p in record.potentials.values()
    ]
    assert len(found["sparsities"].rows) == 3
    assert found["sparsities"].rows[0]["level 2"].text == "0.903"
    assert len(found["certificate"].data) == 3 * 3
    with pytest.raises(InputError, match="no methods to choose"):
        tables(record, ["a"])


def test_numbers_of_a_figure_are_a_table():
    table = tables_of("study")["gains"]
    assert table.columns[0].key == "method"
    assert len(table.rows) == 3 * 3 * 2
    assert json.loads(table_text(table, "json"))["rows"][0]["kind"] == table.data[0]["kind"]


def test_files_tell_their_format(tmp_path):
    for ending, start in {"md": "**Small", "tex": "% needs", "csv": "method", "json": "{"}.items():
        assert save_table(small(), tmp_path / f"a.{ending}").read_text().startswith(start)
    with pytest.raises(InputError, match="unknown format of a table"):
        save_table(small(), tmp_path / "a.doc")
    assert set(FORMATS) == {"markdown", "latex", "csv", "json"}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(tmp_path):
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{amssymb}\usepackage{textcomp}"
    parts = [table_text(table, "latex") for table in tables_of("study").values() if len(table.rows) < 20]
    body = "\n".join([r"\documentclass{article}", packages, r"\begin{document}", *parts, r"\end{document}"])
    (tmp_path / "a.tex").write_text(body)
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
