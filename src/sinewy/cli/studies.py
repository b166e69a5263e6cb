"""The verbs that make studies and their reports: demo, run, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sinewy.cli.printing import next_command, out, print_json, say, typed_command
from sinewy.cli.progress import StudyProgress
from sinewy.errors import InputError, unknown_name
from sinewy.recipe import Recipe, read_recipe
from sinewy.records import StudyRecord
from sinewy.report import answer, summary, write_report
from sinewy.report.findings import findings_table
from sinewy.report.sentences import compare, warnings
from sinewy.report.text import results_table
from sinewy.runs.labels import method_labels
from sinewy.runs.local import LocalEngine
from sinewy.runs.probed import Probes
from sinewy.runs.reading import read_study
from sinewy.runs.standing import problems
from sinewy.runs.store import Store
from sinewy.runs.study import run_study

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes, one thread each; default: all cores.")
]
Root = Annotated[
    str | None, typer.Option("--root", help="Folder of the data files; default: $SINEWY_DATA or ~/.cache/sinewy.")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda; default: cuda where there is one.")]
RecipeName = Annotated[str, typer.Argument(help="A YAML file, or the name of a built-in recipe (sinewy list recipes).")]
Overrides = Annotated[list[str] | None, typer.Option("-o", help="Change a field: -o train.epochs=20 (repeatable).")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Audit on the first N test examples; marks the study partial.")
]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

DEMOS = ("demo", "demo-cifar10", "demo-fashion-mnist", "demo-mnist")
"""The recipes that `demo` runs, by data set."""

SEVERAL_SEEDS = (
    "probes: means over seeds; brackets are 95 % over examples and over trainings, by Student's t, wide for few seeds"
)
"""What is said under the findings of several seeds."""

QUICK = ("grid.seed=[0, 1]", "train.epochs=8")
"""What `demo --quick` changes in any demo recipe."""


def demo(
    data: Annotated[str, typer.Option("--data", help="digits (embedded), cifar10, fashion-mnist or mnist.")] = "digits",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer seeds and epochs: under 90 seconds on two cores.")
    ] = False,
    methods: Annotated[str | None, typer.Option("--methods", help="all, or names with commas: set,rigl,acdc.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the study.")] = Path("sinewy-demo"),
    root: Root = None,
    jobs: Jobs = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """The whole job on real data: train dense and sparse, audit all under corruption, write report.html.

    Examples:  sinewy demo      sinewy demo --quick --methods all      sinewy demo --data cifar10 --root ~/data
    """
    name = "demo" if data == "digits" else f"demo-{data}"
    if name not in DEMOS:
        raise unknown_name("demo data set", data, [n.removeprefix("demo-") for n in DEMOS if n != "demo"] + ["digits"])
    overrides = [*(QUICK if quick else ()), *(_chosen_methods(methods) if methods else ())]
    _run(read_recipe(name, overrides), folder, root, jobs, device, as_json=as_json)


def _chosen_methods(names: str) -> list[str]:
    """Return the override that puts these methods in place of a demo's own, with options for a short training."""
    offered = {entry if isinstance(entry, str) else entry["name"]: entry for entry in _all_methods()}
    wanted = list(offered) if names == "all" else [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in offered:
            raise unknown_name("method", name, [*offered, "all"])
    return [f"grid.sparsifier={json.dumps([offered[name] for name in wanted])}"]


def _all_methods() -> list[Any]:
    return read_recipe("demo-methods").grid["sparsifier"]


def run(
    recipe: RecipeName,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study; default: runs/<name of the recipe>.")
    ] = None,
    override: Overrides = None,
    limit: Limit = None,
    root: Root = None,
    jobs: Jobs = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Run a recipe, or continue it: finished cells are not run again.

    Example:  sinewy run study.yaml -o train.epochs=20 --out runs/study
    """
    study = read_recipe(recipe, overridden(override, limit))
    _run(study, folder or Path("runs") / study.name, root, jobs, device, as_json=as_json)


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")] = Path("sinewy-demo"),
    page: Annotated[
        Path | None, typer.Option("--out", "-o", help="The HTML file; default: report.html in the folder.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what keeps the study from being whole: exit code 1.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the report of a study as one offline HTML page, and print its table.

    Examples:  sinewy report runs/study --json      sinewy report runs/study --check
    """
    store = Store.open(folder)
    if check:
        _check(store, as_json=as_json)
    else:
        _show(store, page, as_json=as_json)


def overridden(override: list[str] | None, limit: int | None) -> list[str]:
    """Return the overrides that a command was given, the limit as one of them."""
    return [*(override or ()), *([f"audit.limit={limit}"] if limit else [])]


def _check(store: Store, *, as_json: bool) -> None:
    """Say what keeps a study from being whole; exit 1 if something does."""
    study = read_study(store)
    found = problems(store, study)
    if as_json:
        print_json({"folder": str(store.folder), "whole": not found, "problems": found})
    else:
        whole = f"whole: {len(study.runs)} cells trained and audited under one protocol, all probes measured"
        print("\n".join(f"✗ {problem}" for problem in found) or whole)
    say(f"next: {store.command}" if found else f"next: sinewy report {store.folder}")
    if found:
        raise typer.Exit(1)


def _run(
    recipe: Recipe, folder: Path, root: str | None, jobs: int | None, device: str | None, *, as_json: bool
) -> None:
    cells = recipe.cells()
    labels = {
        cell.id: f"{label}  seed {cell.seed}"
        for cell, label in zip(cells, method_labels(cells, recipe).values(), strict=True)
    }
    _refuse_file(folder)
    engine = LocalEngine(jobs, root=root, device=device)
    engine.start()
    say(f"{recipe.title or recipe.name}: {len(cells)} models on {engine.jobs} cores, into {folder}")
    try:
        with StudyProgress(labels) as progress:
            store = run_study(recipe, folder, engine, command=typed_command(), on_event=progress)
    except KeyboardInterrupt:
        say(f"interrupted; what was done is saved, and the same command continues:\n  {typed_command()}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        engine.close()
    study = _show(store, None, as_json=as_json)
    probes = Probes(store, recipe, store.checked)
    if len(study.done) < len(study.runs) or probes.measuring() or probes.reading():
        raise typer.Exit(1)


def _show(store: Store, page: Path | None, *, as_json: bool) -> StudyRecord:
    """Write the page, print the table or the JSON document, and say what to type next."""
    study = read_study(store)
    panel, reason = compare(study)
    written = write_report(study, page or store.folder / "report.html", panel=panel)
    if as_json:
        print_json(summary(study, panel) | {"report": str(written), "folder": str(store.folder)})
    else:
        console = out()
        for warning in warnings(study):
            console.print(warning, markup=False, style="red")
        if panel is not None:
            console.print(results_table(panel))
            console.print(
                "brackets: paired 95 % intervals over examples and seeds; ▲ better ▼ worse ≈ not distinguishable",
                markup=False,
            )
        for probe, rows in study.findings.items():
            console.print(findings_table(probe, rows))
        if study.findings and len({run.seed for run in study.runs}) > 1:
            console.print(f"\n{SEVERAL_SEEDS}", markup=False)
        console.print(answer(study, panel) if panel else reason, markup=False)
        console.print(f"wrote {written}", markup=False)
    first = study.done[-1].folder if study.done else None
    if first is not None:
        next_command("sinewy", "audit", first, "--against", str(study.done[0].folder))
    return study


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out needs a folder.")
