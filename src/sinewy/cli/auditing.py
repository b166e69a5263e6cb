"""The verb `audit`: any trained models, against a reference."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sinewy.cli.options import probe_options
from sinewy.cli.printing import note_untrained, print_json, say, typed_command
from sinewy.cli.shifting import opened_cache, opened_set
from sinewy.cli.studies import Device, Json, Root
from sinewy.errors import InputError
from sinewy.recipe import AuditSpec, DataSpec, parse

if TYPE_CHECKING:
    from sinewy.models.opened import OpenedModel


def audit(
    model: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, .safetensors of Sinewy, timm:NAME, torchvision:NAME or package.module:function."
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
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds", help="Comma-separated: fog, noise, c-bar, mnist-c, uniform_noise/0.1; default: all 19."
        ),
    ] = None,
    severities: Annotated[
        str | None, typer.Option("--severities", help="Of corruptions, 1 to 5 with commas; default: all five.")
    ] = None,
    preset: Annotated[str, typer.Option("--preset", help="Severity constants: cifar, tiny or imagenet.")] = "cifar",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the probes.")] = 0,
    recompress: Annotated[
        int | None, typer.Option("--recompress", help="JPEG quality of a last pass over corrupted images; 85.")
    ] = None,
    published: Annotated[
        str | None, typer.Option("--published", help="NAME=FOLDER of published files to read, cifar10-c=~/CIFAR-10-C.")
    ] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder that keeps corrupted images.")] = None,
    attacks: Annotated[str | None, typer.Option("--attacks", help="Comma-separated; see: sinewy list attacks.")] = None,
    eps: Annotated[
        str | None, typer.Option("--eps", help="Radii in 255ths, comma-separated; default: 1,2,4,8.")
    ] = None,
    norm: Annotated[str | None, typer.Option("--norm", help="linf or l2.")] = None,
    noises: Annotated[
        str | None, typer.Option("--noises", help="Of weights: relative, additive, int8, int4; comma-separated.")
    ] = None,
    sigmas: Annotated[str | None, typer.Option("--sigmas", help="Sizes of noise on weights, comma-separated.")] = None,
    draws: Annotated[int | None, typer.Option("--draws", min=1, help="Draws of noise on weights; default: 5.")] = None,
    outliers: Annotated[
        str | None,
        typer.Option(
            "--outliers",
            help="Comma-separated: data sets, folders, noise/uniform, attack/fgsm/8, shift/fog/3, oodom/mnist.",
        ),
    ] = None,
    detectors: Annotated[
        str | None, typer.Option("--detectors", help="Comma-separated; see: sinewy list detectors.")
    ] = None,
    sizes: Annotated[str | None, typer.Option("--sizes", help="Inputs per group to detect, comma-separated.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="PROBE.NAME=VALUE of any probe; may be given more than once.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first N test examples; marks the result partial.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Folder of the measurements; the same command goes on from there.")
    ] = None,
    page: Annotated[Path, typer.Option("--out", help="The HTML page.")] = Path("audit.html"),
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Whether the page holds up to 12 test images that are lost.")
    ] = True,
    root: Root = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure trained models on clean and shifted test data and under other probes, against a reference.

    Example:  sinewy audit sinewy-demo/cells/<id> --against sinewy-demo/cells/<id of dense> --probes corruption,attack
    """
    wanted = _words(probes) or ()
    spec = parse(AuditSpec, {"preset": preset, "seed": seed} | ({"kinds": _words(kinds)} if kinds else {}), "audit")
    given: dict[str, tuple[str, Any]] = {
        "severities": ("corruption", _numbers("--severities", severities, int)),
        "recompress": ("corruption", recompress),
        "published": ("corruption", opened_set(published)),
        "cache": ("corruption", opened_cache(cache)),
        "attacks": ("attack", _words(attacks)),
        "eps": ("attack", _numbers("--eps", eps, float)),
        "norm": ("attack", norm),
        "noises": ("weight-noise", _words(noises)),
        "sigmas": ("weight-noise", _numbers("--sigmas", sigmas, float)),
        "draws": ("weight-noise", draws),
        "outliers": ("ood", _words(outliers)),
        "detectors": ("ood", _words(detectors)),
        "sizes": ("ood", _numbers("--sizes", sizes, int)),
    }
    options = _chosen(given, wanted)
    further = probe_options(option or (), wanted)
    import torch

    import sinewy
    from sinewy.models.opened import open_model
    from sinewy.probes.audit import make_probes
    from sinewy.report import summary

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    source = _data(data, *model, against)
    splits = sinewy.data.load(source.name, root=root, validation=source.validation, seed=source.seed)
    classes = len(splits.test.classes)
    everything: dict[str, Any] = {
        "kinds": spec.kinds if kinds or published is None else None,
        "preset": spec.preset,
        "seed": spec.seed,
        "train": splits.train,
        "validation": splits.validation,
        "root": root,
        **options,
    }
    active = [probe for name in wanted for probe in make_probes([name], _had(name, everything) | further.get(name, {}))]
    subjects = {}
    for number, name in enumerate(model):
        subject = open_model(name, weights=weights if number == 0 else None, classes=classes)
        note_untrained(name, weights if number == 0 else None, "--weights")
        subjects[_name(name, subject)] = subject.model
    if len(subjects) < len(model):
        raise InputError("two of the models have the same name; audit them one at a time.")
    parent = open_model(against, weights=against_weights, classes=classes) if against else None
    if against:
        note_untrained(against, against_weights, "--against-weights")
    count = f"{limit or len(splits.test):,} examples"
    say(f"auditing {', '.join(model)} on {source.name} ({count}; {', '.join(_said(probe) for probe in active)})")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = sinewy.audit(
            subjects,
            splits.test,
            against=parent.model if parent else None,
            probes=active,
            names=("", _name(against or "", parent) + " (reference)" if parent else "reference"),
            limit=limit,
            device=place,
            folder=keep,
            command=typed_command(),
            on_event=lambda event: say(f"  {event['probe']} {event['kind']} ({event['number']}/{event['of']})"),
        )
    for sentence in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
        say(f"warning: {sentence}")
    written = found.report(page, images=images)
    if as_json:
        print_json(summary(found.record, found.panel) | {"report": str(written)})
    else:
        found.show()
        print(f"wrote {written}")
    say(f"next: open {written} in a browser")


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(option: str, text: str | None, kind: type) -> tuple[Any, ...] | None:
    try:
        return None if text is None else tuple(kind(word) for word in _words(text) or ())
    except ValueError:
        raise InputError(f"{option} reads numbers with commas between them; got '{text}'.") from None


def _chosen(given: dict[str, tuple[str, Any]], wanted: tuple[str, ...]) -> dict[str, Any]:
    """Return the options that were given; raises InputError for one of a probe that was not asked for."""
    for name, (probe, value) in given.items():
        if value is not None and probe not in wanted and not any(":" in other for other in wanted):
            raise InputError(f"--{name} is an option of the {probe} probe; add it: --probes {probe}")
    return {name: value for name, (_, value) in given.items() if value is not None}


def _had(probe: str, everything: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a probe has."""
    import inspect

    from sinewy.families import resolve
    from sinewy.probes import PROBES

    parameters = inspect.signature(resolve("probe", probe, PROBES)).parameters
    return {name: value for name, value in everything.items() if name in parameters}


def _said(probe: Any) -> str:
    return f"{probe.name}: {len(probe.kinds)}" if probe.kinds else str(probe.name)


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


MOMENTS = {"round": "round", "epochs": "epoch"}
"""What a network says of when in its training it was kept, and how that is called."""


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
    moment = "".join(f", {name} {opened.about[key]}" for key, name in MOMENTS.items() if key in opened.about)
    return f"{label}, seed {spec['seed']}{moment}"
