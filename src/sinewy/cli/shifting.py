"""The verb `shift`: corrupted sets on disk, and pictures of what they look like."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sinewy.cli.printing import next_command, print_json, say
from sinewy.cli.studies import INTERRUPTED, Jobs, Json, Root
from sinewy.errors import InputError
from sinewy.runs.local import usable_cores
from sinewy.shifts import SEVERITIES
from sinewy.shifts.names import GROUPS, preset_for

if TYPE_CHECKING:
    from sinewy.data.images import ImageSet
    from sinewy.sets.sources import FolderSource

SUITES = {"cifar-c": "npy", "c-bar": "npy", "mnist-c": "mnist", "imagenet-c": "folders", "imagenet-c-bar": "folders"}
"""What --suite may be, and the layout each was published in."""


def shift(
    data: Annotated[str, typer.Argument(help="A data set (sinewy list data), package.module:function, or a folder.")],
    suite: Annotated[
        str | None, typer.Option("--suite", help="cifar-c, c-bar, mnist-c, imagenet-c or imagenet-c-bar.")
    ] = None,
    kinds: Annotated[
        str | None, typer.Option("--kinds", help="Comma-separated kinds or groups in place of a suite's.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder of the set.")] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="Write a page of pictures, kind by severity, and no set.")
    ] = None,
    severities: Annotated[str, typer.Option("--severities", help="Comma-separated.")] = "1,2,3,4,5",
    preset: Annotated[
        str | None, typer.Option("--preset", help="cifar, tiny or imagenet; default: what fits the size exactly.")
    ] = None,
    layout: Annotated[str | None, typer.Option("--layout", help="npy, mnist or folders; default: the suite's.")] = None,
    split: Annotated[str, typer.Option("--split", help="Which part of the data: test or train.")] = "test",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the corruptions.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N images.")] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images in the gallery.")] = 3,
    resize: Annotated[int | None, typer.Option("--resize", help="Of a folder: shorter side first; 256.")] = None,
    crop: Annotated[int | None, typer.Option("--crop", help="Of a folder: middle kept; 224.")] = None,
    quality: Annotated[int, typer.Option("--quality", help="JPEG quality of layout folders.")] = 85,
    recompress: Annotated[
        int | None, typer.Option("--recompress", help="A last JPEG pass in .npy sets; 85 as in ImageNet-C.")
    ] = None,
    jobs: Jobs = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Write a corrupted set in its published layout, or a page of pictures of it; again is continue.

    Examples:  sinewy shift cifar10 --suite cifar-c --out CIFAR-10-C      sinewy shift digits --gallery shifts.html
    """
    if suite is not None and suite not in SUITES:
        raise InputError(f"--suite is one of {', '.join(SUITES)}; got '{suite}'. --kinds names others.")
    if (folder is None) == (gallery is None):
        raise InputError("name either --out, the folder of the set, or --gallery, the page of pictures.")
    levels = _severities(severities)
    source = _source(data, split, root, resize, crop, limit)
    chosen = preset or _preset(suite, source)
    names = _kinds(suite, kinds)
    if gallery is not None:
        _show(source, names, gallery, images, chosen, seed, levels, recompress, as_json=as_json)
        return
    assert folder is not None
    from sinewy.data.images import ImageSet
    from sinewy.sets import generate

    default = SUITES[suite] if suite else ("npy" if isinstance(source, ImageSet) else "folders")
    with _Progress() as progress:
        try:
            manifest = generate(
                source,
                names,
                folder,
                layout=layout or default,
                severities=levels,
                preset=chosen,
                seed=seed,
                recompress=recompress,
                quality=quality,
                jobs=jobs or usable_cores(),
                on_event=progress,
            )
        except KeyboardInterrupt:
            say(f"interrupted; what is whole stays in {folder}. The same command goes on.")
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(manifest | {"folder": str(folder)})
    else:
        print(f"wrote {folder}: {len(manifest['parts'])} parts of {manifest['data']['examples']:,} images each")
    next_command("sinewy", "shift", data, *(["--suite", suite] if suite else []), "--gallery", "shifts.html")


def opened_cache(folder: Path | None) -> Any:
    """Return the cache of corrupted images in a folder, or None."""
    if folder is None:
        return None
    from sinewy.sets import Cache

    return Cache(folder.expanduser())


