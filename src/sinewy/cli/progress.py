"""Progress of a study on stderr: a live bar on a terminal, one plain line per event elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sinewy.runs.local import Event

PHASES = {"check": "checking", "train": "training", "audit": "auditing", "probe": "probing", "findings": "reading"}
UNITS = {"train": "models", "audit": "shifts", "probe": "measurements", "findings": "findings"}


class StudyProgress:
    """Shows the events of `run_study`; `labels` names the cells."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._console = Console(stderr=True, highlight=False)
        self._live = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task: Any = None
        self._phase, self._done, self._total = "", 0, 0
        self._noted: set[str] = set()
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _on_phase(self, event: Event) -> None:
        self._phase, self._done, self._total = PHASES[event["name"]], 0, event["tasks"]
        if self._total == 0:
            return
        self._task = self._bar.add_task(self._phase, total=self._total, detail="")
        if not self._live and event["name"] != "check":
            self._line(f"{self._phase} {self._total} {UNITS[event['name']]}")

    def _on_epoch(self, event: Event) -> None:
        if self._live:
            cell = self._labels.get(event["cell"], event["cell"])
            detail = f"{cell}  epoch {event['epoch'] + 1}/{event['of']}  loss {event['loss']:.3f}"
            self._bar.update(self._task, detail=detail)

    def _on_finished(self, event: Event) -> None:
        self._done += 1
        self._bar.update(self._task, advance=1)
        task = event["of_task"]
        if event.get("state") == "failed" and "cell" in task:
            self._line(f"✗ {self._labels[task['cell']]}: {event['error']}")
        elif task["task"] == "train" and event.get("state") == "trained":
            self._line(f"✓ {self._labels[task['cell']]}  {task['cell']}", count=True)
        elif task["task"] == "audit" and not self._live:
            self._line(f"✓ {task['kind']}", count=True)
        elif task["task"] == "probe":
            self._on_measured(event, task)

    def _on_measured(self, event: Event, task: Event) -> None:
        cells = [self._labels[cell] for cell in task["files"]]
        what = f"{task['spec']['probes'][task['number']]['name']} {task['kind']}, " + (
            cells[0] if len(cells) == 1 else f"{len(cells)} models"
        )
        if event.get("state") == "failed":
            self._line(f"✗ {what}: {event['error']}")
        elif not self._live:
            self._line(f"✓ {what}", count=True)

    def _on_note(self, event: Event) -> None:
        text = event["text"]
        for cell, label in self._labels.items():
            text = text.replace(cell, label)
        if text not in self._noted:
            self._noted.add(text)
            self._line(f"note: {text}")

    def _line(self, text: str, *, count: bool = False) -> None:
        prefix = "" if self._live else f"{time.monotonic() - self._started:6.1f} s  "
        suffix = f"  ({self._done}/{self._total})" if count and not self._live else ""
        self._console.print(f"{prefix}{text}{suffix}", markup=False, soft_wrap=True)
