"""The figure of how far anomalies can be told from normal inputs: the scores of both, per network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from sinewy.analysis.detected import NORMAL
from sinewy.analysis.evidence import Evidence
from sinewy.metrics.detection import auroc, false_positive_rate
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, dress
from sinewy.report.style import FAINT, PALETTE

NETWORKS, KINDS, BINS = 4, 3, 40
"""How many networks and kinds of anomaly the figure shows, and its bins; the data has all kinds and networks."""

USUAL = "msp"
"""The detector that is drawn if it was used: the confidence that every network has."""

ROW = 175
HOVER = "%{customdata}<br>score %{x:.3g}: %{y:.1f} %<extra></extra>"
FILLS = {"normal": "rgba(107,107,107,0.30)", "anomalous": "rgba(213,94,0,0.30)"}
LINES = {"normal": FAINT, "anomalous": PALETTE[1]}


def score_histograms(evidence: Evidence) -> Figure | None:
    """Return histograms of one detector's scores, normal inputs and anomalies; None if nothing was scored."""
    scores = evidence.scores.get(evidence.reference, {})
    kinds = [kind for kind in scores if kind != NORMAL]
    if not kinds:
        return None
    detector = min(scores[kinds[0]], key=_order)
    name, _, size = detector.rpartition("/")
    methods, shown = evidence.methods[:NETWORKS], kinds[:KINDS]
    titles = [_title(evidence, m, k, detector) for m in methods for k in shown]
    plot = make_subplots(
        rows=len(methods),
        cols=len(shown),
        subplot_titles=titles,
        shared_xaxes="columns",
        horizontal_spacing=0.05,
        vertical_spacing=0.3 / len(methods),
    )
    dress(plot, height=ROW * len(methods) + 100)
    plot.update_layout(margin={"t": 56})
    plot.update_annotations(font={"size": 12})
    rows: list[dict[str, Any]] = []
    for column, kind in enumerate(shown, start=1):
        edges = _edges(evidence, kind, detector)
        for row, method in enumerate(methods, start=1):
            own = evidence.scores[method]
            for what, values in (("normal", own[NORMAL][detector]), ("anomalous", own[kind][detector])):
                heights = _heights(values, edges)
                _steps(plot, (row, column), edges, heights, what, f"{figure_text(method)}, {what}")
                rows += [
                    {"method": method, "anomaly": kind, "set": what, "from": a, "to": b, "share": h / 100}
                    for a, b, h in zip(edges[:-1].tolist(), edges[1:].tolist(), heights.tolist(), strict=True)
                ]
    plot.update_yaxes(title={"text": "inputs, %"}, col=1)
    plot.update_xaxes(title={"text": f"{figure_text(name, 24)} score"}, row=len(methods))
    several = f" of groups of {size} inputs" if size != "1" else ""
    left = f" Of {len(kinds)} anomalies, the first {KINDS} are drawn." if len(kinds) > KINDS else ""
    return Figure(
        "scores",
        "Scores of normal inputs and anomalies",
        f"Scores of the detector {name}{several}: the solid grey line is the test set, the dotted orange one the "
        "anomalies; larger is more anomalous. The less the two overlap, the better anomalies can be told: AUROC 0.5 is "
        "chance, 1 perfect; FPR95 is the share of normal inputs flagged where 95 % of the anomalies are found. "
        f"Scores of two networks are on scales of their own.{left}",
        plot,
        rows,
        wide=len(shown) > 1,
    )


def _order(detector: str) -> tuple[bool, int, str]:
    """Return what detectors are ordered by: the usual one first, single inputs before groups."""
    name, _, size = detector.rpartition("/")
    return (name != USUAL, int(size), name)


def _title(evidence: Evidence, method: str, kind: str, detector: str) -> str:
    normal, odd = (evidence.scores[method][which][detector] for which in (NORMAL, kind))
    measured = f"AUROC {auroc(normal, odd):.3f} · FPR95 {100 * false_positive_rate(normal, odd):.0f} %"
    return f"<b>{figure_text(method, 26)}</b> · {figure_text(kind, 22)}<br>{measured}"


def _edges(evidence: Evidence, kind: str, detector: str) -> NDArray[np.float64]:
    """Return bins that hold the scores of all networks; the outermost half per cent is put into the last bins."""
    every = np.concatenate([s[which][detector] for s in evidence.scores.values() for which in (NORMAL, kind)])
    low, high = np.quantile(every[np.isfinite(every)], [0.005, 0.995])
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def _heights(values: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return 100 * counts / len(values)


def _steps(
    plot: Any, place: tuple[int, int], edges: NDArray[np.float64], heights: NDArray[Any], what: str, said: str
) -> None:
    plot.add_scatter(
        x=edges.tolist(),
        y=[*heights.tolist(), float(heights[-1])],
        mode="lines",
        line={"shape": "hv", "color": LINES[what], "width": 1.4, "dash": "solid" if what == "normal" else "dot"},
        fill="tozeroy",
        fillcolor=FILLS[what],
        customdata=[said] * len(edges),
        hovertemplate=HOVER,
        row=place[0],
        col=place[1],
    )
