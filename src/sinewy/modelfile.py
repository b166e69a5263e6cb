"""One file that holds a sparse model: weights under plain state_dict keys, masks as bits beside them, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sinewy.errors import CorruptFileError, InputError
from sinewy.files import write_bytes
from sinewy.layers import unwrap
from sinewy.masks import Masks

MASK_PREFIX = "sinewy.mask."


class ModelFile(NamedTuple):
    """The contents of a model file: weights, masks (empty if it holds none), and what was written about the model."""

    weights: dict[str, Tensor]
    masks: Masks
    about: dict[str, Any]


def save_model(
    path: Path | str,
    model: nn.Module,
    masks: Mapping[str, Tensor] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write `model` and `masks` to one safetensors file, in one step.

    Weights stand under the plain model's state_dict keys; the masks take one bit a weight, under "sinewy.mask.<name>".
    `about` is any JSON-able description. Raises InputError if a pruned weight is not zero, or the file cannot be
    written.
    """
    masks = Masks(masks or {})
    masks.check(model)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in unwrap(model).state_dict().items()}
    tensors |= {MASK_PREFIX + name: bits for name, bits in masks.pack().items()}
    # one entry, since safetensors writes several in no fixed order, and equal models shall be equal files
    header = {"about": dict(about or {}), "masks": masks.hash, "counts": masks.counts}
    write_bytes(Path(path), save(tensors, {"sinewy": json.dumps(header)}))


def read_model(path: Path | str) -> ModelFile:
    """Return the contents of a file written by `save_model`, or of any safetensors file (then without masks).

    Raises InputError if the file is not there, CorruptFileError if it is truncated, or masks and weights do not agree.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no model file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("sinewy", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{path} is not a whole safetensors file ({error}).") from error
    counts = header.get("counts", {})
    packed = {name.removeprefix(MASK_PREFIX): value for name, value in tensors.items() if name.startswith(MASK_PREFIX)}
    weights = {name: value for name, value in tensors.items() if not name.startswith(MASK_PREFIX)}
    if not packed.keys() <= weights.keys() or packed.keys() != counts.keys():
        raise CorruptFileError(f"{path}: its masks and its weights are not of the same model.")
    masks = Masks.unpack(packed, {name: weights[name].shape for name in packed})
    if masks.counts != counts or (packed and masks.hash != header["masks"]):
        raise CorruptFileError(f"{path}: its masks do not hold the number of weights that was saved.")
    return ModelFile(weights, masks, header.get("about", {}))


def load_model(path: Path | str, model: nn.Module) -> Masks:
    """Load weights and masks from `path` into `model` in place, apply the masks, and return them.

    Raises InputError if the file is of another architecture (with the first key that differs), CorruptFileError if a
    pruned weight in the file is not zero or the file is damaged.
    """
    file, plain = read_model(path), unwrap(model)
    own = plain.state_dict()
    differing = sorted(own.keys() ^ file.weights.keys())
    if differing:
        where = "the model only" if differing[0] in own else "the file only"
        raise InputError(f"{path} is of another architecture: '{differing[0]}' is in {where}.")
    for name, value in file.weights.items():
        if value.shape != own[name].shape:
            raise InputError(
                f"{path}: '{name}' has shape {tuple(value.shape)}, the model needs {tuple(own[name].shape)}."
            )
    plain.load_state_dict(file.weights)
    masks = Masks(
        {name: file.masks[name] for name in own if name in file.masks}
    )  # in model order, which the file does not keep
    masks.check(plain)
    masks.apply_(plain)
    return masks
