"""The probe of single classes: it reads the clean outcomes, and needs no further measurement."""

from __future__ import annotations

from typing import Any

from sinewy.analysis import by_class
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.data import ImageSet
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe


class ClassesProbe(Probe):
    """Recall per class, the most sensitive class, and the examples on which a sparse model changed its mind."""

    name = "classes"
    shifts = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """None: all is in the outcomes on the clean set."""
        return ()

    def protocol(self) -> dict[str, Any]:
        """Return which outcomes are read."""
        return {"outcomes": "clean"}

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Refuse: there is no kind to measure."""
        del evaluator, data
        raise AssertionError(f"the classes probe measures no '{kind}'")

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return the recalls, their changes, and the share of exemplars."""
        return by_class.findings(evidence)
