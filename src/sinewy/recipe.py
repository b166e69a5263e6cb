"""What an experiment means: the schema of a recipe, its overrides, its grid, and the name of each cell. No torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sinewy.data import DATASETS
from sinewy.errors import InputError, unknown_name
from sinewy.families import check_name
from sinewy.models import MODELS
from sinewy.objectives import OBJECTIVES
from sinewy.shifts import CORRUPTIONS, PRESETS
from sinewy.shifts.names import expand
from sinewy.sparsify import SPARSIFIERS

MEANING = 1
"""Raised when the same recipe would train to other weights than before, so that old cells are not taken for new
ones."""


class Strict(BaseModel):
    """A part of a recipe: unknown fields are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Part = TypeVar("Part", bound=Strict)


class Named(Strict):
    """A member of a family by name, with the options of its constructor; written as "name" or {name: ..., option:
    ...}."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


def _spelled_out(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | Mapping) else value


class ModelSpec(Named):
    """A network: a built-in name, timm:NAME, torchvision:NAME or package.module:function, and its options."""

    @model_validator(mode="after")
    def _known(self) -> ModelSpec:
        check_name("model", self.name, MODELS)
        return self


class SparsifierSpec(Named):
    """A sparsifier, and its options; "dense" takes none, so that a grid over sparsities has one dense cell."""

    name: str = "dense"
    sparsity: float = Field(default=0.0, ge=0, lt=1)

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the name."""
        return {"sparsity": self.sparsity, **(self.model_extra or {})} if self.name != "dense" else {}

    @model_validator(mode="before")
    @classmethod
    def _dense_has_no_options(cls, value: Any) -> Any:
        return {"name": "dense"} if isinstance(value, Mapping) and value.get("name", "dense") == "dense" else value

    @model_validator(mode="after")
    def _known(self) -> SparsifierSpec:
        check_name("sparsifier", self.name, SPARSIFIERS)
        return self


class DataSpec(Strict):
    """A data set, the share of its training part held out for validation, and the seed of that split."""

    name: str
    validation: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _known(self) -> DataSpec:
        check_name("data set", self.name, DATASETS)
        return self


class ObjectiveSpec(Named):
    """What is trained for, and its options."""

    name: str = "cross-entropy"

    @model_validator(mode="after")
    def _known(self) -> ObjectiveSpec:
        check_name("objective", self.name, OBJECTIVES)
        return self


