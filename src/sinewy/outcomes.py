"""What one model did with each example of one (possibly shifted) set: the record every number is computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import CorruptFileError
from sinewy.files import replacing

Condition = tuple[str, int]
"""A shift and its severity, 1 to 5; the unshifted set is CLEAN."""

CLEAN: Condition = ("clean", 0)


@dataclass(frozen=True)
class Outcomes:
    """Per-example outcomes of one model on one set of n examples; all arrays have shape (n,), in the order of the set.

    `confidence` is the largest softmax probability, `true_probability` that of the label, both in [0, 1]; `loss` is the
    cross-entropy in nats; `brier` is the sum over classes of (probability - one_hot)^2, in [0, 2].
    """

    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    confidence: NDArray[np.float32]
    true_probability: NDArray[np.float32]
    loss: NDArray[np.float32]
    brier: NDArray[np.float32]

    def __post_init__(self) -> None:
        shapes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        if len(set(shapes.values())) != 1 or self.label.ndim != 1:
            raise ValueError(f"outcomes need one value per example in every column, got shapes {shapes}")

    def __len__(self) -> int:
        return len(self.label)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction equals the label, per example."""
        return np.equal(self.prediction, self.label)

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, in [0, 1]; higher is better."""
        return float(self.correct.mean())


COLUMNS = tuple(field.name for field in fields(Outcomes))


def save_outcomes(path: Path, by_severity: Mapping[int, Outcomes], metadata: Mapping[str, Any]) -> None:
    """Write the outcomes of one shift in one step: columns of shape (severities, n), and `metadata` as JSON."""
    from safetensors.numpy import save_file

    severities = sorted(by_severity)
    arrays = {c: np.stack([getattr(by_severity[s], c) for s in severities]) for c in COLUMNS}
    with replacing(path) as temporary:
        # one entry, since safetensors writes several in no fixed order, and equal outcomes shall be equal files
        save_file(arrays, temporary, {"sinewy": json.dumps({"severities": severities, "about": dict(metadata)})})


def load_outcomes(path: Path) -> tuple[dict[int, Outcomes], dict[str, Any]]:
    """Return the outcomes by severity and the metadata written by `save_outcomes`.

    Raises CorruptFileError for a truncated or foreign file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["sinewy"])
            arrays = {column: file.get_tensor(column) for column in COLUMNS}
        severities, about = header["severities"], header["about"]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptFileError(
            f"{path} is not a whole outcomes file ({error}); delete it and run the same command again."
        ) from error
    return {s: Outcomes(**{c: arrays[c][i] for c in COLUMNS}) for i, s in enumerate(severities)}, about
