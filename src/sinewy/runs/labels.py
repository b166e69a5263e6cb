"""What the cells of a study are called, and which of them are compared with each other. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sinewy.recipe import CellSpec, Recipe
from sinewy.sparsify import SPARSIFIERS


@dataclass(frozen=True)
class Peers:
    """The cells of one seed on the same data: what each is called, by cell, the reference first."""

    seed: int
    labels: Mapping[str, str]

    @property
    def reference(self) -> str:
        """The cell that the others are compared with."""
        return next(iter(self.labels))


def method_labels(cells: Sequence[CellSpec], recipe: Recipe) -> dict[str, str]:
    """Return what to call each cell: sparsifier, sparsity, and whatever else but the seed tells it from others."""
    axes = [axis for axis in recipe.grid if axis != "seed" and axis.partition(".")[0] != "sparsifier"]
    plain = {cell.id: _method(cell) for cell in cells}
    labels = {
        cell.id: ", ".join([plain[cell.id], *(f"{axis}={cell.flat().get(axis)}" for axis in axes)]) for cell in cells
    }
    for cell in cells:
        twins = [other for other in cells if plain[other.id] == plain[cell.id]]
        options = [
            axis
            for axis in cell.flat()
            if axis.startswith("sparsifier.") and axis not in ("sparsifier.name", "sparsifier.sparsity")
        ]
        differing = [axis for axis in options if len({json.dumps(other.flat().get(axis)) for other in twins}) > 1]
        extra = [f"{axis.removeprefix('sparsifier.')}={cell.flat()[axis]}" for axis in differing]
        labels[cell.id] = ", ".join([labels[cell.id], *extra])
    return labels


def peers(cells: Sequence[CellSpec], recipe: Recipe) -> list[Peers]:
    """Return the cells that are compared, seed by seed; those on other data than their seed's reference are left out.

    The reference is the method of the first cell.
    """
    labels = method_labels(cells, recipe)
    found = []
    for reference in (cell for cell in cells if labels[cell.id] == labels[cells[0].id]):
        own = [cell for cell in cells if cell.seed == reference.seed and cell.data == reference.data]
        others = {cell.id: labels[cell.id] for cell in own if cell.id != reference.id}
        found.append(Peers(reference.seed, {reference.id: labels[reference.id], **others}))
    return found


def _method(cell: CellSpec) -> str:
    if cell.sparsifier.name == "dense":
        return "dense"
    path = SPARSIFIERS.get(cell.sparsifier.name, cell.sparsifier.name)
    name = path.rpartition(":")[2]
    # A sparsity of 0 is one that follows from other options, as with fixed capacity.
    return f"{name} {100 * cell.sparsifier.sparsity:g} %" if cell.sparsifier.sparsity else name
