"""One figure or table of a page is computed alone, and is the one that the page has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from made_records import made_audit, made_limit, made_study
from report_studies import build_study
from sinewy.errors import InputError
from sinewy.report.contents import figure_of, figures, table_of, tables
from sinewy.report.figure import Figure
from sinewy.report.practice import audit, limit_figures
from sinewy.report.study import sections
from sinewy.report.table import Table

RECORDS = {"study": made_study, "audit": made_audit, "limit": made_limit}
HOMES = {"study": sections, "audit": audit, "limit": limit_figures}


def drawing(monkeypatch, module) -> list[str]:
    """Return a list to which every maker of a figure or a table in `module` adds what it made."""
    made: list[str] = []

    def watched(make: Callable) -> Callable:
        def watching(*given, **options):
            part = make(*given, **options)
            if isinstance(part, Figure | Table):
                made.append(part.key)
            return part

        return watching

    for name, value in vars(module).copy().items():
        if callable(value) and not isinstance(value, type) and name != "Callable":
            monkeypatch.setattr(module, name, watched(value))
    return made


@pytest.mark.parametrize("what", RECORDS)
def test_one_part_is_the_one_of_the_page(what):
    record = RECORDS[what]()
    for key, figure in figures(record).items():
        alone = figure_of(record, key)
        assert (alone.key, alone.title, alone.caption, alone.rows) == (key, figure.title, figure.caption, figure.rows)
        assert alone.plot.to_json() == figure.plot.to_json()
    for key, table in tables(record).items():
        assert table_of(record, key) == table


@pytest.mark.parametrize("what", RECORDS)
def test_no_other_part_is_computed(what, monkeypatch):
    record = RECORDS[what]()
    drawn, listed = list(figures(record)), list(tables(record))
    made = drawing(monkeypatch, HOMES[what])
    assert len(drawn) > 4
    for key in drawn:
        made.clear()
        assert figure_of(record, key).key == key
        assert set(made) <= {key}
    for key in listed:
        made.clear()
        assert table_of(record, key).key == key
        assert set(made) <= {key}
    made.clear()
    assert figure_of(record, "nothing") is table_of(record, "nothing") is None
    assert not made


def test_the_whole_page_watched_makes_everything(monkeypatch):
    """The watch of the test above sees what is made."""
    study = build_study(examples=20, seeds=1)
    made = drawing(monkeypatch, sections)
    assert set(made) == set()
    assert set(figures(study)) <= set(made)


def test_methods_are_chosen_for_one_part_too():
    study = build_study(examples=20, seeds=1)
    chosen = table_of(study, "results", ["SET 50 %"])
    assert chosen == tables(study, ["SET 50 %"])["results"]
    assert len(chosen.rows) == 2
    with pytest.raises(InputError, match="method of this study"):
        figure_of(study, "sparsity", ["SET 51 %"])
    with pytest.raises(InputError, match="no methods to choose"):
        table_of(made_limit(), "limit", ["SET"])
