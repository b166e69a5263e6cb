"""Train sparse neural networks, and audit what the sparsity cost or gained beyond test accuracy.

The names below are the public interface; each is imported when first used, so that `import sinewy` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy import analysis, attacks, data, models, shifts
    from sinewy.allocation import allocate
    from sinewy.errors import CorruptFileError, InputError, MissingExtraError
    from sinewy.layers import prunable
    from sinewy.masks import Masks
    from sinewy.modelfile import load_model, read_model, save_model
    from sinewy.outcomes import Outcomes
    from sinewy.probes.audit import Audit, audit
    from sinewy.sparsify.base import Sparsifier
    from sinewy.sparsify.drop_grow import MEST, SET, GraNet, GraNetOriginal, MESTOriginal, RigL, SETOriginal
    from sinewy.sparsify.dynamic import DynamicSparsifier
    from sinewy.sparsify.fixed_capacity import FixedCapacity
    from sinewy.sparsify.gradual import ACDC, GradualMagnitude
    from sinewy.sparsify.hebbian import CHT, CHTs
    from sinewy.sparsify.momentum import SNFS
    from sinewy.sparsify.static import Dense, Static
    from sinewy.sparsify.topkast import TopKAST
    from sinewy.train import TrainedModel, fit

__version__ = "0.1.0"

_HOMES = {
    "ACDC": "sinewy.sparsify.gradual",
    "Audit": "sinewy.probes.audit",
    "CHT": "sinewy.sparsify.hebbian",
    "CHTs": "sinewy.sparsify.hebbian",
    "CorruptFileError": "sinewy.errors",
    "Dense": "sinewy.sparsify.static",
    "DynamicSparsifier": "sinewy.sparsify.dynamic",
    "FixedCapacity": "sinewy.sparsify.fixed_capacity",
    "GraNet": "sinewy.sparsify.drop_grow",
    "GraNetOriginal": "sinewy.sparsify.drop_grow",
    "GradualMagnitude": "sinewy.sparsify.gradual",
    "InputError": "sinewy.errors",
    "MEST": "sinewy.sparsify.drop_grow",
    "MESTOriginal": "sinewy.sparsify.drop_grow",
    "Masks": "sinewy.masks",
    "MissingExtraError": "sinewy.errors",
    "Outcomes": "sinewy.outcomes",
    "RigL": "sinewy.sparsify.drop_grow",
    "SET": "sinewy.sparsify.drop_grow",
    "SETOriginal": "sinewy.sparsify.drop_grow",
    "SNFS": "sinewy.sparsify.momentum",
    "Sparsifier": "sinewy.sparsify.base",
    "Static": "sinewy.sparsify.static",
    "TopKAST": "sinewy.sparsify.topkast",
    "TrainedModel": "sinewy.train",
    "allocate": "sinewy.allocation",
    "audit": "sinewy.probes.audit",
    "fit": "sinewy.train",
    "load_model": "sinewy.modelfile",
    "prunable": "sinewy.layers",
    "read_model": "sinewy.modelfile",
    "save_model": "sinewy.modelfile",
}
_ROOMS = ("analysis", "attacks", "data", "models", "shifts")

__all__ = [
    "ACDC",
    "CHT",
    "MEST",
    "SET",
    "SNFS",
    "Audit",
    "CHTs",
    "CorruptFileError",
    "Dense",
    "DynamicSparsifier",
    "FixedCapacity",
    "GraNet",
    "GraNetOriginal",
    "GradualMagnitude",
    "InputError",
    "MESTOriginal",
    "Masks",
    "MissingExtraError",
    "Outcomes",
    "RigL",
    "SETOriginal",
    "Sparsifier",
    "Static",
    "TopKAST",
    "TrainedModel",
    "allocate",
    "analysis",
    "attacks",
    "audit",
    "data",
    "fit",
    "load_model",
    "models",
    "prunable",
    "read_model",
    "save_model",
    "shifts",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"sinewy.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'sinewy' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_ROOMS])
