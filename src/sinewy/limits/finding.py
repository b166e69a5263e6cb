"""`sinewy.limit`: how far can a trained network be pruned before it breaks, and under which inputs first."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sinewy.analysis.certificate import check_numbers
from sinewy.analysis.limit_files import write_limit
from sinewy.analysis.limit_record import Level, LimitRecord
from sinewy.data import ImageSet, Splits
from sinewy.environment import environment
from sinewy.errors import InputError
from sinewy.identity import fingerprint
from sinewy.layers import prunable, unwrap
from sinewy.limits.describing import described
from sinewy.limits.folder import Temporary, claim, level_folder
from sinewy.limits.found import Limit, Seen
from sinewy.limits.grid import nearest_preset, shift_groups, sparsity_grid
from sinewy.limits.inputs import Retrain, data_fingerprint, pruning_options, retraining, test_images, train_images
from sinewy.limits.levels import Maker
from sinewy.limits.measuring import Measurer
from sinewy.masks import Masks
from sinewy.metrics.cost import measure_cost
from sinewy.outcomes import Condition
from sinewy.probes.showing import filters_left
from sinewy.sets.cache import Cache
from sinewy.sets.files import locked
from sinewy.shifts.names import family

SHIFTED = "shifted"
CACHED_BYTES = 4 * 10**9
"""Shifted images are made once for all levels if they take no more than this on the disk."""

LARGEST_MARGIN = 20.0

Event = dict[str, Any]


def limit(
    model: nn.Module,
    train: Any,
    test: Any = None,
    *,
    margin: float = 0.5,
    method: str = "magnitude",
    retrain: str | Retrain | None = None,
    grid: Sequence[float] | None = None,
    shifts: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    severities: Sequence[int] = (3,),
    preset: str | None = None,
    alpha: float = 0.05,
    folder: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    first: int | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    name: str | None = None,
    about: Mapping[str, Any] | None = None,
    command: str = "sinewy.limit(...)",
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Limit:
    """Prune `model` along a grid of sparsities, measure each level, and say how far it can go under which inputs.

    For every group of shifts: the largest sparsity whose mean accuracy loss is at most `margin` **percentage points**
    (prune potential, Liebenwein et al. 2021, Definition 1: best over all levels), the first break, 95 % intervals over
    the choice of test examples, and a certificate with error `alpha` (`sinewy.analysis.certify`). `model` is not
    changed.

    `method` is any name of `sinewy.prune`, which `options` go to. Each level is pruned from the parent, or with
    `retrain` from the retrained level before it: "10ep" trains ten epochs by `sinewy.fit` with the masks held and
    `training` as its options (lr, batch, augment, ...; lr is 0.01 by default), a function of (model, masks) trains in
    place. `grid` holds sparsities; by default each step removes 20 % of what is left, up to 0.99.

    `train` and `test` are ImageSets, Splits, (uint8 images, labels), data sets of such pairs, or loaders of those data
    sets; `mean` and `std` normalise pixels in [0,1] where they are no ImageSets. Criteria that need no data, without
    retraining, take train=None; `train` may be Splits and `test` left out. `shifts` are names of groups or kinds, or a
    mapping of your groups; by default noise, blur, weather and digital, at `severities`, by the constants of `preset`
    (the nearest to the size of the images). `first` measures on so many test examples only and marks the result
    partial. `name` is what the report calls the model, `about` is written into the files of the pruned ones.

    With a `folder`, everything is kept there (`levels/<sparsity>/model.safetensors` and outcomes), and the same call
    after a kill goes on from the level, and the shift, it was at. Raises InputError for anything that does not fit.
    """
    request = _Request.of(model, train, test, method, retrain, training, mean, std, first, seed, device, options)
    check_numbers(margin=margin, alpha=alpha)
    if not 0 <= margin <= LARGEST_MARGIN:
        raise InputError(f"margin={margin} is in percentage points, from 0 to {LARGEST_MARGIN:g}; 0.5 is usual.")
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha={alpha} must lie between 0 and 0.5; 0.05 is usual.")
    sparsities = sparsity_grid(grid, request.present)
    constants = preset or nearest_preset(request.test.images.shape[-1])
    groups = shift_groups(shifts, severities, constants)
    conditions = tuple(dict.fromkeys(condition for group in groups.values() for condition in group))
    place = request.maker(about or {})
    keep = Temporary() if folder is None else None
    home = keep.path if keep is not None else Path(str(folder))
    cache = Cache(home / SHIFTED) if _cacheable(request.test, conditions) else None
    measurer = Measurer(request.test, conditions, preset=constants, seed=seed, device=place.device, cache=cache)
    request.warn_of_training_shifts(conditions)
    report = on_event or (lambda _: None)
    place.rehearse(home / level_folder(sparsities[0]), sparsities[0])
    claim(home, request.settings(sparsities))
    with locked(home / "lock"):  # a second process with the same folder waits, and then finds everything done
        parent = measurer.measure(place.parent, home / "parent", report)
        levels, files = _levels(place, measurer, sparsities, home, report)
        shutil.rmtree(home / SHIFTED, ignore_errors=True)
    record = LimitRecord(
        title=f"How far {name or type(unwrap(model)).__name__} can be pruned",
        method=method,
        retrain=request.retrain.name,
        margin=margin,
        alpha=alpha,
        levels=tuple(levels),
        parent=parent,
        groups=groups,
        cost=measure_cost(place.parent, place.example),
        command=command,
        protocol=measurer.protocol | {"settings": request.settings(sparsities)},
        environment=environment(),
        partial=request.partial,
        folder=str(folder) if folder is not None else None,
        classes=tuple(request.test.classes),
    )
    write_limit(home, record, measurer.files, [str(path.relative_to(home)) for path in files.values()])
    return Limit(
        record, copy.deepcopy(unwrap(model)).eval(), files, keep, Seen(request.test, measurer.shifting, place.example)
    )


def _levels(
    maker: Maker, measurer: Measurer, sparsities: Sequence[float], home: Path, report: Callable[[Event], None]
) -> tuple[list[Level], dict[float, Path]]:
    """Make and measure every level; one that is no sparser than the level before it is left out."""
    levels: list[Level] = []
    files: dict[float, Path] = {}
    before: Path | None = None
    for number, sparsity in enumerate(sparsities, start=1):
        folder = home / level_folder(sparsity)
        report({"event": "level", "sparsity": sparsity, "number": number, "of": len(sparsities)})
        masks = maker.level(folder, sparsity, before, report)
        reached = sparsity if abs(masks.sparsity - sparsity) < 5e-4 else round(masks.sparsity, 6)
        before = folder
        if levels and reached <= levels[-1].sparsity:
            continue
        outcomes = measurer.measure(maker.load(folder), folder, report)
        levels.append(Level(reached, masks.layers, outcomes, filters_left(masks)))
        files[reached] = folder
    return levels, files


@dataclass(frozen=True)
class _Request:
    """What was asked for, checked."""

    model: nn.Module
    train: Any
    test: Any
    method: str
    retrain: Any
    seed: int
    device: torch.device
    options: Mapping[str, Any]
    present: float
    partial: str | None

    @classmethod
    def of(
        cls,
        model: nn.Module,
        train: Any,
        test: Any,
        method: str,
        retrain: str | Retrain | None,
        training: Mapping[str, Any] | None,
        mean: Any,
        std: Any,
        first: int | None,
        seed: int,
        device: str | torch.device | None,
        options: Mapping[str, Any],
    ) -> _Request:
        if not isinstance(model, nn.Module):
            raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
        if test is None and not isinstance(train, Splits):
            raise InputError("there are no test images; pass them as the third argument, or Splits as the second.")
        asked = retraining(retrain, training)
        whole = test_images(train if test is None else test, mean=mean, std=std)
        images = train_images(train, mean=mean, std=std, needed=asked.options is not None)
        own = next(iter(prunable(model).values())).device
        present = Masks.of_zeros(prunable(model)).sparsity
        cut = first is not None and first < len(whole)
        return cls(
            *(model, images, whole if first is None else whole.first(first), method, asked, seed),
            device=torch.device(device) if device is not None else own,
            options=pruning_options(options),
            present=present if present > 1e-3 else 0.0,
            partial=f"only the first {first} of {len(whole)} examples" if cut else None,
        )

    def maker(self, about: Mapping[str, Any]) -> Maker:
        parent = copy.deepcopy(unwrap(self.model)).eval()
        return Maker(
            *(parent, self.method, self.options, self.retrain, self.train, self.test, self.seed, self.device), about
        )

    def warn_of_training_shifts(self, conditions: Sequence[Condition]) -> None:
        """Warn where a corruption is both trained on and measured: robust to it is not robust to what is new."""
        trained = set(self.retrain.options.corruptions if self.retrain.options else ())
        both = sorted(trained & {kind for kind, _ in conditions})
        if both:
            warnings.warn(f"retraining shows the network {', '.join(both)}, which is measured as well.", stacklevel=3)

    def settings(self, sparsities: Sequence[float]) -> dict[str, Any]:
        """Return what the networks of the levels depend on."""
        training = self.retrain.options.model_dump(mode="json") if self.retrain.options else None
        return {
            "model": fingerprint(self.model),
            "training data": data_fingerprint(self.train) if self.train is not None else "none",
            "method": self.method,
            "options": {name: described(value) for name, value in sorted(self.options.items())},
            "retrain": self.retrain.name,
            "training": training,
            "grid": list(sparsities),
            "seed": self.seed,
        }


def _cacheable(test: ImageSet, conditions: Sequence[Condition]) -> bool:
    """Return whether the shifted images, which every level answers, can lie on the disk meanwhile."""
    known = all(family(kind) not in ("own", "continuous") for kind, severity in conditions if severity)
    return known and test.images.nbytes * len(conditions) <= CACHED_BYTES
