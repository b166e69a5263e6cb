"""Worker processes that generate sets: one task each at a time, and an end with a sentence whatever happens."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sinewy.errors import InputError

Task = dict[str, Any]


def perform_all(
    tasks: Sequence[Task], jobs: int, report: Callable[[dict[str, Any]], None]
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield every task with its result as it is done, `jobs` processes at work; one job is done in this process.

    `report` hears of progress. Raises InputError with the sentence of the first task that cannot be done, after the
    others at work have ended.
    """
    if jobs == 1 or len(tasks) == 1:
        from sinewy.sets.writing import perform

        for task in tasks:
            yield task, perform(task, report)
        return
    yield from _in_processes(tasks, min(jobs, len(tasks)), report)


def _in_processes(
    tasks: Sequence[Task], jobs: int, report: Callable[[dict[str, Any]], None]
) -> Iterator[tuple[Task, dict[str, Any]]]:
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    inbox: queue.SimpleQueue[tuple[Task | None, dict[str, Any]]] = queue.SimpleQueue()  # no task: progress
    workers = [_start() for _ in range(jobs)]
    try:
        for worker in workers:
            threading.Thread(target=_serve, args=(worker, waiting, inbox), daemon=True).start()
        left = len(tasks)
        while left:
            done, message = inbox.get()
            if done is None:
                report(message)
            elif "error" in message:
                raise InputError(message["error"]) if message.get("input") else RuntimeError(message["error"])
            else:
                left -= 1
                yield done, message
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                if stream is not None:
                    stream.close()


def _start() -> subprocess.Popen[str]:
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, "-m", "sinewy.sets.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the workers
    )


def _serve(worker: subprocess.Popen[str], waiting: Any, inbox: Any) -> None:
    """Hand one worker task after task, and pass on what it says."""
    while True:
        try:
            task = waiting.get_nowait()
        except queue.Empty:
            return
        inbox.put((task, _answer(worker, task, inbox) or _lost(worker)))


def _answer(worker: subprocess.Popen[str], task: Task, inbox: Any) -> dict[str, Any] | None:
    """Return the result of a task, or None if the worker ended; progress goes to the inbox on the way."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps(task) + "\n")
        worker.stdin.flush()
        for line in worker.stdout:
            message: dict[str, Any] = json.loads(line)
            if "result" in message:
                return dict(message["result"])
            inbox.put((None, message))
    except (OSError, ValueError):
        pass
    return None


def _lost(worker: subprocess.Popen[str]) -> dict[str, Any]:
    code = worker.wait()
    cause = (
        "was killed (signal 9), most often for memory; fewer --jobs may help" if code == -9 else f"ended with {code}"
    )
    return {"error": f"a worker {cause}. Run the same command again to go on.", "input": True}
