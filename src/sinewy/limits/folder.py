"""The folder of a limit: of which settings it is, so that nothing made under others is ever taken for it.

FOLDER/limit.json                            what the networks depend on
FOLDER/record.json                           what was found, but for the outcomes (analysis.limit_files), at the end
FOLDER/parent/outcomes/<protocol>/<kind>.safetensors
FOLDER/levels/<sparsity>/model.safetensors   weights and masks; checkpoint.pt while it is retrained
FOLDER/levels/<sparsity>/outcomes/...
FOLDER/shifted/                              shifted test images, while it runs
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sinewy.errors import InputError
from sinewy.files import read_json, write_json

FORMAT = 2


class Temporary:
    """A folder that is removed with the last reference to this."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sinewy-limit-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def level_folder(sparsity: float) -> Path:
    """Return where a level lies in the folder of its limit."""
    return Path("levels") / f"{sparsity:.6g}"


def claim(home: Path, settings: Mapping[str, Any]) -> None:
    """Take `home` for a limit of these settings; raises InputError if it holds another, or anything else."""
    path, settings = home / "limit.json", {"format": FORMAT, **settings}
    if home.exists() and not home.is_dir():
        raise InputError(f"{home} is a file; give a new or empty folder.")
    if path.is_file():
        before = read_json(path)
        for name, value in settings.items():
            if before.get(name) != value:
                raise InputError(
                    f"{home} holds a limit of another {name} ({_short(before.get(name))}, now {_short(value)}); "
                    "use another folder, or the same settings as before."
                )
    elif home.is_dir() and any(home.iterdir()):
        raise InputError(f"{home} holds other files than a limit; give a new or empty folder.")
    else:
        write_json(path, dict(settings))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
