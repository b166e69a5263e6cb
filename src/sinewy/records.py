"""What is known of one trained model: where training, auditing, analysis and report meet. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sinewy.outcomes import Condition, Outcomes


@dataclass(frozen=True)
class Layer:
    """One prunable tensor of a model, in model order."""

    name: str
    shape: tuple[int, ...]
    weights: int
    nonzero: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros, in [0, 1]."""
        return 1 - self.nonzero / self.weights


@dataclass(frozen=True)
class Cost:
    """What a model costs to run and to train; FLOPs of conv and linear layers, times mask density.

    One multiply-accumulate is 2 FLOPs.

    Inference is one example. Training is what the ledger counted step by step: two products at the density of the masks
    (forward, and gradient of the inputs) and one at that of the weights whose gradient was needed. The closed form is
    the formula by which the method's paper counts.
    """

    parameters: int
    nonzero_parameters: int
    dense_inference_flops: float
    inference_flops: float
    dense_training_flops: float | None = None
    training_flops: float | None = None
    closed_form_training_flops: float | None = None


@dataclass(frozen=True)
class LayerMovement:
    """What became of one prunable tensor during an epoch: weights kept at its end, grown, dropped, and dead neurons.

    A neuron (or filter) is dead if all its incoming weights are pruned.
    """

    name: str
    kept: int
    grown: int
    dropped: int
    dead: int


@dataclass(frozen=True)
class Movement:
    """What the masks did during an epoch, over all prunable tensors.

    `distance` is the Hamming distance to the masks an epoch before, `overlap` the share of the kept weights that the
    first masks kept as well, `explored` the share of all prunable weights that were ever kept (the in-time
    over-parameterisation rate of Liu et al. 2021), `dead` the number of dead neurons.
    """

    distance: int
    overlap: float
    explored: float
    dead: int
    layers: tuple[LayerMovement, ...]


@dataclass(frozen=True)
class Epoch:
    """One row of the training history; accuracies in [0, 1]."""

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float | None
    learning_rate: float
    sparsity: float
    moved: int
    seconds: float
    movement: Movement | None = None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Epoch:
        """Return the row that `dataclasses.asdict` made plain."""
        movement = fields.get("movement")
        if movement is not None:
            layers = tuple(LayerMovement(**layer) for layer in movement["layers"])
            movement = Movement(**{**movement, "layers": layers})
        return cls(**{**fields, "movement": movement})


@dataclass(frozen=True)
class RunRecord:
    """One model and everything measured of it.

    `method` names what was done ("RigL 90 %", "dense"); runs that differ only in `seed` share it. `sparsity` is the
    reached fraction of zeros among prunable weights. `settings` is the flat dict of what the run means, for "what
    differs" tables.
    """

    id: str
    method: str
    seed: int
    sparsity: float
    state: str = "done"
    error: str | None = None
    folder: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    history: tuple[Epoch, ...] = ()
    cost: Cost | None = None
    outcomes: Mapping[Condition, Outcomes] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyRecord:
    """Runs that were audited on the same bytes, and what a reader needs to trust and repeat them.

    `reference` is the method every other one is compared with. `high_frequency` holds, per kind of corruption, the
    share in [0, 1] of the perturbation's energy in the upper half of spatial frequencies. `partial` says why the study
    is not whole. `findings` are what further probes found, by probe, one row per number (`analysis.evidence.Finding`),
    `maps` what they found as matrices (`analysis.maps.Map`).
    """

    title: str
    reference: str
    runs: tuple[RunRecord, ...]
    command: str
    protocol: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    high_frequency: Mapping[str, float] = field(default_factory=dict)
    partial: str | None = None
    findings: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    maps: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def done(self) -> tuple[RunRecord, ...]:
        """The runs whose model is trained and audited."""
        return tuple(run for run in self.runs if run.state == "done")
