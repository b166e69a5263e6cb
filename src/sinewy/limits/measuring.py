"""What a level answers on clean and shifted test images, kept as files: measured once, and gone on with after a kill.

FOLDER/outcomes/<protocol>/<kind>.safetensors
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sinewy.data import ImageSet
from sinewy.outcomes import CLEAN, Condition, Outcomes, load_outcomes, save_outcomes
from sinewy.probes.corruption import CorruptionProbe
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import CleanProbe, Probe
from sinewy.sets.cache import Cache


class Measurer:
    """Measures networks on the same bytes: the test images, and their shifts."""

    def __init__(
        self,
        test: ImageSet,
        conditions: tuple[Condition, ...],
        *,
        preset: str,
        seed: int,
        device: torch.device,
        cache: Cache | None = None,
    ) -> None:
        kinds = tuple(dict.fromkeys(kind for kind, _ in conditions if kind != CLEAN[0]))
        severities = tuple(sorted({severity for kind, severity in conditions if kind != CLEAN[0]}))
        self.test, self.device = test, device
        self._probes: dict[str, Probe] = {CLEAN[0]: CleanProbe()}
        if kinds:
            probe = CorruptionProbe(kinds, severities=severities, preset=preset, seed=seed, cache=cache)
            self._probes |= dict.fromkeys(kinds, probe)
            self._shift_protocol: Mapping[str, Any] = probe.protocol()
        else:
            self._shift_protocol = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is measured, "clean" first."""
        return tuple(self._probes)

    @property
    def shifting(self) -> Probe | None:
        """The probe of the shifted images; None where there are none."""
        return next((probe for kind, probe in self._probes.items() if kind != CLEAN[0]), None)

    @cached_property
    def files(self) -> dict[str, str]:
        """Where the outcomes of each kind lie in the folder of a network."""
        return {kind: f"outcomes/{self._id(kind)}/{re.sub('[/:]', '~', kind)}.safetensors" for kind in self._probes}

    @property
    def protocol(self) -> dict[str, Any]:
        """Everything that the measured bytes depend on."""
        test = self.test
        data = {"name": test.name, "split": test.split, "examples": len(test), "hash": test.hash}
        return {"data": data | {"mean": list(test.mean), "std": list(test.std)}, "shifts": dict(self._shift_protocol)}

    def measure(
        self, model: nn.Module, folder: Path, on_event: Callable[[dict[str, Any]], None]
    ) -> dict[Condition, Outcomes]:
        """Return the outcomes of `model` under every condition; those in `folder` are read, the others made."""
        evaluator: Evaluator | None = None
        found: dict[Condition, Outcomes] = {}
        for number, (kind, probe) in enumerate(self._probes.items(), start=1):
            path = folder / self.files[kind]
            if not path.is_file():
                if evaluator is None:
                    evaluator = Evaluator({"model": model}, mean=self.test.mean, std=self.test.std, device=self.device)
                measured = probe.measure_kind(kind, evaluator, self.test)
                save_outcomes(path, measured.outcomes["model"], {"kind": kind, **measured.about})
                on_event({"event": "measured", "kind": kind, "number": number, "of": len(self._probes)})
            by_severity, _ = load_outcomes(path)
            found |= {(kind, severity): outcomes for severity, outcomes in by_severity.items()}
        return found

    def _id(self, kind: str) -> str:
        """Return the name of the folder of outcomes under this protocol: others never share it."""
        protocol = self.protocol if kind != CLEAN[0] else {"data": self.protocol["data"]}
        return hashlib.sha256(json.dumps(protocol, sort_keys=True, default=str).encode()).hexdigest()[:10]
