"""Which further probes a study measures, on which cells, and what of it is still to do. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sinewy import __version__, analysis
from sinewy.errors import InputError
from sinewy.families import check_name
from sinewy.files import read_json
from sinewy.probes import PROBES
from sinewy.recipe import CellSpec, DataSpec, Recipe
from sinewy.runs.labels import Peers, peers
from sinewy.runs.store import Store, protocol_id

Task = dict[str, Any]

SHARING = 32
"""Models that share one pass over shifted images; bounds the memory of a worker."""


@dataclass(frozen=True)
class Probed:
    """One further probe of a study, as the check found it on one data set; `number` is its place in the recipe.

    `shifts` says that its outcomes belong in the main table, `together` that all cells of a seed are measured as one.
    """

    number: int
    name: str
    kinds: Sequence[str]
    shifts: bool
    together: bool
    protocol: Mapping[str, Any]


class Probes:
    """The further probes of a study on disk; `checked` is what the check of the recipe found."""

    def __init__(self, store: Store, recipe: Recipe, checked: Mapping[str, Any]) -> None:
        self._store, self._recipe, self._checked = store, recipe, checked
        self._cells = {cell.id: cell for cell in recipe.cells()}
        self.peers = peers(list(self._cells.values()), recipe)
        self._group = {cell: group for group in self.peers for cell in group.labels}

    def of(self, data: DataSpec) -> list[Probed]:
        """Return the probes on a data set, in the order of the recipe."""
        said = self._checked.get("probes", {}).get(data_key(data), [])
        return [Probed(number, **probe) for number, probe in enumerate(said)]

    def unpaired(self) -> list[str]:
        """Return the cells that no probe measures, for they are on other data than the reference."""
        return [cell for cell in self._cells if cell not in self._group]

    def files(self, cell: str, probe: Probed) -> dict[str, Path]:
        """Return where the measurement of each kind of a cell is, or will be."""
        name = self._protocol_id(self._group[cell], probe)
        return {kind: self._store.measured_file(cell, probe.name, name, kind) for kind in probe.kinds}

    def measuring(self) -> list[Task]:
        """Return the tasks that would measure what is missing of trained cells, one per probe, kind and group."""
        tasks = []
        for number in range(len(self._recipe.audit.probes)):
            for group in self._groups(number):
                probe = self.of(group[0].data)[number]
                files = {cell.id: self.files(cell.id, probe) for cell in group}
                for kind in probe.kinds:
                    wanted = {cell: str(own[kind]) for cell, own in files.items() if not own[kind].exists()}
                    if wanted:
                        cells = list(files) if probe.together else list(wanted)
                        what = {"store": str(self._store.folder), "kind": kind, "cells": cells, "files": wanted}
                        tasks.append(self._task("probe", probe, group[0].data, **what))
        return tasks

    def reading(self) -> list[Task]:
        """Return the tasks that would read findings anew from measurements that changed, one per probe and seed."""
        tasks = []
        for group in self.peers:
            data = self._cells[group.reference].data
            for probe in self.of(data):
                labels = {cell: label for cell, label in group.labels.items() if self._is_whole(cell, probe)}
                path = self._findings_file(group, probe)
                if group.reference in labels and _key_in(path) != (key := self._key(probe, labels)):
                    files = {c: {k: str(f) for k, f in self.files(c, probe).items()} for c in labels}
                    clean = {cell: str(self._clean_file(cell)) for cell in labels}
                    what = {"labels": labels, "files": files, "clean": clean, "key": key, "path": str(path)}
                    tasks.append(self._task("findings", probe, data, **what))
        return tasks

    def found(self) -> dict[str, list[dict[int, dict[str, Any]]]]:
        """Return what was read, by the probes' names, for each probe of that name by seed: "rows" and "maps"."""
        by_name: dict[str, list[dict[int, dict[str, Any]]]] = {}
        for number in range(len(self._recipe.audit.probes)):
            by_seed = {}
            for group in self.peers:
                for probe in self.of(self._cells[group.reference].data)[number : number + 1]:
                    path, methods = self._findings_file(group, probe), set(group.labels.values())
                    if path.is_file():
                        read = read_json(path)
                        by_seed[group.seed] = {
                            "rows": [row for row in read["rows"] if row["method"] in methods],
                            "maps": [drawn for drawn in read["maps"] if drawn["method"] in {"", *methods}],
                        }
                        by_name.setdefault(probe.name, [])
            if by_seed:
                by_name[probe.name].append(by_seed)
        return by_name

    def progress(self, cell: str) -> dict[str, tuple[int, int]]:
        """Return, by probe, how many of its kinds a cell was measured on, and how many there are."""
        counts: dict[str, tuple[int, int]] = {}
        for probe in self.of(self._cells[cell].data) if cell in self._group else ():
            done, of = counts.get(probe.name, (0, 0))
            files = self.files(cell, probe).values()
            if files:
                counts[probe.name] = done + sum(file.exists() for file in files), of + len(files)
        return counts

    def _groups(self, number: int) -> list[list[CellSpec]]:
        """Return the trained cells that one task measures."""
        trained = [cell for cell in self._cells.values() if cell.id in self._group and self._store.is_trained(cell.id)]
        first = next((self.of(cell.data)[number] for cell in trained if self.of(cell.data)), None)
        if first is None:
            return []
        if first.together:
            return [own for group in self.peers if (own := [cell for cell in trained if cell.id in group.labels])]
        if not first.shifts:
            return [[cell] for cell in trained]
        by_data: dict[str, list[CellSpec]] = {}
        for cell in trained:
            by_data.setdefault(data_key(cell.data), []).append(cell)
        return [group[i : i + SHARING] for group in by_data.values() for i in range(0, len(group), SHARING)]

    def _protocol_id(self, group: Peers, probe: Probed) -> str:
        """Return the name under which measurements are kept; together with whom, where that matters."""
        trained = sorted(cell for cell in group.labels if self._store.is_trained(cell)) if probe.together else []
        return protocol_id({**probe.protocol, **({"with": trained} if trained else {})})

    def _task(self, task: str, probe: Probed, data: DataSpec, **what: Any) -> Task:
        audit = self._recipe.audit.model_dump(mode="json")
        return {"task": task, "number": probe.number, "data": data.model_dump(mode="json"), "spec": audit, **what}

    def _clean_file(self, cell: str) -> Path:
        return self._store.outcomes_file(cell, self._checked["protocols"][cell]["id"], "clean")

    def _is_whole(self, cell: str, probe: Probed) -> bool:
        return self._clean_file(cell).exists() and all(file.exists() for file in self.files(cell, probe).values())

    def _findings_file(self, group: Peers, probe: Probed) -> Path:
        return self._store.findings_file(probe.name, self._protocol_id(group, probe), group.seed)

    def _key(self, probe: Probed, labels: Mapping[str, str]) -> str:
        """Return what findings depend on besides the measurements' own protocol."""
        spec = self._recipe.audit.probes[probe.number].model_dump(mode="json")
        clean = self._checked["protocols"][next(iter(labels))]["id"]
        return json.dumps([__version__, _code(spec["name"]), spec, list(labels.items()), clean])


