"""What the benchmarks share: variants timed in turn, and ratios judged against their targets.

Whoever imports this computes on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

torch.set_num_threads(1)

Goal = dict[str, Any]
Times = dict[str, list[float]]


def alternate(
    variants: dict[str, Callable[[], object]], rounds: int, before: Callable[[], object] | None = None
) -> Times:
    """Return the CPU seconds of each variant in each round, after one unmeasured round.

    The variants take turns, in reversed order every second round, so that a slow spell of the machine hits all of them.
    `before` runs unmeasured before every call.
    """
    times: Times = {name: [] for name in variants}
    for number in range(-1, rounds):
        for name in variants if number % 2 else reversed(variants):
            if before is not None:
                before()
            begin = time.process_time()
            variants[name]()
            taken = time.process_time() - begin
            if number >= 0:
                times[name].append(taken)
    return times


def ratio(times: Times, name: str, baseline: str) -> float:
    """Return the median over the rounds of one variant's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(times[name], times[baseline], strict=True))


def milliseconds(times: Times) -> dict[str, float]:
    """Return the median time of each variant in milliseconds."""
    return {name: round(1e3 * statistics.median(seconds), 4) for name, seconds in times.items()}


def goal(name: str, value: float, target: float | None, **about: Any) -> Goal:
    """Return one result; without a target it is information and cannot be missed."""
    met = target is None or value <= target
    return {"name": name, "value": round(value, 4), "target": target, "met": met} | about


def options(description: str | None, rounds: int) -> argparse.Namespace:
    """Return the options that every benchmark takes: rounds and json."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"timed rounds per variant (default {rounds})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def finish(goals: list[Goal], *, as_json: bool) -> int:
    """Print the results, one line each, and return the exit code: 1 if a target is missed."""
    if as_json:
        print(json.dumps({"goals": goals}, indent=2))
    else:
        for entry in goals:
            print(_line(entry))
    return 0 if all(entry["met"] for entry in goals) else 1


def _line(entry: Goal) -> str:
    target = "" if entry["target"] is None else f"  target <= {entry['target']:g}"
    times = ", ".join(f"{name} {value:,.2f} ms" for name, value in entry.get("ms", {}).items())
    missed = "" if entry["met"] else "  MISSED"
    return f"{entry['name']}: {entry['value']:.3f}{target}{missed}{times and f'  ({times})'}"
