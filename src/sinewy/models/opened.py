"""A trained model from wherever it is: a run folder, a model file, a library's name, or a user's function."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from sinewy.errors import InputError, unknown_name
from sinewy.masks import Masks
from sinewy.modelfile import load_model, read_model
from sinewy.models import MODELS, build
from sinewy.models.removal import Plan, apply_plan

MODEL_FILE = "model.safetensors"

INNER = {"study.json": ("study", "cells"), "limit.json": ("limit", "levels")}
"""Folders of many models, by the file that marks them: what they are called, and where in them the models are."""


class OpenedModel(NamedTuple):
    """A model in evaluation mode, its masks (empty if none were saved), and what its file says about it."""

    model: nn.Module
    masks: Masks
    about: dict[str, Any]


def open_model(source: str | Path, *, weights: str | Path | None = None, classes: int | None = None) -> OpenedModel:
    """Return the model at `source`.

    `source` is a run folder or a model file written by Sinewy, which remember how to build themselves (`about["cell"]`
    of a study, or `about["built"]`, the arguments of `sinewy.models.build`), or a name for `sinewy.models.build` with
    `classes`; its weights are then read from the safetensors file `weights`.

    A model that `sinewy.compact` made smaller is built whole and cut by the plans its file holds under "removal".
    Raises InputError if it is not there or does not say how it is built, CorruptFileError if it is damaged.
    """
    check_source(source)
    path = Path(source)
    file = path / MODEL_FILE if path.is_dir() else path
    if file.suffix == ".safetensors":
        return _from_file(file)
    model = build(str(source), **({} if classes is None else {"classes": classes}))
    masks = Masks({}) if weights is None else load_model(weights, model)
    return OpenedModel(model.eval(), masks, {})


def check_source(source: str | Path) -> None:
    """Raise InputError unless `source` can be a model: a folder that holds one, a .safetensors file, or a name."""
    path, name = Path(source), str(source)
    if path.is_dir():
        _check_folder(path)
    elif path.is_file() and path.suffix != ".safetensors":
        raise InputError(
            f"{path} is no .safetensors file; name the builder and give the weights beside it"
            " (package.module:function --weights FILE.safetensors)."
        )
    elif path.suffix != ".safetensors" and name not in MODELS and ":" not in name:
        raise unknown_name("model", name, MODELS, "There is no such model, folder or file.")


def _check_folder(path: Path) -> None:
    if (path / MODEL_FILE).is_file():
        return
    for marker, (kind, inner) in INNER.items():
        if (path / marker).is_file():
            found = sorted(file.parent for file in (path / inner).glob(f"*/{MODEL_FILE}"))
            one = found[0] if found else path / inner / "ID"
            raise InputError(f"{path} is a whole {kind}, {len(found)} of its {inner} hold a model; name one: {one}.")
    raise InputError(f"{path} holds no {MODEL_FILE}; is the run finished?")


def _from_file(file: Path) -> OpenedModel:
    about = read_model(file).about
    try:
        spec = about["built"] if "built" in about else _built(about)
        name, options = spec["name"], {key: value for key, value in spec.items() if key != "name"}
    except (KeyError, TypeError, IndexError):
        raise InputError(
            f"{file} does not say how its model is built; name the builder and give the file as weights"
            f" (package.module:function --weights {file})."
        ) from None
    model = build(name, **options)
    for plan in about.get("removal", ()):
        apply_plan(model, Plan.from_json(plan))
    return OpenedModel(model.eval(), load_model(file, model), about)


def _built(about: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `build` for a model of a study, from what its run wrote about it."""
    return {"classes": len(about["classes"]), "image_size": int(about["image"][-1]), **about["cell"]["model"]}
