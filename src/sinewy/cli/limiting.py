"""The verb `limit`: how far a trained model can be pruned, per group of shifts, with a certificate."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sinewy.cli.printing import next_command, note_untrained, print_json, say, typed_command
from sinewy.cli.studies import INTERRUPTED, Device, Json, Root
from sinewy.errors import InputError
from sinewy.recipe import DataSpec, parse

if TYPE_CHECKING:
    from sinewy.data import Splits
    from sinewy.limits.found import Limit
    from sinewy.models.opened import OpenedModel


def limit(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a .safetensors of Sinewy, timm:NAME, torchvision:NAME or package.module:function."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data", help="Data set, imagefolder:DIR or npz:FILE; default: the one the model was trained on."
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of MODEL, where it is a name.")] = None,
    margin: Annotated[float, typer.Option("--margin", help="Accuracy loss that is accepted, in points.")] = 0.5,
    method: Annotated[str, typer.Option("--method", help="What is pruned first, as in sinewy.prune.")] = "magnitude",
    retrain: Annotated[
        str | None, typer.Option("--retrain", help="Epochs of training after each step, as 10ep; default: none.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--lr", help="Learning rate of the retraining; default: the model's own, or 0.01.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option("--grid", help="Sparsities, as 0.5,0.8; default: 20 % of what is left a step.")
    ] = None,
    shifts: Annotated[
        str | None,
        typer.Option("--shifts", help="Groups or kinds with commas, or none; default: noise,blur,weather,digital."),
    ] = None,
    severities: Annotated[str, typer.Option("--severities", help="Severities 1 to 5 with commas.")] = "3",
    preset: Annotated[str | None, typer.Option("--preset", help="Severity constants: cifar, tiny, imagenet.")] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="How often the certificate may err.")] = 0.05,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Side in pixels of imagefolder images.")] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", help="Means the model's inputs were normalised with: 0.485,0.456,0.406.")
    ] = None,
    std: Annotated[str | None, typer.Option("--std", help="Standard deviations, likewise.")] = None,
    first: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first N test examples; marks the result partial.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of corruptions and retraining.")] = 0,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder; default: runs/limit-<hash>.")] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Whether the page holds up to 12 test images that are lost.")
    ] = True,
    root: Root = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """How far a trained model can be pruned before it breaks, and under which inputs it breaks first.

    Example:  sinewy limit sinewy-demo/cells/<id> --margin 1 --retrain 3ep
    """
    levels = _severities(severities)
    numbers = {"grid": _numbers(grid, "--grid"), "mean": _numbers(mean, "--mean"), "std": _numbers(std, "--std")}
    import torch

    import sinewy

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    subject, splits, cell = _opened(model, weights, data, root, size, numbers["mean"], numbers["std"])
    meaning = [model, str(weights), data, method, retrain, rate, grid, size, seed, numbers["mean"], numbers["std"]]
    home = folder or Path("runs") / f"limit-{hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:6]}"
    say(f"pruning {model} by {method}, retraining {retrain or 'none'}, into {home}")
    try:
        with _notes():
            found = sinewy.limit(
                subject.model.to(place),
                splits.train,
                splits.test,
                margin=margin,
                method=method,
                retrain=retrain,
                training=_training(retrain, cell, rate),
                grid=numbers["grid"],
                shifts=None if shifts is None else [] if shifts == "none" else shifts.split(","),
                severities=levels,
                preset=preset,
                alpha=alpha,
                folder=home,
                first=first,
                seed=seed,
                device=place,
                name=model,
                about={"cell": cell, "classes": list(splits.test.classes), "image": [3, *splits.test.images.shape[2:]]},
                command=typed_command(),
                on_event=_tell,
            )
    except KeyboardInterrupt:
        say(f"interrupted; what was done is saved, and the same command continues:\n  {typed_command()}")
        raise typer.Exit(INTERRUPTED) from None
    against = ["--against", model, *(["--against-weights", str(weights)] if weights and not subject.about else [])]
    again = [*against, *(["--root", root] if root else [])] if "data" in cell else None
    _show(found, home, again, as_json=as_json, images=images)


def _show(found: Limit, home: Path, again: list[str] | None, *, as_json: bool, images: bool) -> None:
    """Write the page, print the result, and say what to type next: an audit with `again`, if it knows the data."""
    page = found.report(home / "report.html", images=images)
    if as_json:
        print_json(found.as_dict() | {"report": str(page), "levels": {s: str(f) for s, f in found.files.items()}})
    else:
        print(found)
        print(f"wrote {page} · pruned models in {home / 'levels'}")
    safe = [s for s in found.safe.values() if s]
    if safe and again is not None:
        next_command("sinewy", "audit", str(found.files[float(min(safe))]), *again)
    else:
        say(f"next: open {page} in a browser")


def _opened(
    source: str,
    weights: Path | None,
    data: str | None,
    root: str | None,
    size: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> tuple[OpenedModel, Splits, dict[str, Any]]:
    """Return the model, its data, and the description that its pruned levels are saved with."""
    from sinewy.limits.sources import read_source
    from sinewy.models.opened import check_source, open_model

    check_source(source)
    path = Path(source)
    remembers = path.is_dir() or path.suffix == ".safetensors"
    subject = open_model(source, weights=weights) if remembers else None
    cell = dict(subject.about.get("cell", {})) if subject else {"model": {"name": source}, "seed": 0}
    if data is None and "data" not in cell:
        raise InputError("this model does not say what it was trained on; name the data: --data cifar10")
    spec = parse(DataSpec, cell["data"], source) if "data" in cell else None
    if data is not None and (spec is None or data != spec.name):
        cell.pop("data", None)
        splits = read_source(data, root=root, size=size, mean=mean, std=std)
        if ":" not in data:
            cell["data"] = {"name": data}
    elif spec is not None:
        splits = read_source(
            spec.name, root=root, size=size, mean=mean, std=std, seed=spec.seed, validation=spec.validation
        )
    if subject is None:
        subject = open_model(source, weights=weights, classes=len(splits.test.classes))
        note_untrained(source, weights, "--weights")
    return subject, splits, cell


def _training(retrain: str | None, cell: dict[str, Any], rate: float | None) -> dict[str, Any] | None:
    """Return the options to retrain with: those the model was trained with, where it remembers them."""
    if retrain is None:
        if rate is not None:
            raise InputError("--lr is for retraining; add --retrain 10ep.")
        return None
    own = {name: value for name, value in cell.get("train", {}).items() if name != "epochs"}
    return own | ({"lr": rate} if rate is not None else {})


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} takes numbers with commas, such as 0.5,0.8; got '{text}'.") from None


def _severities(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--severities takes whole numbers from 1 to 5 with commas, got '{text}'.") from None


def _tell(event: dict[str, Any]) -> None:
    if event["event"] == "level":
        say(f"  sparsity {event['sparsity']:.4g} ({event['number']}/{event['of']})")
    elif event["event"] == "epoch":
        say(f"    epoch {event['epoch'] + 1}/{event['of']}  loss {event['loss']:.3f}")


@contextmanager
def _notes() -> Iterator[None]:
    """Show warnings as one line each on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_args, **_options: say(f"note: {message}")
        yield
