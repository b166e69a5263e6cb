"""The page of a limit, for somebody who wants to use the pruned network: how far, what breaks, what it saves."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from sinewy.analysis.limit_record import LimitRecord
from sinewy.analysis.shown import Shown
from sinewy.files import write_text
from sinewy.outcomes import CLEAN
from sinewy.report.document import render, resource
from sinewy.report.escaping import csv_uri
from sinewy.report.numbers import flat, points
from sinewy.report.practice import pruned
from sinewy.report.practice.confidence import confidence_rows, confidence_table
from sinewy.report.practice.limit_figures import UNPRUNED, compared_levels, level_name, limit_evidence, limit_figures
from sinewy.report.practice.limit_text import (
    advice,
    allowed,
    label,
    limit_answer,
    limit_rows,
    limit_summary,
    limit_text,
    number,
)
from sinewy.report.practice.pictures import cards, chosen_text

__all__ = ["UNPRUNED", "level_name", "limit_figures", "limit_rows", "limit_summary", "limit_text", "write_limit_report"]

LIMITS = (
    "Another training run of the same network: the intervals and the certificate are about these weights.",
    "Inputs of other kinds or severities than those listed, adversarial inputs and inputs of no class among them.",
    "Speed and size on other machines: zeros in dense tensors save neither, and what channels save depends on it.",
    '"Safe" is the best of several noisy levels, so it leans towards too much; the certificate does not.',
)
"""What the page does not say."""

TITLES = {
    "answer": "The answer",
    "curves": "What each sparsity costs",
    "map": "Which shift breaks first",
    "breaks": "What breaks",
    "confidence": "Confidence",
    "layers": "Where it was pruned",
    "cost": "What it saves",
    "certificate": "The certificate",
    "method": "How it was measured",
}
"""The sections in reading order."""


def write_limit_report(record: LimitRecord, path: Path, shown: Shown | None = None) -> Path:
    """Write the page of `record` to `path` as one HTML file that needs no network, and return `path`.

    `shown` is what outcomes do not hold: single images, bytes and times; sections without it say so. Raises InputError
    if the file cannot be written; an earlier one then stays.
    """
    write_text(path, _page(record, shown or Shown(record.classes)))
    return path


def _page(record: LimitRecord, shown: Shown) -> str:
    tests, figures = record.certificate.rows(), {figure.key: figure for figure in limit_figures(record)}
    level, evidence = record.answer, limit_evidence(record)
    layers = pruned.layer_rows(level.layers, level.left)
    examples = cards(shown, (UNPRUNED, "pruned"))
    costs = pruned.cost_rows({UNPRUNED: record.cost}, shown.speed)
    return render(
        "practice/limit.html.j2",
        practice=resource("practice/practice.css"),
        record=record,
        titles={key: title for key, title in TITLES.items() if key != "map" or "map" in figures},
        answer=limit_answer(record),
        margin=allowed(record),
        advice=advice(record),
        rows=[_written(record, row) for row in limit_rows(record)],
        rows_csv=csv_uri(limit_rows(record)),
        figures=figures,
        commands={key: _command(record, key) for key in figures},
        networks=evidence.methods,
        examples=examples,
        heading=f"Single images: {UNPRUNED} is right, {level_name(record, level)} is wrong",
        level=level_name(record, level),
        chosen=chosen_text(shown, examples),
        confidence=confidence_table(evidence),
        confidence_csv=csv_uri(confidence_rows(evidence)),
        left=pruned.left_sentence(level.left),
        layers=pruned.written_layers(layers),
        layers_csv=csv_uri(layers),
        all_layers=_layers(record),
        levels=[number(one.sparsity) for one in record.levels],
        compared=[number(one.sparsity) for one in compared_levels(record).values()],
        costs=pruned.written_costs(costs),
        batches=pruned.batches_of(costs),
        costs_csv=csv_uri(costs),
        said=pruned.speed_sentences(shown.speed),
        clocked=pruned.speed_protocol(shown.speed),
        convention=pruned.FLOPS_CONVENTION,
        certificate=record.certificate.statement,
        tests=[_test(row) for row in tests if row["verdict"] != "not reached"],
        tests_csv=csv_uri(tests),
        protocol=flat(record.protocol),
        environment=flat(record.environment),
        limits=LIMITS,
    )


def _command(record: LimitRecord, key: str) -> str:
    """Return the command that draws a figure again, from the folder of the limit; "" where nothing was kept."""
    return shlex.join(["sinewy", "figure", key, record.folder]) if record.folder else ""


def _written(record: LimitRecord, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the main table in words; the mark says what colour alone would."""
    least = min(found.sparsity for found in record.potentials.values())
    mark, meaning = ("■", "the limit") if row["safe"] == least else ("▲", "allows more")
    broken = "none" if row["first_break"] is None else number(row["first_break"])
    return {
        "label": label(record, row["group"]),
        "kinds": ", ".join(dict.fromkeys(kind for kind, _ in record.groups[row["group"]] if kind != CLEAN[0])),
        "accuracy": points(record.potentials[row["group"]].accuracy),
        "safe": number(row["safe"]) + (" +" if row["censored"] else ""),
        "interval": f"[{number(row['low'])}, {number(row['high'])}]",
        "break": broken,
        "loss": "" if row["break_loss"] is None else f"{-100 * row['break_loss']:+.2f} points".replace("-", "−"),
        "certified": number(row["certified"]),
        "verdict": "worse" if row["safe"] == least else "better",
        "mark": f"{mark} {meaning}",
    }


def _test(row: dict[str, Any]) -> dict[str, str]:
    return {
        "sparsity": number(row["sparsity"]),
        "shift": row["shift"],
        "loss": f"{100 * row['loss']:+.2f}".replace("-", "−"),
        "bound": f"{100 * row['bound']:.2f}",
        "p": f"{row['p_value']:.3f}",
        "verdict": row["verdict"],
        "class": "better" if row["verdict"] == "passed" else "worse",
    }


def _layers(record: LimitRecord) -> list[dict[str, Any]]:
    """Return one row per layer: its weights, and its sparsity at every level."""
    by_layer = zip(*(level.layers for level in record.levels), strict=True)
    return [
        {
            "name": levels[0].name,
            "weights": f"{levels[0].weights:,}",
            "sparsities": [number(layer.sparsity) for layer in levels],
        }
        for levels in by_layer
    ]
