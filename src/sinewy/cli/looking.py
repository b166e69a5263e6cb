"""The verbs that only look: doctor and list."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Annotated

import typer

from sinewy.attacks import ATTACKS
from sinewy.cli.printing import next_command, out, plain_table, print_json
from sinewy.cli.studies import Json, Root
from sinewy.criteria import CRITERIA
from sinewy.data import DATASETS, OUTLIER_SETS
from sinewy.detectors import DETECTORS
from sinewy.environment import environment
from sinewy.errors import unknown_name
from sinewy.families import resolve
from sinewy.models import MODELS
from sinewy.objectives import OBJECTIVES
from sinewy.probes import PROBES
from sinewy.recipe import builtin_recipes
from sinewy.runs.local import usable_cores
from sinewy.shifts import C_BAR, CONTINUOUS, CORRUPTIONS, MNIST_C, THREE_D, VIDEO
from sinewy.sparsify import SPARSIFIERS
from sinewy.structured import STRUCTURED

EXTRAS = {
    "models": ("timm",),
    "structured": ("torch_pruning",),
    "attacks": ("pyautoattack",),
    "ood": ("pytorch_ood",),
    "figures": ("matplotlib",),
    "video": ("av",),
    "test": ("pytest", "hypothesis", "skimage", "cv2", "selenium", "axe_core_python", "torchmetrics", "captum"),
}
"""Extras by name, and the modules they bring."""

FAMILIES = {
    "sparsifiers": SPARSIFIERS,
    "criteria": CRITERIA,
    "structured-criteria": STRUCTURED,
    "objectives": OBJECTIVES,
    "models": MODELS,
    "data": DATASETS,
    "outlier-sets": OUTLIER_SETS,
    "corruptions": CORRUPTIONS,
    "c-bar": C_BAR,
    "mnist-c": MNIST_C,
    "3dcc": THREE_D,
    "video": dict.fromkeys(VIDEO, "sinewy.shifts.video:corrupt_clips"),
    "continuous-shifts": CONTINUOUS,
    "attacks": ATTACKS,
    "detectors": DETECTORS,
    "probes": PROBES,
    "recipes": {name: str(path) for name, path in builtin_recipes().items()},
}


def doctor(root: Root = None, as_json: Json = False) -> None:
    """Versions, devices, which extras and data sets are present."""
    import torch

    from sinewy.data.standing import present, standing

    found = environment() | {
        "usable_cores": usable_cores(),
        "gpu": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "extras": {name: all(map(importlib.util.find_spec, needed)) for name, needed in EXTRAS.items()},
        "data": {name: present(name, root) for name in (*DATASETS, *OUTLIER_SETS)},
        "data_root": root or os.environ.get("SINEWY_DATA") or "~/.cache/sinewy",
    }
    if as_json:
        print_json(found)
        return
    table = plain_table(["what", "found"])
    table.add_row("python", f"{found['python']}  {sys.executable}")
    for name, version in found["packages"].items():
        table.add_row(name, version)
    table.add_row("processor", f"{found['processor']}, {found['usable_cores']} of {found['cores']} cores usable")
    table.add_row("gpu", ", ".join(found["gpu"]) or "none")
    for name, is_there in found["extras"].items():
        table.add_row(f"extra {name}", "installed" if is_there else f"missing: pip install 'sinewy[{name}]'")
    for name in found["data"]:
        table.add_row(f"data {name}", standing(name, root))
    table.add_row("data folder", str(found["data_root"]))
    out().print(table, markup=False)
    next_command("sinewy", "demo")


def list_families(
    family: Annotated[
        str | None,
        typer.Argument(
            help="sparsifiers, criteria, structured-criteria, objectives, models, data, outlier-sets, corruptions,"
            " c-bar, mnist-c, 3dcc, video, continuous-shifts, attacks, detectors, probes, recipes."
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """What there is of each family; any of these may also be your own package.module:name."""
    if family is not None and family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    chosen = {family: FAMILIES[family]} if family else FAMILIES
    if as_json:
        print_json({name: list(members) for name, members in chosen.items()})
        return
    for name, members in chosen.items():
        out().print(name, style="bold")
        table = plain_table(["", "", ""])
        for member in members:
            table.add_row(f"  {member}", *(_said(name, member, root) if family else ["", ""]))
        out().print(table if family else "  " + "  ".join(members), markup=False)
    next_command("sinewy", "list", "sparsifiers") if family is None else next_command("sinewy", "demo")


def _said(family: str, member: str, root: str | None) -> list[str]:
    """Return what is said beside a member: its first sentence, after where it stands for what is read from files."""
    from sinewy.data.standing import standing

    where = [standing(member, root)] if family in ("data", "outlier-sets") else []
    return [*where, _one_line(family, member)]


def _one_line(family: str, member: str) -> str:
    if family == "recipes":
        from sinewy.recipe import read_recipe

        return read_recipe(member).title
    text = (resolve(family, member, FAMILIES[family]).__doc__ or "").strip()
    return text.partition("\n")[0]
