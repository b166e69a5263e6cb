"""The local engine: a pool of worker processes, one task each at a time. No torch.

Threads are set in their environment, since they count only if set before torch is imported.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Task = dict[str, Any]
Event = dict[str, Any]
OnEvent = Callable[[Event], None]


class Engine(Protocol):
    """What runs tasks somewhere.

    A task is a plain dict: the name of a method of `sinewy.runs.tasks.Tasks` and its arguments.
    """

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> list[Event]:
        """Return one result per task, in order; events of running tasks go to `on_event` as they come."""
        ...

    def close(self) -> None:
        """Let go of whatever the engine holds."""
        ...


class LocalEngine:
    """Worker processes on this machine, as many as `jobs`, each with `threads` threads.

    One thread by default: N workers times the default number of threads is ten times slower. A worker that is killed
    fails its task only, and is replaced.
    """

    def __init__(
        self, jobs: int | None = None, *, threads: int = 1, root: str | None = None, device: str | None = None
    ) -> None:
        self.jobs = jobs or usable_cores()
        self._options = {"threads": threads, "root": root, "device": device}
        self._workers: list[_Worker] = []

    def start(self) -> None:
        """Start the workers now, so that they import torch while the caller goes on."""
        while len(self._workers) < self.jobs:
            self._workers.append(_Worker(self._options))

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> list[Event]:
        """Return one result per task, in order; KeyboardInterrupt stops the workers at their next checkpoint."""
        results: list[Event | None] = [None] * len(tasks)
        waiting = deque(enumerate(tasks))
        inbox: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        busy: dict[_Worker, int] = {}
        try:
            while waiting or busy:
                self._hand_out(waiting, busy, inbox)
                worker, event = inbox.get()
                if event is None:
                    self._workers.remove(worker)
                    index = busy.pop(worker)
                    result = {"state": "failed", "error": worker.obituary()}
                    results[index] = result
                    on_event({**result, "event": "finished", "of_task": tasks[index]})
                elif event["event"] == "result":
                    index = busy.pop(worker)
                    results[index] = event
                    on_event({**event, "event": "finished", "of_task": tasks[index]})
                else:
                    on_event(event)
        except KeyboardInterrupt:
            self._stop_gently(busy, inbox)
            raise
        return [result for result in results if result is not None]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _hand_out(self, waiting: deque[tuple[int, Task]], busy: dict[_Worker, int], inbox: Any) -> None:
        while waiting and len(busy) < self.jobs:
            idle = next((worker for worker in self._workers if worker not in busy), None)
            if idle is None:
                idle = _Worker(self._options)
                self._workers.append(idle)
            index, task = waiting.popleft()
            busy[idle] = index
            idle.give(task, inbox)

    def _stop_gently(self, busy: dict[_Worker, int], inbox: queue.Queue[tuple[_Worker, Event | None]]) -> None:
        for worker in busy:
            worker.ask_to_stop()
        while busy:
            try:
                worker, event = inbox.get(timeout=60)
            except queue.Empty:
                break
            if event is None or event["event"] == "result":
                busy.pop(worker, None)
        self.close()


class _Worker:
    """One worker process and the thread that listens to it."""

    def __init__(self, options: dict[str, Any]) -> None:
        threads = str(options["threads"])
        settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sinewy.runs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **settings},
            start_new_session=True,  # Ctrl-C reaches the parent alone, which asks for a checkpoint first
        )
        self._inbox: Any = None
        self._write(options)
        threading.Thread(target=self._listen, daemon=True).start()

    def give(self, task: Task, inbox: Any) -> None:
        """Hand over one task; its events and result arrive in `inbox`."""
        self._inbox = inbox
        self._write(task)

    def ask_to_stop(self) -> None:
        """Ask for a checkpoint and an end."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """End the process; it leaves when its stdin closes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def obituary(self) -> str:
        """Say how a worker that is gone ended."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "the worker was killed (signal 9), most often for memory; fewer --jobs may help"
        if code == 128 + signal.SIGTERM:
            return "the worker was asked to stop (signal 15); the same command makes its measurement again"
        return f"the worker ended with exit code {code}"

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it is gone; the listener says so

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # else it was killed while it wrote
                self._inbox.put((self, json.loads(line)))
        if self._inbox is not None:
            self._inbox.put((self, None))


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
