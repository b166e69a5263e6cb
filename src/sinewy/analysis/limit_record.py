"""How far a network can be pruned, from what each of its levels answered: per group of shifts, and with a guarantee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.certificate import Certificate, certify
from sinewy.analysis.potential import Potential, potential
from sinewy.analysis.shown import Left
from sinewy.errors import InputError
from sinewy.outcomes import CLEAN, Condition, Outcomes
from sinewy.records import Cost, Layer

Group = str


@dataclass(frozen=True)
class Level:
    """One pruned network: the sparsity it has, its layers, its outcomes by condition, and the filters left."""

    sparsity: float
    layers: tuple[Layer, ...]
    outcomes: Mapping[Condition, Outcomes]
    left: tuple[Left, ...] = ()


@dataclass(frozen=True)
class LimitRecord:
    """A parent and its pruned levels, measured on the same bytes. `margin` is in points, as users give it.

    `levels` ascend in sparsity. `groups` say which conditions count together; "clean" is the test set as it is. The
    accuracy of a group is the mean over its conditions, its certificate holds on each of them.
    """

    title: str
    method: str
    retrain: str
    margin: float
    alpha: float
    levels: tuple[Level, ...]
    parent: Mapping[Condition, Outcomes]
    groups: Mapping[Group, tuple[Condition, ...]]
    cost: Cost | None = None
    command: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    partial: str | None = None
    folder: str | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = self.parent[CLEAN].label
        for where in (self.parent, *(level.outcomes for level in self.levels)):
            for group in self.groups.values():
                if any(not np.array_equal(where[condition].label, labels) for condition in group):
                    raise InputError("the levels were measured on other examples than the parent; use another folder.")

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The sparsity of each level."""
        return tuple(level.sparsity for level in self.levels)

    @property
    def n(self) -> int:
        """Number of test examples."""
        return len(self.parent[CLEAN])

    @cached_property
    def potentials(self) -> dict[Group, Potential]:
        """Prune potential, first break and loss curve of every group."""
        return {
            name: potential(*self._correct(conditions), self.sparsities, margin=self.margin / 100)
            for name, conditions in self.groups.items()
        }

    @cached_property
    def certificates(self) -> dict[Group, Certificate]:
        """The certificate of every group: the margin is kept on each of its conditions."""
        return {name: self._certify(conditions) for name, conditions in self.groups.items()}

    @cached_property
    def certificate(self) -> Certificate:
        """The certificate over every condition that was measured."""
        return self._certify(self.conditions)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition of the groups, once."""
        return tuple(dict.fromkeys(c for group in self.groups.values() for c in group))

    @property
    def weakest(self) -> Group:
        """The group that allows the least sparsity; the first of several."""
        return min(self.potentials, key=lambda name: self.potentials[name].sparsity)

    @property
    def answer(self) -> Level:
        """The level that the answer is about: the sparsest that is safe in every group; the first if none is."""
        safe = self.potentials[self.weakest].sparsity
        return next((level for level in self.levels if level.sparsity == safe), self.levels[0])

    @property
    def beyond(self) -> Level | None:
        """The level after the answer, where the weakest group breaks; None if there is none, or no level is safe."""
        if not self.potentials[self.weakest].sparsity:
            return None
        return next((level for level in self.levels if level.sparsity > self.answer.sparsity), None)

    def cells(self) -> list[dict[str, Any]]:
        """Return the loss of every condition at every level, one JSON-able row each, in shares of examples."""
        return [
            {
                "sparsity": level.sparsity,
                "kind": kind,
                "severity": severity,
                "accuracy": level.outcomes[kind, severity].accuracy,
                "loss": self.parent[kind, severity].accuracy - level.outcomes[kind, severity].accuracy,
            }
            for level in self.levels
            for kind, severity in self.conditions
        ]

    def _correct(self, conditions: Sequence[Condition]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        parent = np.stack([self.parent[c].correct for c in conditions])
        return parent, np.stack([np.stack([level.outcomes[c].correct for c in conditions]) for level in self.levels])

    def _certify(self, conditions: Sequence[Condition]) -> Certificate:
        names = [kind if not severity else f"{kind} {severity}" for kind, severity in conditions]
        parent, pruned = self._correct(conditions)
        return certify(parent, pruned, self.sparsities, margin=self.margin / 100, alpha=self.alpha, shifts=names)
