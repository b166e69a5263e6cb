"""The kinds of video corruption that leave every frame as it is and change their order."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import unknown_name
from sinewy.shifts.draws import Draws

ORDERS: tuple[str, ...] = ("sampling", "reverse_sampling", "jumble", "box_jumble", "freeze")


def frame_order(kind: str, severity: int, frames: int, draws: Draws) -> Tensor:
    """Return which of `frames` frames are shown, in order, int64 (N, T'): one row per clip.

    - sampling: every 2^severity-th frame, T' = ceil(T / 2^severity); reverse_sampling: the same, backwards.
    - jumble: consecutive segments of 64 / 2^severity frames, the frames in each shuffled.
    - box_jumble: segments of (severity + 1)^2 frames, the segments shuffled, frames in order.
    - freeze: of T frames the random 40 %, 20 %, 10 %, 5 % (at least 2) or 1 are kept, each shown until the next. Those
      before the first kept one, which the published code drops, show the first kept one, so that T' is T; the entries
      of a row from its first change on are the published clip.
    """
    every = torch.arange(frames, device=draws.device)
    if kind in ("sampling", "reverse_sampling"):
        kept = every[:: 2**severity]
        return (kept if kind == "sampling" else kept.flip(0)).expand(draws.count, -1)
    if kind == "jumble":
        # a segment's number and a random part below 1: sorting by it shuffles within segments only
        return (every // (64 >> severity) + draws.uniform(frames).double()).argsort(dim=1, stable=True)
    if kind == "box_jumble":
        box = (severity + 1) ** 2
        rank = draws.uniform(-(-frames // box)).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
        return (rank[:, every // box] * frames + every).argsort(dim=1, stable=True)
    if kind == "freeze":
        return _held(draws.uniform(frames), kept_frames(severity, frames))
    raise unknown_name("corruption of the order of frames", kind, ORDERS)


def kept_frames(severity: int, frames: int) -> int:
    """Return how many frames "freeze" keeps, at least 1."""
    shares = (0.4 * frames, 0.2 * frames, 0.1 * frames, max(0.05 * frames, 2.0), 1.0)
    return min(frames, max(1, int(shares[severity - 1])))


def _held(lots: Tensor, kept: int) -> Tensor:
    """Return (N, T): for each frame the last kept one up to it, the kept ones being those with the least lots."""
    frames = lots.shape[1]
    chosen = torch.zeros_like(lots, dtype=torch.bool).scatter_(1, lots.argsort(dim=1, stable=True)[:, :kept], True)
    every = torch.arange(frames, device=lots.device).expand_as(lots)
    last = torch.where(chosen, every, -1).cummax(1).values
    first = torch.where(chosen, every, frames).amin(1, keepdim=True)
    return torch.where(last < 0, first, last)
