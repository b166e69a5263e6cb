"""Checkpoints: everything training needs to go on as if it had never stopped, written in one step."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from sinewy.errors import CorruptFileError
from sinewy.files import write_bytes

_DIGEST = 32


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) with its checksum; the earlier one stays until it is whole."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    body = buffer.getvalue()
    write_bytes(path, hashlib.sha256(body).digest() + body)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state written by `save_checkpoint`; raises CorruptFileError if a byte is missing or changed.

    Nothing in the file is executed (`weights_only=True`).
    """
    data = path.read_bytes()
    body = data[_DIGEST:]
    if hashlib.sha256(body).digest() != data[:_DIGEST]:
        raise CorruptFileError(
            f"{path} is truncated or was changed; delete it, and the run starts again from its beginning."
        )
    state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True)
    return state


def random_state() -> dict[str, Any]:
    """Return the state of torch's generators (dropout draws from them), per device."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def restore_random_state(state: dict[str, Any]) -> None:
    """Put torch's generators back to `random_state()`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
