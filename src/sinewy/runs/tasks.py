"""What a worker does for a study: check it, train a cell, audit one shift, measure with one further probe, read it.

Each can be killed and asked again.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sinewy.data import ImageSet, Splits, load
from sinewy.data.batches import count
from sinewy.environment import environment
from sinewy.errors import InputError
from sinewy.files import file_name, write_json
from sinewy.modelfile import save_model
from sinewy.models import build
from sinewy.models.opened import open_model
from sinewy.objectives.plain import make_objective
from sinewy.outcomes import save_outcomes
from sinewy.probes.corruption import CorruptionProbe
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import CleanProbe, Probe
from sinewy.recipe import AuditSpec, CellSpec, DataSpec, Recipe, parse
from sinewy.runs.labels import peers
from sinewy.runs.measuring import describe, make_probes, measure, read_findings, write_findings
from sinewy.runs.probed import data_key
from sinewy.runs.store import Store, locked, protocol_id, training_document
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.make import make_sparsifier
from sinewy.sparsify.timing import Length
from sinewy.train import Interrupted, fit
from sinewy.train.kept import KeptNetworks
from sinewy.train.loop import total_epochs

Event = dict[str, Any]
Emit = Callable[[Event], None]


class Tasks:
    """The work of one worker process; data and models are kept between tasks."""

    def __init__(self, emit: Emit, should_stop: Callable[[], bool], root: str | None, device: str | None) -> None:
        self._emit, self._should_stop, self._root = emit, should_stop, root
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._splits = lru_cache(maxsize=2)(self._load)
        self._evaluator = lru_cache(maxsize=1)(self._make_evaluator)
        self._probes = lru_cache(maxsize=2)(self._make_probes)
        self._probe_evaluator = lru_cache(maxsize=1)(self._make_probe_evaluator)

    def check(self, recipe: dict[str, Any]) -> Event:
        """Refuse, before any work, what cannot be done: data, models, sparsifiers, probes and their options.

        Returns, by cell, the folder name of its audit protocol and the protocol itself; by data set, what its further
        probes are.
        """
        study = parse(Recipe, recipe, "the recipe")
        protocols = {}
        for cell in study.cells():
            self._try_out(cell, study.keep_epochs)
            protocol = self._protocol(cell.data, study.audit)
            protocols[cell.id] = {"id": protocol_id(protocol), "protocol": protocol}
        probes = {data_key(data): self._described(data, study) for data in dict.fromkeys(c.data for c in study.cells())}
        return {"protocols": protocols, "probes": probes, "environment": environment() | {"device": self._device}}

    def train(self, store: str, cell: str, spec: dict[str, Any], keep: list[int]) -> Event:
        """Train one cell into its folder, from its checkpoint if there is one; a failure is written beside it.

        `keep` are the epochs whose networks are kept.
        """
        ledger, meaning = Store(store), parse(CellSpec, spec, cell)
        with locked(ledger.cell_folder(cell) / "lock"):
            if ledger.is_trained(cell):
                return {"state": "trained"}
            ledger.clear_error(cell)
            try:
                return self._train(ledger, cell, meaning, keep)
            except Interrupted:
                raise
            except Exception as error:
                ledger.write_error(cell, traceback.format_exc())
                return {"state": "failed", "error": f"{type(error).__name__}: {error}"}

    def audit(self, store: str, cells: list[str], kind: str, data: dict[str, Any], spec: dict[str, Any]) -> Event:
        """Measure cells on one shift, each corrupted batch made once for all, and write the outcomes of each."""
        ledger, where = Store(store), parse(DataSpec, data, "data")
        audit = parse(AuditSpec, spec, "audit")
        protocol = protocol_id(self._protocol(where, audit))
        with locked(ledger.folder / "locks" / f"{protocol}-{kind}-{cells[0]}"):
            missing = [cell for cell in cells if not ledger.outcomes_file(cell, protocol, kind).exists()]
            if not missing:
                return {"state": "audited"}
            evaluator = self._evaluator(store, tuple(cells))
            examples = self._test_set(where, audit)
            measured = _probe(kind, audit).measure_kind(kind, evaluator, examples)
            for cell in missing:
                path = ledger.outcomes_file(cell, protocol, kind)
                save_outcomes(path, measured.outcomes[cell], {"kind": kind, "protocol": protocol, **measured.about})
        return {"state": "audited"}

    def probe(
        self,
        store: str,
        number: int,
        data: dict[str, Any],
        spec: dict[str, Any],
        kind: str,
        cells: list[str],
        files: dict[str, str],
    ) -> Event:
        """Measure cells with a further probe on one kind, and write what `files` name, by cell, and do not hold yet."""
        where, audit = parse(DataSpec, data, "data"), parse(AuditSpec, spec, "audit")
        probe = self._probes(where, audit)[number]
        cell, file = next(iter(files.items()))
        with locked(Path(store) / "locks" / f"{Path(file).parent.name}-{file_name(kind)}-{cell}"):
            missing = {cell: file for cell, file in files.items() if not Path(file).exists()}
            if missing:
                subjects = tuple(cells if probe.together else missing)
                evaluator = self._probe_evaluator(where, audit, number, store, subjects)
                for sentence in measure(probe, kind, evaluator, self._test_set(where, audit), missing):
                    self._emit({"event": "note", "text": sentence})
        return {"state": "measured"}

    def findings(
        self,
        number: int,
        data: dict[str, Any],
        spec: dict[str, Any],
        labels: dict[str, str],
        files: dict[str, dict[str, str]],
        clean: dict[str, str],
        key: str,
        path: str,
    ) -> Event:
        """Read what a further probe found on cells of one seed, and write it."""
        probe = self._probes(parse(DataSpec, data, "data"), parse(AuditSpec, spec, "audit"))[number]
        write_findings(Path(path), key, read_findings(probe, labels, files, clean))
        return {"state": "read"}

    def _load(self, spec: DataSpec) -> Splits:
        return load(spec.name, root=self._root, validation=spec.validation, seed=spec.seed)

    def _test_set(self, data: DataSpec, audit: AuditSpec) -> ImageSet:
        test = self._splits(data).test
        return test if audit.limit is None else test.first(audit.limit)

    def _protocol(self, data: DataSpec, audit: AuditSpec) -> dict[str, Any]:
        probe = CorruptionProbe(
            severities=audit.severities, preset=audit.preset, seed=audit.seed, recompress=audit.recompress
        )
        return {"data": self._source(data, audit), "corruption": probe.protocol()}

    def _source(self, data: DataSpec, audit: AuditSpec) -> dict[str, Any]:
        examples = self._test_set(data, audit)
        return {"name": data.name, "split": "test", "examples": len(examples), "hash": examples.hash}

    def _make_probes(self, data: DataSpec, audit: AuditSpec) -> list[Probe]:
        return make_probes(audit, self._splits(data), self._root)

    def _described(self, data: DataSpec, study: Recipe) -> list[dict[str, Any]]:
        probes, examples = self._probes(data, study.audit), self._test_set(data, study.audit)
        cells = {cell.id: cell for cell in study.cells()}
        for group in peers(list(cells.values()), study):
            for probe in probes if cells[group.reference].data == data else ():
                probe.check(tuple(group.labels.values()), examples)
        return [describe(probe, self._source(data, study.audit)) for probe in probes]

    def _try_out(self, cell: CellSpec, keep: tuple[int, ...]) -> None:
        splits = self._splits(cell.data)
        model = _build(cell, splits)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        per_epoch = count(splits.train, cell.train.batch)
        some = splits.train.first(256)
        sparsifier = _sparsifier(cell)
        steps = sparsifier.total_steps(Length(cell.train.epochs * per_epoch, per_epoch))
        sparsifier.attach(model, optimizer, steps, epoch_steps=per_epoch, data=some).detach()
        KeptNetworks(Path(), {}, keep).check(total_epochs(sparsifier, cell.train.epochs, per_epoch))
        goal = cell.train.objective
        make_objective(goal.name, some, label_smoothing=0.0, seed=cell.seed, **goal.options)
        if len(splits.test) == 0:
            raise InputError(f"data set '{cell.data.name}' has no test part to audit on.")

    def _train(self, ledger: Store, cell: str, spec: CellSpec, keep: list[int]) -> Event:
        splits = self._splits(spec.data)
        folder = ledger.cell_folder(cell)
        about = {"cell": spec.model_dump(mode="json"), **_about(splits)}
        trained = fit(
            _build(spec, splits),
            splits,
            _sparsifier(spec),
            seed=spec.seed,
            device=self._device,
            folder=folder,
            about=about,
            keep_epochs=keep,
            on_event=lambda event: self._emit({**event, "cell": cell}),
            should_stop=self._should_stop,
            **spec.train.model_dump(),
        )
        save_model(folder / "model.safetensors", trained.model, trained.masks, about)
        write_json(folder / "environment.json", environment() | {"device": self._device})
        ledger.write_training(cell, training_document(trained.history, trained.cost, trained.masks.layers))
        return {"state": "trained"}

    def _make_probe_evaluator(
        self, data: DataSpec, audit: AuditSpec, number: int, store: str, cells: tuple[str, ...]
    ) -> Evaluator:
        models = {cell: open_model(Store(store).cell_folder(cell)).model for cell in cells}
        return self._probes(data, audit)[number].evaluator(models, self._test_set(data, audit), device=self._device)

    def _make_evaluator(self, store: str, cells: tuple[str, ...]) -> Evaluator:
        opened = {cell: open_model(Store(store).cell_folder(cell)) for cell in cells}
        first = next(iter(opened.values())).about
        models = {cell: found.model for cell, found in opened.items()}
        return Evaluator(models, mean=tuple(first["mean"]), std=tuple(first["std"]), device=self._device)


def _about(splits: Splits) -> dict[str, Any]:
    part = splits.train
    return {
        "classes": list(part.classes),
        "mean": list(part.mean),
        "std": list(part.std),
        "image": list(part.images.shape[1:]),
    }


def _build(cell: CellSpec, splits: Splits) -> nn.Module:
    return build(
        cell.model.name,
        classes=len(splits.train.classes),
        seed=cell.seed,
        image_size=int(splits.train.images.shape[-1]),
        **cell.model.options,
    )


def _sparsifier(cell: CellSpec) -> Sparsifier:
    return make_sparsifier(cell.sparsifier.name, seed=cell.seed, **cell.sparsifier.options)


def _probe(kind: str, audit: AuditSpec) -> Probe:
    if kind == "clean":
        return CleanProbe()
    return CorruptionProbe(
        [kind], severities=audit.severities, preset=audit.preset, seed=audit.seed, recompress=audit.recompress
    )
