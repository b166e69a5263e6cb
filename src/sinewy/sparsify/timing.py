"""On which optimizer steps the masks move: every so many steps or epochs, from a beginning to an end."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sinewy.errors import InputError

Moment = int | float | str
"""A point or length of training: optimizer steps (100), epochs ("5ep", or "10ep20it"), or a share in (0, 1)."""

_SPELLED = re.compile(r"\s*(?:(\d+)\s*ep(?:ochs?)?)?\s*(?:(\d+)\s*(?:it|steps?))?\s*")


@dataclass(frozen=True)
class Length:
    """How long training is, as far as it is known: optimizer steps in all, and per epoch."""

    steps: int | None = None
    epoch_steps: int | None = None


def in_steps(name: str, moment: Moment, length: Length) -> int:
    """Return the moment in optimizer steps; `name` is what an error calls it.

    Raises InputError if it is malformed, or is counted in epochs or as a share and the length is not known.
    """
    check_moment(name, moment)
    if isinstance(moment, int):
        return moment
    if isinstance(moment, float):
        if length.steps is None:
            raise InputError(f"{name}={moment:g} is a share of training: attach(model, optimizer, steps=...).")
        return max(1, round(moment * length.steps))
    epochs, steps = _parts(moment)
    if epochs and length.epoch_steps is None:
        raise InputError(
            f"{name}='{moment}' is counted in epochs: attach(model, optimizer, epoch_steps=len(train_loader))."
        )
    return epochs * (length.epoch_steps or 0) + steps


def share_of(share: float, steps: int) -> int:
    """Return the last whole step within this share of training; 0.29 of 100 is 29, whatever floats make of it."""
    return int(share * steps + 1e-6)


def check_moment(name: str, moment: Moment) -> None:
    """Raise InputError unless `moment` is a number of steps, a share of training in (0, 1), or "5ep", "10ep20it"."""
    if isinstance(moment, bool) or not isinstance(moment, (int, float, str)):
        good = False
    elif isinstance(moment, str):
        good = any(_parts(moment))
    else:
        good = moment >= 1 if isinstance(moment, int) else 0 < moment < 1
    if not good:
        raise InputError(
            f"{name} must be a number of optimizer steps (at least 1), of epochs ('5ep', '10ep20it') or a share of"
            f" training in (0, 1); got {moment!r}."
        )


def _parts(text: str) -> tuple[int, int]:
    match = _SPELLED.fullmatch(text)
    return (int(match[1] or 0), int(match[2] or 0)) if match else (0, 0)


@dataclass(frozen=True)
class Timing:
    """Updates fall on `first`, `first + every`, ... up to and including `end` (None: for ever)."""

    first: int
    every: int
    end: int | None

    def is_update(self, step: int) -> bool:
        """Return whether `step` (the first is 1) is an update."""
        due = step >= self.first and (step - self.first) % self.every == 0
        return due and (self.end is None or step <= self.end)

    @property
    def last(self) -> int | None:
        """The last update itself, at or before `end`; None if there is none, or no end."""
        if self.end is None or self.end < self.first:
            return None
        return self.end - (self.end - self.first) % self.every

    def latest(self, step: int) -> int | None:
        """Return the last update at or before `step`; None before the first."""
        until = step if self.end is None else min(step, self.end)
        return None if until < self.first else until - (until - self.first) % self.every

    def progress(self, step: int) -> float:
        """Return how far the updates up to `step` have come: 0 at the first (and before), 1 at the last.

        With a single update it is 1 there. Raises InputError if there is no end.
        """
        if self.end is None:
            raise InputError("a schedule needs the length of training: attach(model, optimizer, steps=...).")
        latest, last = self.latest(step), self.last
        if latest is None or last is None:
            return 0.0
        return 1.0 if last == self.first else (latest - self.first) / (last - self.first)
