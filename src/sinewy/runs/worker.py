"""A worker process: reads one task a line as JSON on stdin, writes events and one result as JSON lines on stdout.

Started as `python -m sinewy.runs.worker`, with threads set in the environment before torch is imported. It ends at once
when its stdin closes, so that no worker outlives a killed parent; SIGTERM lets a training step finish and its
checkpoint be written, and drops a measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from sinewy.errors import InputError
from sinewy.files import drop_unfinished

STOPPED = 128 + signal.SIGTERM
"""Exit code of a worker that was asked to stop while it measured."""


def main() -> None:
    """Serve tasks until stdin closes."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what user code prints goes to stderr; stdout carries the protocol
    stop = threading.Event()
    work = _Work(stop)
    signal.signal(signal.SIGTERM, work.on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and decides
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    options = json.loads(lines.get())
    tasks = _tasks(options, lambda event: _send(out, event), stop)
    while True:
        task = json.loads(lines.get())
        with work.on(task["task"]):
            answer = _answer(tasks, task)
        _send(out, {"event": "result", **answer})


class _Work:
    """What the worker is at. Training stops at its next checkpoint; a measurement is dropped, as it is made again.

    To drop one, the process ends: an exception raised by a signal is lost when it lands in code that catches it, and
    imports, weak references and extension modules do.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop, self._may_drop = stop, False

    def on_term(self, *_: Any) -> None:
        """Ask for an end, or drop what can be dropped."""
        self._stop.set()
        self._drop()

    @contextlib.contextmanager
    def on(self, task: str) -> Iterator[None]:
        """Say what is being done."""
        self._may_drop = task in ("audit", "probe", "findings")
        if self._stop.is_set():  # the signal came between two tasks
            self._drop()
        try:
            yield
        finally:
            self._may_drop = False

    def _drop(self) -> None:
        if self._may_drop:
            drop_unfinished()
            os._exit(STOPPED)


def _read(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    drop_unfinished()
    os._exit(0)


def _tasks(options: dict[str, Any], emit: Any, stop: threading.Event) -> Any:
    import torch

    torch.set_num_threads(options["threads"])
    from sinewy.runs.tasks import Tasks

    return Tasks(emit, stop.is_set, options["root"], options["device"])


def _answer(tasks: Any, task: dict[str, Any]) -> dict[str, Any]:
    from sinewy.train import Interrupted

    try:
        answer: dict[str, Any] = getattr(tasks, task.pop("task"))(**task)
    except Interrupted as stopped:
        return {"state": "stopped", "error": str(stopped)}
    except InputError as error:
        return {"state": "failed", "error": str(error), "kind": "input"}
    except Exception as error:
        return {"state": "failed", "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return answer


def _send(out: Any, event: dict[str, Any]) -> None:
    out.write(json.dumps(event) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