class TrainOptions(Strict):
    """How a model is trained.

    `lr` follows `schedule` after `warmup` epochs of linear rise; "step" multiplies it by `gamma` at each of
    `milestones` (fractions of training). `clip` bounds the gradient norm. `precision` "auto" is bfloat16 or float16 on
    a GPU, float32 on a CPU. `ema` is the decay of an exponential moving average of the weights, which then is the
    result. `objective` is one of `sinewy.objectives`. `corruptions` are mixed into the training images after `augment`
    (robust training; `sinewy.data.batches`); a recipe whose audit then measures the same ones must say so.
    """

    epochs: int = Field(default=160, ge=1)
    batch: int = Field(default=128, ge=1)
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = Field(default=0.1, gt=0, le=1)
    warmup: float = Field(default=0.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    augment: Literal["none", "crop", "crop-flip"] = "none"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    ema: float | None = Field(default=None, gt=0, lt=1)
    objective: Annotated[ObjectiveSpec, BeforeValidator(_spelled_out)] = ObjectiveSpec()
    corruptions: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> TrainOptions:
        for kind in self.corruptions:
            check_name("corruption", kind, CORRUPTIONS)
        return self


class AuditSpec(Strict):
    """What a trained model is measured on: the clean test set always, the corruptions named, and under further probes.

    `kinds` may be any names of `sinewy.shifts`, groups ("noise", "c-bar", "mnist-c"), shifts of continuous strength
    ("uniform_noise/0.1") and package.module:function; groups are written out for the preset. `recompress` is the JPEG
    quality of a last pass, 85 in the published files of ImageNet-C. A study refuses to measure robustness on kinds that
    its models were trained with (`train.corruptions`), unless `include_trained`. `probes` are members of
    `sinewy.probes.PROBES` with their options; `preset` and `seed` hold for them too, where they have none of their own.
    """

    kinds: tuple[str, ...] = tuple(CORRUPTIONS)
    probes: Annotated[tuple[Annotated[Named, BeforeValidator(_spelled_out)], ...], BeforeValidator(_listed)] = ()
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = (1, 2, 3, 4, 5)
    preset: str = "cifar"
    seed: int = 0
    limit: int | None = Field(default=None, ge=1)
    recompress: int | None = Field(default=None, ge=1, le=100)
    include_trained: bool = False

    @model_validator(mode="after")
    def _known(self) -> AuditSpec:
        if self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        object.__setattr__(self, "kinds", expand(self.kinds, self.preset))
        return self


class CellSpec(Strict):
    """One training run: everything its weights depend on, and nothing else."""

    model: Annotated[ModelSpec, BeforeValidator(_spelled_out)]
    data: Annotated[DataSpec, BeforeValidator(_spelled_out)]
    train: TrainOptions = TrainOptions()
    sparsifier: Annotated[SparsifierSpec, BeforeValidator(_spelled_out)] = SparsifierSpec()
    seed: int = Field(default=0, ge=0)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of a hash of what differs from the defaults: new fields leave old names alone."""
        meaning = {"meaning": MEANING} | self.model_dump(mode="json", exclude_defaults=True)
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]

    def flat(self) -> dict[str, Any]:
        """Return every setting under its dotted name, defaults included."""
        return dict(_flatten(self.model_dump(mode="json")))


class Recipe(Strict):
    """A study: one cell, or a grid of them, and what to audit. Lists are axes only under `grid`.

    `keep_epochs` are epochs, from 1, after which each cell's network is kept beside its last one; they do not change
    what a cell means.
    """

    name: str = "study"
    title: str = ""
    model: Annotated[ModelSpec, BeforeValidator(_spelled_out)]
    data: Annotated[DataSpec, BeforeValidator(_spelled_out)]
    train: TrainOptions = TrainOptions()
    sparsifier: Annotated[SparsifierSpec, BeforeValidator(_spelled_out)] = SparsifierSpec()
    seed: int = Field(default=0, ge=0)
    keep_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    audit: AuditSpec = AuditSpec()
    grid: dict[str, list[Any]] = Field(default_factory=dict)

    def cells(self) -> list[CellSpec]:
        """Return the cells of the grid without repetition, dense references first; each sparse cell has its dense one.

        Raises InputError for an axis that is not a field.
        """
        base = self.model_dump(mode="json", include={"model", "data", "train", "sparsifier", "seed"})
        found: dict[str, CellSpec] = {}
        for point in product(*self.grid.values()):
            raw = json.loads(json.dumps(base))
            for axis, value in zip(self.grid, point, strict=True):
                _assign(raw, axis, value)
            cell = parse(CellSpec, raw, "the grid")
            self._keep_apart(cell)
            for spec in (cell.model_copy(update={"sparsifier": SparsifierSpec()}), cell):
                found.setdefault(spec.id, spec)
        return sorted(found.values(), key=lambda cell: cell.sparsifier.name != "dense")

    def _keep_apart(self, cell: CellSpec) -> None:
        """Refuse a test distribution that shares corruptions with the training distribution, unless told to."""
        shared = sorted(set(cell.train.corruptions) & set(self.audit.kinds))
        if shared and not self.audit.include_trained:
            raise InputError(
                f"{', '.join(shared)} would be both trained with (train.corruptions) and tested on (audit.kinds); leave"
                " them out of one, or set audit.include_trained=true to measure the training distribution as well."
            )


def parse(schema: type[Part], raw: Any, source: str) -> Part:
    """Return `raw` as `schema`; raises InputError that names `source`, the field, the value and the nearest name."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise InputError(_sentence(schema, error, source)) from None


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, or the built-in one of that name, with "dotted.field=value" overrides."""
    text, source = _text_of(path)
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{source} must be a mapping of fields such as model, data, train; got {type(raw).__name__}.")
    for override in overrides:
        field, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"an override reads field=value; got '{override}'.")
        _assign(raw, field.strip(), yaml.safe_load(value))
    return parse(Recipe, raw, source + (" with overrides" if overrides else ""))


def builtin_recipes() -> dict[str, Path]:
    """Return the recipes that come with Sinewy, by name."""
    return {file.stem: file for file in sorted((Path(__file__).parent / "recipes").glob("*.yaml"))}


def _text_of(path: Path | str) -> tuple[str, str]:
    known = builtin_recipes()
    file = known.get(str(path), Path(path))
    if not file.is_file():
        raise InputError(f"there is no recipe file {path}; built-in recipes: {', '.join(known)}.")
    return file.read_text(encoding="utf-8"), file.name


def _assign(raw: dict[str, Any], field: str, value: Any) -> None:
    *parents, last = field.split(".")
    for parent in parents:
        inner = _spelled_out(raw.get(parent, {}))
        raw[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        raw = raw[parent]
    raw[last] = value


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _flatten(entry, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", entry


def _sentence(schema: type[Strict], error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(schema, first["loc"][:-1])
        return f"{source}: {unknown_name('field', str(first['loc'][-1]), known)}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    got = "" if first["type"] in ("missing", "value_error") else f"; got {first['input']!r}"
    return f"{source}: {field + ': ' if field else ''}{message}{got}{'' if message.endswith('.') else '.'}"


def _fields_at(schema: type[BaseModel], path: Sequence[Any]) -> list[str]:
    for part in path:
        field = schema.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            schema = annotation
    return list(schema.model_fields)
