"""A worker process of `sinewy.sets.crew`: tasks come as lines of JSON on stdin, progress and results go to stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Do tasks until stdin ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a user's own kind prints is not taken for an answer
    for line in sys.stdin:
        _say(out, {"result": _result(json.loads(line), out)})


def _result(task: dict[str, Any], out: Any) -> dict[str, Any]:
    from sinewy.errors import InputError
    from sinewy.sets.writing import one_thread, perform

    one_thread()
    try:
        return perform(task, lambda event: _say(out, event))
    except InputError as error:
        return {"error": str(error), "input": True}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _say(out: Any, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
