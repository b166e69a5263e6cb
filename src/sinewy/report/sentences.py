"""What the study says, in words: the answer in one sentence, why it may not be whole, and what it did not measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sinewy.analysis import Estimate, Panel
from sinewy.errors import InputError
from sinewy.records import RunRecord, StudyRecord
from sinewy.report.numbers import points

SMALLEST_SEEDS = 3

MANY, RESAMPLES = 200, (2000, 1000)
"""More runs than that are resampled less often: the draws of 1 000 runs take 400 MB."""


def compare(study: StudyRecord) -> tuple[Panel | None, str]:
    """Return the panel of the study and "", or None and the sentence that says why its runs cannot be compared."""
    if not study.done:
        return None, "No run has finished yet, so there is nothing to compare."
    try:
        return Panel.build(study.done, study.reference, resamples=RESAMPLES[len(study.done) > MANY]), ""
    except InputError as error:
        return None, str(error)


def answer(study: StudyRecord, panel: Panel | None = None) -> str:
    """Return what the study found in one sentence, honest about what cannot be told from chance.

    `panel` saves computing it again.
    """
    reason = ""
    if panel is None:
        panel, reason = compare(study)
    if panel is None:
        return f"No answer yet: {reason}"
    whole = study.partial is None and len(study.done) == len(study.runs)
    sentence = _finding(panel) + _seed_caution(panel)
    return sentence if whole else f"So far, and the study is not whole: {sentence}"


def warnings(study: StudyRecord) -> list[str]:
    """Return what a reader must know before any number: that the study is partial, and how many runs are missing."""
    found = [f"PARTIAL: {study.partial}"] if study.partial else []
    states = Counter(run.state for run in study.runs if run.state != "done")
    for state, count in states.items():
        what = "failed" if state == "failed" else f"not finished ({state})"
        found.append(f"{count} of {len(study.runs)} runs {what}; see Failures and warnings.")
    return found


def not_measured(panel: Panel | None) -> list[str]:
    """Return what the numbers on the page do not say."""
    limits = [
        "Adversarial attacks, calibration and out-of-distribution detection are no part of these accuracies.",
        "FLOPs are counted, not timed: zeros in dense tensors make a model neither smaller on disk nor faster to run.",
        "Intervals are per comparison, 95 %, and not corrected for the number of comparisons; only the wins are.",
        "Corruptions are synthetic: a gain here is evidence for, not proof of, a gain under the shifts met in use.",
    ]
    if panel is None:
        return limits
    few = min(len(seeds) for seeds in panel.seeds.values())
    if few == 1:
        limits.append(
            "Some methods have one seed: their intervals cover the choice of test examples, not another training run."
        )
    elif few < SMALLEST_SEEDS:
        limits.append(f"Some methods have {few} seeds: too few to know how much another training run would differ.")
    if panel.kinds:
        measured = ", ".join(str(severity) for severity in panel.severities)
        limits.append(f"Only these severities were measured: {measured}; only these kinds: {', '.join(panel.kinds)}.")
    else:
        limits.append("No corruption was measured.")
    return limits


def last_line(run: RunRecord) -> str:
    """Return the last line of the error of `run` that says something."""
    lines = [line.strip() for line in (run.error or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no error was recorded"


def _finding(panel: Panel) -> str:
    if len(panel.methods) == 1:
        return _alone(panel)
    kind = None if panel.kinds else "clean"
    inputs = _count(len(panel.kinds), "corruption") if panel.kinds else "the clean test set"
    differences = {method: panel.difference(method, kind) for method in panel.methods[1:]}
    best = max(differences, key=lambda method: differences[method].value)
    estimate = differences[best]
    clean = f" (clean: {_points(panel.difference(best, 'clean'))})" if panel.kinds else ""
    lead = (_only if len(differences) == 1 else _lead)(panel.reference, inputs, best, estimate, clean)
    return f"{lead}{_others(list(differences.values()), panel.reference)}."


def _alone(panel: Panel) -> str:
    accuracy = panel.corruption_accuracy(panel.reference) if panel.kinds else panel.accuracy(panel.reference)
    inputs = f"under {_count(len(panel.kinds), 'corruption')}" if panel.kinds else "on the clean test set"
    return (
        f"{panel.reference} is right on {points(accuracy)} % {inputs}, and there is no other method to compare it with."
    )


def _only(reference: str, inputs: str, method: str, estimate: Estimate, clean: str) -> str:
    if not estimate.distinguishable:
        verdict = f"no difference between {method} and {reference} can be shown"
        return f"Under {inputs}, {verdict}: {points(estimate, signed=True)} points{clean}"
    verb = "gained accuracy over" if estimate.low > 0 else "lost accuracy against"
    return f"Under {inputs}, {method} {verb} {reference}: {_points(estimate)}{clean}"


def _lead(reference: str, inputs: str, best: str, estimate: Estimate, clean: str) -> str:
    if estimate.low > 0:
        return f"Under {inputs}, {best} gained most over {reference}: {_points(estimate)} of accuracy{clean}"
    if estimate.high < 0:
        least = f"{best} lost least: {_points(estimate)}{clean}"
        return f"Under {inputs}, every method lost accuracy against {reference}; {least}"
    verdict = f"no method can be shown to beat {reference}; {best} comes out highest, at {_points(estimate)}"
    return f"Under {inputs}, {verdict}{clean}"


def _others(differences: Sequence[Estimate], reference: str) -> str:
    if len(differences) == 1:
        return ""
    better = sum(estimate.low > 0 for estimate in differences)
    worse = sum(estimate.high < 0 for estimate in differences)
    unclear = len(differences) - better - worse
    verdicts = f"{better} did better, {worse} worse, and {unclear} cannot be told from {reference}"
    return f"; of {len(differences)} methods {verdicts}"


def _seed_caution(panel: Panel) -> str:
    few = min(len(seeds) for seeds in panel.seeds.values())
    return " One seed only: another training run may differ." if few == 1 else ""


def _points(estimate: Estimate) -> str:
    unclear = "" if estimate.distinguishable else ", not distinguishable from 0"
    return f"{points(estimate, signed=True)} points{unclear}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
