"""Train sparse neural networks, and audit what the sparsity cost or gained beyond test accuracy.

The names below are the public interface; each is imported when first used, so that `import sinewy` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy import analysis, attacks, data, models, sets, shifts
    from sinewy.allocation import allocate
    from sinewy.errors import CorruptFileError, InputError, MissingExtraError
    from sinewy.layers import prunable
    from sinewy.limits.finding import limit
    from sinewy.limits.found import Limit
    from sinewy.masks import Masks
    from sinewy.modelfile import load_model, read_model, save_model
    from sinewy.models.opened import open_model
    from sinewy.outcomes import Outcomes
    from sinewy.probes.audit import audit
    from sinewy.probes.audited import Audit
    from sinewy.pruning import prune
    from sinewy.sparsify.base import Sparsifier
    from sinewy.sparsify.drop_grow import MEST, SET, GraNet, GraNetOriginal, MESTOriginal, RigL, SETOriginal
    from sinewy.sparsify.dynamic import DynamicSparsifier
    from sinewy.sparsify.early import EarlyCroP
    from sinewy.sparsify.fixed_capacity import FixedCapacity
    from sinewy.sparsify.gradual import ACDC, GradualMagnitude
    from sinewy.sparsify.hebbian import CHT, CHTs
    from sinewy.sparsify.momentum import SNFS
    from sinewy.sparsify.one_run import OneRunIMP
    from sinewy.sparsify.one_shot import SNIP, CroPit, GraSP, MagnitudeAfter, OneShot, SNIPAfter, SynFlow
    from sinewy.sparsify.popup import EdgePopup, EdgePopupAfter
    from sinewy.sparsify.rounds import IMP, PruneRetrain
    from sinewy.sparsify.static import Dense, Static
    from sinewy.sparsify.topkast import TopKAST
    from sinewy.structured.compacting import compact
    from sinewy.train import TrainedModel, fit

__version__ = "0.1.0"

_HOMES = {
    "ACDC": "sinewy.sparsify.gradual",
    "Audit": "sinewy.probes.audit",
    "CHT": "sinewy.sparsify.hebbian",
    "CHTs": "sinewy.sparsify.hebbian",
    "CorruptFileError": "sinewy.errors",
    "CroPit": "sinewy.sparsify.one_shot",
    "Dense": "sinewy.sparsify.static",
    "DynamicSparsifier": "sinewy.sparsify.dynamic",
    "EarlyCroP": "sinewy.sparsify.early",
    "EdgePopup": "sinewy.sparsify.popup",
    "EdgePopupAfter": "sinewy.sparsify.popup",
    "FixedCapacity": "sinewy.sparsify.fixed_capacity",
    "GraNet": "sinewy.sparsify.drop_grow",
    "GraNetOriginal": "sinewy.sparsify.drop_grow",
    "GraSP": "sinewy.sparsify.one_shot",
    "GradualMagnitude": "sinewy.sparsify.gradual",
    "IMP": "sinewy.sparsify.rounds",
    "InputError": "sinewy.errors",
    "Limit": "sinewy.limits.found",
    "MEST": "sinewy.sparsify.drop_grow",
    "MESTOriginal": "sinewy.sparsify.drop_grow",
    "MagnitudeAfter": "sinewy.sparsify.one_shot",
    "Masks": "sinewy.masks",
    "MissingExtraError": "sinewy.errors",
    "OneRunIMP": "sinewy.sparsify.one_run",
    "OneShot": "sinewy.sparsify.one_shot",
    "Outcomes": "sinewy.outcomes",
    "PruneRetrain": "sinewy.sparsify.rounds",
    "RigL": "sinewy.sparsify.drop_grow",
    "SET": "sinewy.sparsify.drop_grow",
    "SETOriginal": "sinewy.sparsify.drop_grow",
    "SNFS": "sinewy.sparsify.momentum",
    "SNIP": "sinewy.sparsify.one_shot",
    "SNIPAfter": "sinewy.sparsify.one_shot",
    "Sparsifier": "sinewy.sparsify.base",
    "Static": "sinewy.sparsify.static",
    "SynFlow": "sinewy.sparsify.one_shot",
    "TopKAST": "sinewy.sparsify.topkast",
    "TrainedModel": "sinewy.train",
    "allocate": "sinewy.allocation",
    "audit": "sinewy.probes.audit",
    "compact": "sinewy.structured.compacting",
    "fit": "sinewy.train",
    "limit": "sinewy.limits.finding",
    "load_model": "sinewy.modelfile",
    "open_model": "sinewy.models.opened",
    "prunable": "sinewy.layers",
    "prune": "sinewy.pruning",
    "read_model": "sinewy.modelfile",
    "save_model": "sinewy.modelfile",
}
_ROOMS = ("analysis", "attacks", "data", "models", "sets", "shifts")

__all__ = [
    "ACDC",
    "CHT",
    "IMP",
    "MEST",
    "SET",
    "SNFS",
    "SNIP",
    "Audit",
    "CHTs",
    "CorruptFileError",
    "CroPit",
    "Dense",
    "DynamicSparsifier",
    "EarlyCroP",
    "EdgePopup",
    "EdgePopupAfter",
    "FixedCapacity",
    "GraNet",
    "GraNetOriginal",
    "GraSP",
    "GradualMagnitude",
    "InputError",
    "Limit",
    "MESTOriginal",
    "MagnitudeAfter",
    "Masks",
    "MissingExtraError",
    "OneRunIMP",
    "OneShot",
    "Outcomes",
    "PruneRetrain",
    "RigL",
    "SETOriginal",
    "SNIPAfter",
    "Sparsifier",
    "Static",
    "SynFlow",
    "TopKAST",
    "TrainedModel",
    "allocate",
    "analysis",
    "attacks",
    "audit",
    "compact",
    "data",
    "fit",
    "limit",
    "load_model",
    "models",
    "open_model",
    "prunable",
    "prune",
    "read_model",
    "save_model",
    "sets",
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