def check_names(recipe: Recipe) -> None:
    """Raise InputError for a further probe that there is not, or for the corruptions, which are measured anyhow."""
    for probe in recipe.audit.probes:
        if probe.name == "corruption":
            raise InputError("audit.probes: corruptions are measured in every study; name them under audit.kinds.")
        try:
            check_name("probe", probe.name, PROBES)
        except InputError as error:
            raise InputError(f"audit.probes: {error}") from None


def data_key(data: DataSpec) -> str:
    """Return what tells a data set of a study from another."""
    return json.dumps(data.model_dump(mode="json"), sort_keys=True)


@cache
def _code(probe: str) -> str:
    """Return a hash of the code that reads findings: the analyses', and that of the probe's own module."""
    files = sorted(Path(analysis.__file__).parent.glob("*.py"))
    with contextlib.suppress(ImportError, ValueError):  # of a module that is not here, nothing can be said
        spec = find_spec(PROBES.get(probe, probe).partition(":")[0])
        files += [Path(spec.origin)] if spec and spec.origin else []
    state = hashlib.sha256()
    for file in files:
        state.update(file.read_bytes() if file.is_file() else b"")
    return state.hexdigest()[:10]


def _key_in(path: Path) -> str | None:
    try:
        return str(read_json(path)["key"]) if path.is_file() else None
    except (InputError, KeyError, TypeError):
        return None  # damaged: it is read anew
