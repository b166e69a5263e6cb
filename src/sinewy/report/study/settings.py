"""What the runs were told: the settings of any two of them side by side, and those that all share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sinewy.records import RunRecord
from sinewy.report.escaping import readable, script_json
from sinewy.report.numbers import flat


def settings_json(runs: Sequence[RunRecord]) -> str:
    """Return what the page needs to compare any two runs, as JSON that is safe inside a <script> element.

    `labels` name the runs, `names` the settings that differ between any of them, `values` are one row per run;
    `shared` counts the others; `second` is the first run of another method than the first one's. What a
    run was not told is "–".
    """
    told = [{readable(name): readable(value) for name, value in flat(run.settings).items()} for run in runs]
    names = list(dict.fromkeys(name for lines in told for name in lines))
    differing = [name for name in names if len({lines.get(name, "–") for lines in told}) > 1]
    document: dict[str, Any] = {
        "labels": [f"{readable(run.method)} · seed {run.seed} · {readable(run.id)}" for run in runs],
        "names": differing,
        "values": [[lines.get(name, "–") for name in differing] for lines in told],
        "shared": len(names) - len(differing),
        "second": next((i for i, run in enumerate(runs) if run.method != runs[0].method), 0),
    }
    return script_json(json.dumps(document))
