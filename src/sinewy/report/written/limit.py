"""The tables of a limit: how far each group of shifts lets the network be pruned, and the tests of the certificate."""

from __future__ import annotations

from typing import Any

from sinewy.analysis.limit_record import LimitRecord
from sinewy.report.numbers import points
from sinewy.report.practice.limit_text import allowed, label, limit_rows, number
from sinewy.report.table import Cell, Column, Table

LIMIT_COLUMNS = (
    Column("inputs", "inputs", words=True),
    Column("accuracy", "unpruned accuracy, % ↑"),
    Column("safe", "safe sparsity ↑"),
    Column("break", "first break"),
    Column("certified", "certified sparsity ↑"),
)
TEST_COLUMNS = (
    Column("sparsity", "sparsity"),
    Column("shift", "inputs", words=True),
    Column("loss", "loss, points ↓"),
    Column("bound", "upper bound, points ↓"),
    Column("p_value", "p"),
    Column("verdict", "verdict", words=True),
)


def limit_tables(record: LimitRecord) -> list[Table]:
    """Return the tables of a limit: by group of shifts, the certificate's tests, and sparsity by layer."""
    return [make(record) for make in LIMIT_TABLES.values()]


def _limit(record: LimitRecord) -> Table:
    rows, least = [], min(found.sparsity for found in record.potentials.values())
    for row in limit_rows(record):
        broken, loss = row["first_break"], row["break_loss"]
        lost = "" if loss is None else f"{-100 * loss:+.2f} points".replace("-", "−")
        rows.append(
            {
                "inputs": Cell(label(record, row["group"])),
                "accuracy": _accuracy(points(record.potentials[row["group"]].accuracy), row["accuracy"]),
                "safe": Cell(
                    number(row["safe"]) + (" +" if row["censored"] else ""),
                    f"[{number(row['low'])}, {number(row['high'])}]",
                    row["safe"],
                    mark="■" if row["safe"] == least else "",
                ),
                "break": Cell("none" if broken is None else number(broken), lost, broken),
                "certified": Cell(number(row["certified"]), value=row["certified"]),
            }
        )
    caption = (
        f"Safe: the largest sparsity tried whose mean accuracy loss is at most {allowed(record)}; brackets: its 95 % "
        f"interval over {record.n:,} test examples; ■ the limit; + nothing larger was tried. First break: the smallest "
        f"sparsity beyond the margin. Certified: the loss is below the margin on each input of the group, with "
        f"{100 * (1 - record.alpha):g} % confidence. {record.method}, retrain {record.retrain}."
    )
    return Table("limit", record.title, caption, LIMIT_COLUMNS, rows, limit_rows(record))


def _tests(record: LimitRecord) -> Table:
    data = record.certificate.rows()
    rows = [_test(row) for row in data if row["verdict"] != "not reached"]
    return Table("certificate", "The certificate", record.certificate.statement, TEST_COLUMNS, rows, data)


def _test(row: dict[str, Any]) -> dict[str, Cell]:
    bound = row["bound"]
    return {
        "sparsity": Cell(number(row["sparsity"]), value=row["sparsity"]),
        "shift": Cell(row["shift"].replace("_", " ")),
        "loss": Cell(f"{100 * row['loss']:+.2f}".replace("-", "−"), value=row["loss"]),
        "bound": Cell("–" if bound is None else f"{100 * bound:.2f}".replace("-", "−"), value=bound),
        "p_value": Cell(f"{row['p_value']:.3f}", value=row["p_value"]),
        "verdict": Cell(row["verdict"], verdict="better" if row["verdict"] == "passed" else "worse"),
    }


def _layers(record: LimitRecord) -> Table:
    keys = [f"level {index}" for index in range(len(record.levels))]
    columns = [Column("layer", "layer", words=True), Column("weights", "weights")]
    columns += [
        Column(key, number(level.sparsity), "sparsity of the network")
        for key, level in zip(keys, record.levels, strict=True)
    ]
    rows, data = [], []
    for layers in zip(*(level.layers for level in record.levels), strict=True):
        heads = {"layer": Cell(layers[0].name), "weights": Cell(f"{layers[0].weights:,}", value=layers[0].weights)}
        rows.append(heads | {k: Cell(number(x.sparsity), value=x.sparsity) for k, x in zip(keys, layers, strict=True)})
        data += [
            {"layer": one.name, "weights": one.weights, "network_sparsity": level.sparsity, "sparsity": one.sparsity}
            for one, level in zip(layers, record.levels, strict=True)
        ]
    caption = "The share of zeros in each prunable layer, by the sparsity of the whole network."
    return Table("sparsities", "Sparsity by layer", caption, columns, rows, data)


def _accuracy(written: str, value: float) -> Cell:
    text, _, interval = written.partition(" ")
    return Cell(text, interval, value)


LIMIT_TABLES = {"limit": _limit, "certificate": _tests, "sparsities": _layers}
"""What makes each table, by its key."""
