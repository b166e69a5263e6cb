"""Make a shifted set on disk in the layout it was published in: parallel, resumable, checksummed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.files import digest, read_json, write_bytes, write_json
from sinewy.sets.crew import Task, perform_all
from sinewy.sets.files import check_room, locked, remove_leftovers, stream_npy
from sinewy.sets.sources import ArraySource, FolderSource, Source
from sinewy.sets.writing import PICTURES
from sinewy.shifts import SEVERITIES
from sinewy.shifts.corruption import protocol
from sinewy.shifts.names import expand, family, severities_of

FORMAT = 1
MANIFEST = "sinewy-set.json"
"""In every generated set: what it was made of and how, and the checksums of its files."""

LAYOUTS = ("npy", "mnist", "folders")
"""CIFAR-10-C's KIND.npy and labels.npy; MNIST-C's KIND/test_images.npy; ImageNet-C's KIND/SEVERITY/CLASS/*.JPEG."""

OnEvent = Callable[[dict[str, Any]], None]


def generate(
    data: ImageSet | FolderSource,
    kinds: Sequence[str],
    out: Path | str,
    *,
    layout: str = "npy",
    severities: Sequence[int] = SEVERITIES,
    preset: str = "cifar",
    seed: int = 0,
    recompress: int | None = None,
    quality: int = 85,
    jobs: int = 1,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Write `data` under every kind and severity into the folder `out`, and return its manifest.

    `kinds` are names of `sinewy.shifts` or groups of them ("cifar-c", "c-bar", "mnist-c"). `layout` is one of
    `LAYOUTS`; "folders" is what a `FolderSource` needs, and stores JPEG of `quality`, as ImageNet-C's files are.
    `recompress` puts .npy images through JPEG of that quality. `jobs` processes work at a time. Called again after an
    interruption, it goes on with what is missing; files that were changed since are made again. Bytes depend on (data,
    kind, severity, seed), not on jobs. Two calls on one folder do not disturb each other: the second waits. Raises
    InputError for kinds that do not fit the data, a folder that holds something else, and a disk without room.
    """
    out, names, tell = Path(out), expand(kinds, preset), on_event or _silent
    _check(data, names, layout, severities)
    meaning = _meaning(data, layout, severities, preset, seed, recompress, quality)
    with locked(out / ".lock"):
        manifest = _begun(out, meaning)
        if layout == "npy":
            _check_severities({*names, *manifest["parts"]}, severities)
        remove_leftovers(out)
        source = _source(data, out)
        plan = _folder_tasks if layout == "folders" else _kind_tasks
        tasks = plan(source, out, names, manifest, meaning)
        check_room(out, _bytes(data, layout, tasks, meaning, len(names)))
        tell({"event": "planned", "tasks": len(tasks), "kinds": len(names), "of": len(source)})
        _write_labels(data, out, layout, names, severities, manifest)
        work = perform_all(tasks, jobs, lambda event: tell({"event": "made", **event}))
        for number, (task, result) in enumerate(work, start=1):
            manifest["parts"] = dict(sorted({**manifest["parts"], task["key"]: result}.items()))
            write_json(out / MANIFEST, manifest)
            tell({"event": "done", "part": task["key"], "number": number, "of": len(tasks)})
        (out / ".source.npy").unlink(missing_ok=True)
    return manifest


def _silent(event: dict[str, Any]) -> None:
    del event


def _check(data: ImageSet | FolderSource, kinds: Sequence[str], layout: str, severities: Sequence[int]) -> None:
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if isinstance(data, FolderSource) and layout != "folders":
        raise InputError("pictures in folders are written as pictures in folders; use layout 'folders'.")
    digits = [kind for kind in kinds if family(kind) == "mnist-c"]
    if layout == "mnist" and len(digits) != len(kinds):
        raise InputError("layout 'mnist' is for the kinds of MNIST-C only; use layout 'npy'.")
    uncountable = [kind for kind in kinds if family(kind) == "continuous"]
    if uncountable:
        raise InputError(f"{uncountable[0]} gives floats, which no published layout holds; leave it out.")
    if layout == "npy":
        _check_severities(kinds, severities)
    if not kinds or not severities or not set(severities) <= set(SEVERITIES):
        raise InputError(f"name at least one kind, and severities from 1 to 5; got {list(kinds)}, {list(severities)}.")


def _check_severities(kinds: Iterable[str], severities: Sequence[int]) -> None:
    if len({len(severities_of(kind, severities)) for kind in kinds}) > 1:
        raise InputError("kinds of one severity (mnist-c/...) and of several cannot share labels.npy; make two sets.")


def _meaning(data: ImageSet | FolderSource, layout: str, severities: Sequence[int], *settings: Any) -> dict[str, Any]:
    """Return what every byte of the set depends on; sets that differ in it never share a folder."""
    preset, seed, recompress, quality = settings
    if isinstance(data, ImageSet):
        about: dict[str, Any] = {"name": data.name, "split": data.split, "examples": len(data), "hash": data.hash}
    else:
        about = {"folder": data.folder.name, "resize": data.resize, "crop": data.crop, "examples": len(data)}
        about["hash"] = data.hash
    said: dict[str, Any] = {"source": "generated by sinewy", **protocol(preset, seed), "recompression": recompress}
    if layout == "folders":
        said["jpeg_quality"] = quality
    return {"data": about, "layout": layout, "severities": list(severities), "protocol": said}


def _begun(out: Path, meaning: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of an earlier call that meant the same, or a new one."""
    path = out / MANIFEST
    if path.is_file():
        manifest: dict[str, Any] = read_json(path)
        if {key: manifest.get(key) for key in meaning} != meaning:
            different = [key for key in meaning if manifest.get(key) != meaning[key]]
            raise InputError(f"{out} holds a set that differs in {' and '.join(different)}; name another folder.")
        return manifest
    if any(entry.name != ".lock" for entry in out.iterdir()):
        raise InputError(f"{out} holds other files than a generated set; name an empty or new folder.")
    manifest = {"format": FORMAT, **meaning, "parts": {}}
    write_json(path, manifest)
    return manifest


def _source(data: ImageSet | FolderSource, out: Path) -> Source:
    """Return the source of the clean images; those in memory are put where every worker can map them."""
    if isinstance(data, FolderSource):
        return data
    path = out / ".source.npy"
    stream_npy(path, data.images.shape, (data.images[i : i + 4096] for i in range(0, len(data), 4096)))
    return ArraySource(path, tuple(data.classes[label].replace("/", "_") for label in data.labels))


def _kind_tasks(
    source: Source, out: Path, kinds: Sequence[str], manifest: dict[str, Any], meaning: dict[str, Any]
) -> list[Task]:
    grey = meaning["layout"] == "mnist"
    tasks = []
    for kind in ("identity", *kinds) if grey else kinds:
        plain = kind.rpartition("/")[2].replace(":", ".")
        name = f"{plain}/{_split(meaning)}_images.npy" if grey else f"{plain}.npy"
        done = manifest["parts"].get(kind)
        if done is None or not _unchanged(out / name, done):
            manifest["parts"].pop(kind, None)
            tasks.append({"key": kind, "kind": kind, "name": name, "path": str(out / name), **_common(source, meaning)})
    return tasks


def _unchanged(path: Path, done: dict[str, Any]) -> bool:
    return path.is_file() and path.stat().st_size == done["bytes"] and digest(path, hashlib.md5) == done["md5"]


def _folder_tasks(
    source: Source, out: Path, kinds: Sequence[str], manifest: dict[str, Any], meaning: dict[str, Any]
) -> list[Task]:
    """Return the blocks of pictures of which not every kind was written."""
    found: list[Task] = []
    for start in range(0, len(source), PICTURES):
        key = f"pictures {start}"
        if not set(kinds) <= set(manifest["parts"].get(key, {}).get("kinds", ())):
            common = _common(source, meaning, start, start + PICTURES)
            found.append({"key": key, "start": start, "folder": str(out), "kinds": list(kinds), **common})
    return found


def _common(source: Source, meaning: dict[str, Any], start: int = 0, stop: int | None = None) -> dict[str, Any]:
    said = meaning["protocol"]
    return {
        "source": source.as_task(start, stop),
        "layout": meaning["layout"],
        "severities": meaning["severities"],
        "preset": said["preset"],
        "seed": said["seed"],
        "recompress": said["recompression"],
        "quality": said.get("jpeg_quality", 85),
    }


def _split(meaning: dict[str, Any]) -> str:
    return "train" if meaning["data"].get("split") == "train" else "test"


def _bytes(
    data: ImageSet | FolderSource, layout: str, tasks: Sequence[Task], meaning: dict[str, Any], kinds: int
) -> int:
    """Return about how many bytes will be written."""
    severities = len(meaning["severities"])
    if layout == "folders":
        pictures = sum(min(PICTURES, len(data) - task["start"]) for task in tasks)
        return int(pictures * kinds * severities * 20_000)  # about what 224 x 224 pixels take at quality 85
    assert isinstance(data, ImageSet)
    each = [len(severities_of(task["kind"], meaning["severities"])) for task in tasks]
    return data.images.nbytes * sum(each) // (3 if layout == "mnist" else 1)


def _write_labels(
    data: ImageSet | FolderSource,
    out: Path,
    layout: str,
    kinds: Sequence[str],
    severities: Sequence[int],
    manifest: dict[str, Any],
) -> None:
    """Write the labels as published: once for .npy, repeated for every severity; beside the images for MNIST-C."""
    if not isinstance(data, ImageSet) or layout == "folders":
        return
    if layout == "mnist":
        for kind in ("identity", *kinds):
            path = out / kind.rpartition("/")[2] / f"{_split(manifest)}_labels.npy"
            stream_npy(path, data.labels.shape, [data.labels], dtype="<i8")
        return
    once = len(severities_of(kinds[0], severities))
    labels = np.tile(data.labels, once).astype(np.uint8 if len(data.classes) <= 256 else np.int64)
    stream_npy(out / "labels.npy", labels.shape, [labels], dtype=labels.dtype.str)
    names = "".join(f"{name}\n" for name in data.classes)
    write_bytes(out / "classes.txt", names.encode())
