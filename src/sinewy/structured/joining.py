"""Which entries of which tensors must leave together: the connected components of "removing this removes that"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sinewy.structured.channels import ChannelGroup, Role, Slice

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """One dimension of one parameter or buffer, by the tensor's first name in the model."""

    tensor: str
    dim: int


@dataclass
class Joined:
    """Entries along axes, joined pair by pair; `groups` tells what came together, tensors in the order of `tensors`."""

    tensors: tuple[str, ...]
    _begin: dict[Axis, int] = field(default_factory=dict)
    _length: dict[Axis, int] = field(default_factory=dict)
    _role: dict[Axis, Role] = field(default_factory=dict)
    _pairs: list[tuple[Indices, Indices]] = field(default_factory=list)
    _marks: dict[str, list[Indices]] = field(default_factory=lambda: defaultdict(list))
    _total: int = 0

    def add(self, axis: Axis, length: int, role: Role) -> None:
        """Make the entries of an axis known; an axis that both makes and reads channels is marked "tied"."""
        if axis not in self._begin:
            self._begin[axis], self._length[axis], self._role[axis] = self._total, length, role
            self._total += length
        elif self._role[axis] != role:
            self.mark("tied", self.entries(axis))

    def entries(self, axis: Axis, indices: Indices | None = None) -> Indices:
        """Return the numbers by which `join` and `mark` know the entries at `indices`, or all of the axis."""
        return self._begin[axis] + (np.arange(self._length[axis]) if indices is None else indices)

    def join(self, first: Indices, second: Indices) -> None:
        """Let first[i] and second[i] leave together, for every i."""
        self._pairs.append((first, second))

    def join_blocks(self, entries: Indices, labels: Indices) -> None:
        """Let entries with equal labels leave together."""
        _, first, which = np.unique(labels, return_index=True, return_inverse=True)
        self.join(entries, entries[first][which])

    def mark(self, name: str, entries: Indices) -> None:
        """Mark whatever these entries belong to."""
        self._marks[name].append(entries)

    def groups(self) -> list[tuple[ChannelGroup, frozenset[str]]]:
        """Return the groups that have a maker, in the order of their makers, each with its marks.

        The channels of a group own equally many entries of the same axes, and carry the same marks.
        """
        component = self._components()
        marks = self._marks_of(component)
        place = {name: number for number, name in enumerate(self.tensors)}
        owned: dict[int, dict[Axis, list[int]]] = defaultdict(dict)
        for axis in sorted(self._begin, key=lambda axis: (self._role[axis] != "out", place[axis.tensor], axis.dim)):
            begin = self._begin[axis]
            for index, channel in enumerate(component[begin : begin + self._length[axis]]):
                owned[int(channel)].setdefault(axis, []).append(index)
        kinds: dict[object, list[dict[Axis, list[int]]]] = defaultdict(list)
        for channel, slices in owned.items():  # by the makers' order, and along the first maker
            if any(self._role[axis] == "out" for axis in slices):
                shape = tuple((axis, len(indices)) for axis, indices in slices.items())
                kinds[shape, marks.get(channel, frozenset())].append(slices)
        names: dict[str, int] = defaultdict(int)
        return [(self._group(channels, names), kind[1]) for kind, channels in kinds.items()]  # type: ignore[index]

    def _group(self, channels: list[dict[Axis, list[int]]], names: dict[str, int]) -> ChannelGroup:
        slices = tuple(
            Slice(axis.tensor, axis.dim, torch.tensor([channel[axis] for channel in channels]), self._role[axis])
            for axis in channels[0]
        )
        name = next(part.name for part in slices if part.role == "out")
        names[name] += 1
        return ChannelGroup(name if names[name] == 1 else f"{name}#{names[name]}", len(channels), slices)

    def _components(self) -> Indices:
        first = np.concatenate([pair[0] for pair in self._pairs] or [np.empty(0, np.int64)])
        second = np.concatenate([pair[1] for pair in self._pairs] or [np.empty(0, np.int64)])
        graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(self._total, self._total))
        found: Indices = connected_components(graph, directed=False)[1]
        return found

    def _marks_of(self, component: Indices) -> Mapping[int, frozenset[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for name, parts in self._marks.items():
            for channel in np.unique(component[np.concatenate(parts)]):
                found[int(channel)].add(name)
        return {channel: frozenset(names) for channel, names in found.items()}
