"""What a page shows of networks beside their outcomes: pictures, what is left of layers, bytes and times. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sinewy.analysis.breaking import Example
from sinewy.records import Cost


@dataclass(frozen=True)
class Left:
    """How many filters and kernels of one prunable tensor hold a weight that is not zero.

    A filter makes one output channel; of a linear layer it is one output neuron. A kernel joins one input channel to
    one output channel; a linear layer has none, only weights.
    """

    name: str
    filters: int
    filters_left: int
    kernels: int
    kernels_left: int


@dataclass(frozen=True)
class Footprint:
    """What one network takes: cost as counted, bytes of its weights on disk, and seconds of a pass by batch size."""

    cost: Cost | None
    file_bytes: int
    seconds: Mapping[int, float]


@dataclass(frozen=True)
class Speed:
    """Networks measured in turn on one machine; the first is the parent. `notes` say what could not be measured.

    `compacted` names those that are another network of the table after `sinewy.compact`.
    """

    networks: Mapping[str, Footprint]
    device: str
    threads: int
    compacted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """What a page can show beyond its record; each part may be missing.

    `examples` are those that `loser` gets wrong and the parent right. `left` is by network.
    """

    classes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    loser: str = ""
    left: Mapping[str, tuple[Left, ...]] = field(default_factory=dict)
    speed: Speed | None = None

    def class_name(self, number: int) -> str:
        """Return what a class is called; its number where no name is known."""
        return self.classes[number] if 0 <= number < len(self.classes) else f"class {number}"