def opened_set(text: str | None) -> Any:
    """Return the published set that NAME=FOLDER means, or None; raises InputError for anything else."""
    if text is None:
        return None
    from sinewy.sets import open_set

    name, equals, folder = text.partition("=")
    if not equals or not folder:
        raise InputError(f"--published reads NAME=FOLDER, as in cifar10-c=~/CIFAR-10-C; got '{text}'.")
    return open_set(name, folder)


def _severities(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) in SEVERITIES for part in parts):
        raise InputError(f"--severities are numbers from 1 to 5 with commas between, got '{text}'.")
    return tuple(dict.fromkeys(map(int, parts)))


def _source(
    data: str, split: str, root: str | None, resize: int | None, crop: int | None, limit: int | None
) -> ImageSet | FolderSource:
    from dataclasses import replace

    import sinewy
    from sinewy.data import DATASETS
    from sinewy.sets.sources import FolderSource

    if data not in DATASETS and Path(data).is_dir():
        found = FolderSource.find(Path(data), resize=resize, crop=crop)
        return found if limit is None else replace(found, files=found.files[:limit])
    if resize is not None or crop is not None:
        raise InputError(f"--resize and --crop are for folders of pictures; '{data}' has its size.")
    if split not in ("test", "train"):
        raise InputError(f"--split is test or train, got '{split}'.")
    splits = sinewy.data.load(data, root=root, validation=0.0)
    part = splits.test if split == "test" else splits.train
    return part if limit is None else part.first(limit)


def _preset(suite: str | None, source: ImageSet | FolderSource) -> str:
    if suite in ("imagenet-c", "imagenet-c-bar"):
        return "imagenet"
    if suite == "mnist-c":
        return "cifar"  # its constants are its own
    return preset_for(min(source.block(0, 1)[0].shape[2:]) if hasattr(source, "block") else source.images.shape[-1])


def _kinds(suite: str | None, kinds: str | None) -> tuple[str, ...]:
    if kinds is not None:
        return tuple(kind.strip() for kind in kinds.split(","))
    group = {"imagenet-c": "cifar-c", "imagenet-c-bar": "c-bar"}.get(suite or "cifar-c", suite or "cifar-c")
    assert group in GROUPS
    return (group,)


def _show(
    source: ImageSet | FolderSource,
    kinds: tuple[str, ...],
    path: Path,
    count: int,
    preset: str,
    seed: int,
    severities: tuple[int, ...],
    recompress: int | None,
    *,
    as_json: bool,
) -> None:
    import torch

    from sinewy.data.images import ImageSet
    from sinewy.sets import write_gallery

    if isinstance(source, ImageSet):
        shown = torch.from_numpy(source.images[:count].copy())
        name = source.name
    else:
        runs = source.block(0, count)
        if len(runs) > 1:
            raise InputError("the first pictures differ in size; name --resize 256 --crop 224.")
        shown, name = runs[0], source.folder.name
    written = write_gallery(
        shown,
        kinds,
        path,
        severities=severities,
        preset=preset,
        seed=seed,
        recompress=recompress,
        title=f"Shifts of {name}",
    )
    if as_json:
        print_json({"gallery": str(written), "images": len(shown), "preset": preset, "seed": seed})
    else:
        print(f"wrote {written}")
    say(f"next: open {written} in a browser")


class _Progress:
    """Shows the events of `generate` on stderr: a bar on a terminal, a line per part elsewhere."""

    def __init__(self) -> None:
        self._live, self._began = sys.stderr.isatty(), time.monotonic()
        columns = (TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not self._live)
        self._task: Any = None

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "planned":
            self._task = self._bar.add_task("corrupting", total=event["tasks"])
            if event["tasks"] == 0:
                say("everything is there already")
        elif event["event"] == "made" and self._live:
            self._bar.update(self._task, description=f"{event['kind']} {event.get('severity', '')}")
        elif event["event"] == "done":
            self._bar.update(self._task, advance=1)
            if not self._live:
                taken = time.monotonic() - self._began
                say(f"{taken:6.1f} s  ✓ {event['part']}  ({event['number']}/{event['of']})")
