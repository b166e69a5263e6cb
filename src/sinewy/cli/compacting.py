"""The verb `compact`: channels that a model does not need, removed for real, and what that saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sinewy.cli.printing import next_command, print_json, say
from sinewy.cli.studies import Json, Root
from sinewy.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from sinewy.models.opened import OpenedModel

_EXAMPLES = 8


def compact(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a .safetensors of Sinewy, timm:NAME, torchvision:NAME or package.module:function."
        ),
    ],
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights of MODEL, where it is a name.")] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", min=1, help="Number of classes, where MODEL is a name.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The small model's file.")] = Path("small.safetensors"),
    data: Annotated[str | None, typer.Option("--data", help="Data set whose first test images are run.")] = None,
    shape: Annotated[
        str | None, typer.Option("--input", help="Shape of one input, such as 3x32x32; default: what the model knows.")
    ] = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, help="Round channel counts up to this, where that is faster; 1: never.")
    ] = 8,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads to measure with.")] = 1,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Remove the channels that a sparse model does not need; outputs stay equal, cost is measured before and after.

    Example:  sinewy compact runs/mine/cells/<id> --out small.safetensors
    """
    if data is not None and shape is not None:
        raise InputError("--data and --input both say what the inputs are; give one of them.")
    import torch

    import sinewy
    from sinewy.models.opened import open_model

    torch.set_num_threads(threads)
    splits = sinewy.data.load(data, root=root) if data is not None else None
    classes = classes if splits is None or classes is not None else len(splits.test.classes)
    is_name = not Path(model).is_dir() and Path(model).suffix != ".safetensors"
    if is_name and classes is None:
        raise InputError(f"{model} is a name, which does not say how many classes it has; add --classes or --data.")
    opened = open_model(model, weights=weights, classes=classes)
    example = _images(splits.test) if splits is not None else _random(_shape(shape, opened, model))
    say(f"looking for channels that {model} does not need")
    small = sinewy.compact(opened.model, example, multiple=None if multiple == 1 else multiple)
    done: Any = small.compaction
    about = opened.about or {"built": {"name": model, "classes": classes}}
    about = about | {"removal": [*about.get("removal", ()), done.plan.as_json()]}
    masks = {name: done.plan.cut(name, mask) for name, mask in opened.masks.items()}
    sinewy.save_model(out, small, masks, about)
    if as_json:
        print_json(done.as_json() | {"wrote": str(out)})
    else:
        print(done)
        print(f"wrote {out}")
    reference = [] if weights is None else ["--against-weights", str(weights)]
    on = [] if data is None and "cell" in about else ["--data", data or "NAME"]
    next_command("sinewy", "audit", str(out), "--against", model, *reference, *on)


def _shape(text: str | None, opened: OpenedModel, model: str) -> tuple[int, ...]:
    """Return the shape of one input: the one given, or the one that the model's file remembers."""
    if text is None:
        image = opened.about.get("image")
        if image is None:
            raise InputError(f"{model} does not say what its inputs are; add --input, such as --input 3x32x32.")
        return tuple(image)
    sizes = text.lower().split("x")
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise InputError(f"--input {text} is not a shape; write the sizes of one example, such as 3x32x32.")
    return tuple(map(int, sizes))


def _random(shape: tuple[int, ...]) -> Tensor:
    import torch

    return torch.randn(_EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))


def _images(images: Any) -> Tensor:
    """Return the first images of a set as the model takes them."""
    import torch

    first = images.first(min(_EXAMPLES, len(images)))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (first.mean, first.std))
    return (torch.as_tensor(first.images).float() / 255 - mean) / std
