"""What a channel is: every slice of every tensor that exists only for it, and must leave with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Role = Literal["out", "in", "norm", "depthwise"]
"""How a slice serves its channel: it makes it, reads it, or only scales it on its way."""


@dataclass(frozen=True)
class Slice:
    """The part of one tensor that belongs to the channels of a group: `index[c]` along `dim` is channel c's.

    `name` is the parameter's (or buffer's) full name; `index` is int64 (channels, width): a channel may own several
    entries (a flattened feature map, an attention head, repeated slots of a concatenation).
    """

    name: str
    dim: int
    index: Tensor
    role: Role


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can each be removed, but only with all their slices; `name` is that of the first maker's weight.

    `is_output` groups reach the network's output and are never pruned. `mixes` tells that some operation between maker
    and reader (LayerNorm over channels, GroupNorm, softmax) mixes channels, so that removing one changes the others:
    these are left alone unless the user asks.
    """

    name: str
    channels: int
    slices: tuple[Slice, ...]
    is_output: bool = False
    mixes: bool = False
