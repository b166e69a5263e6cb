"""The verb `audit`: any trained model, against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sinewy.cli.printing import print_json, say, typed_command
from sinewy.cli.studies import Device, Json, Root
from sinewy.errors import InputError
from sinewy.recipe import AuditSpec, DataSpec, parse

if TYPE_CHECKING:
    from sinewy.models.opened import OpenedModel


def audit(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a .safetensors of Sinewy, timm:NAME, torchvision:NAME or package.module:function."
        ),
    ],
    against: Annotated[str | None, typer.Option("--against", help="The reference, given like MODEL.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Data set; default: the one the model was trained on.")
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of MODEL, where it is a name.")] = None,
    against_weights: Annotated[
        Path | None, typer.Option("--against-weights", help="Weights of the reference, likewise.")
    ] = None,
    probes: Annotated[str, typer.Option("--probes", help="Comma-separated; see: sinewy list probes.")] = "corruption",
    kinds: Annotated[str | None, typer.Option("--kinds", help="Comma-separated corruptions; default: all 19.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="Severity constants: cifar, tiny or imagenet.")] = "cifar",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the corruptions.")] = 0,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first N test examples; marks the result partial.")
    ] = None,
    page: Annotated[Path, typer.Option("--out", help="The HTML page.")] = Path("audit.html"),
    root: Root = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a trained model on clean and shifted test data, against a reference on the same bytes.

    Example:  sinewy audit sinewy-demo/cells/<id> --against sinewy-demo/cells/<id of dense>
    """
    chosen = tuple(kinds.split(",")) if kinds else None
    spec = parse(AuditSpec, {"preset": preset, "seed": seed} | ({"kinds": chosen} if chosen else {}), "audit")
    import torch

    import sinewy
    from sinewy.models.opened import open_model
    from sinewy.report import summary

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    source = _data(data, model, against)
    splits = sinewy.data.load(source.name, root=root, validation=source.validation, seed=source.seed)
    classes = len(splits.test.classes)
    subject = open_model(model, weights=weights, classes=classes)
    parent = open_model(against, weights=against_weights, classes=classes) if against else None
    say(f"auditing {model} on {source.name} ({limit or len(splits.test):,} examples, {len(spec.kinds)} corruptions)")
    found = sinewy.audit(
        subject.model,
        splits.test,
        against=parent.model if parent else None,
        probes=probes.split(","),
        names=(_name(model, subject), _name(against or "", parent) + " (reference)" if parent else "reference"),
        limit=limit,
        device=place,
        command=typed_command(),
        on_event=lambda event: say(f"  {event['probe']} {event['kind']} ({event['number']}/{event['of']})"),
        kinds=spec.kinds,
        preset=spec.preset,
        seed=spec.seed,
    )
    written = found.report(page)
    if as_json:
        print_json(summary(found.record, found.panel) | {"report": str(written)})
    else:
        found.show()
        print(f"wrote {written}")
    say(f"next: open {written} in a browser")


def _data(name: str | None, *sources: str | None) -> DataSpec:
    """Return the data set to audit on: the one named, or the one a run folder remembers."""
    remembered = next((spec for spec in map(_trained_on, sources) if spec is not None), None)
    if name is not None:
        return remembered if remembered and remembered.name == name else parse(DataSpec, {"name": name}, "--data")
    if remembered is None:
        raise InputError("this model does not say what it was trained on; name the data: --data cifar10")
    return remembered


def _trained_on(source: str | None) -> DataSpec | None:
    from sinewy.modelfile import read_model

    file = Path(source or "")
    file = file / "model.safetensors" if file.is_dir() else file
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    cell: dict[str, Any] = read_model(file).about.get("cell", {})
    return parse(DataSpec, cell["data"], str(file)) if "data" in cell else None


def _name(source: str, opened: OpenedModel | None) -> str:
    if opened is None or "cell" not in opened.about:
        return source
    spec = opened.about["cell"]
    sparsifier = spec["sparsifier"]
    label = (
        sparsifier["name"]
        if sparsifier["name"] == "dense"
        else f"{sparsifier['name']} {100 * sparsifier['sparsity']:g} %"
    )
    return f"{label}, seed {spec['seed']}"
