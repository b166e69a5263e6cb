"""What a compaction did, and how it reads."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sinewy.models.removal import Plan
from sinewy.structured.measuring import Measured

SCATTERED = 0.05
"""Share of zero weights, in the small model, from which the report says what they are not good for."""

_WIDTH = 110


class Cut(NamedTuple):
    """A group's name and its channels: before, not needed, and left."""

    name: str
    channels: int
    empty: int
    left: int


@dataclass(frozen=True)
class Compaction:
    """What `sinewy.compact` did to a model; printed, it is the table of before and after.

    `groups` are all that can be removed from. Of the channels that were not needed `unread` had no reader, `zero` were
    zero, `folded` were constant and went into biases; `constant` ones could not, and stay. `zeros` are the shares of
    zero weights before and after, among weights with two or more dimensions. `multiple` is what the numbers of channels
    were rounded up to, None where they were not; `rounding` is the time of the rounded model over that of the unrounded
    one, None where both are the same or nothing was timed. `difference` is the largest difference between the outputs,
    as a share of the largest output, computed in float64 where the model can; None without a check. `left_alone` says
    why the channels of other layers stay. `plan` builds the small model again.
    """

    before: Measured
    after: Measured
    groups: tuple[Cut, ...]
    unread: int
    zero: int
    folded: int
    constant: int
    zeros: tuple[float, float]
    multiple: int | None
    rounding: float | None
    threads: int
    device: str
    difference: float | None
    left_alone: Mapping[str, str]
    plan: Plan

    @property
    def channels(self) -> int:
        """Channels in all groups, before."""
        return sum(group.channels for group in self.groups)

    @property
    def empty(self) -> int:
        """Channels that were not needed; one of each group, and what rounding adds, stay even so."""
        return sum(group.empty for group in self.groups)

    @property
    def removed(self) -> int:
        """Channels that are gone."""
        return sum(group.channels - group.left for group in self.groups)

    def __str__(self) -> str:
        return "\n".join([self.table(), "", *(textwrap.fill(sentence, _WIDTH) for sentence in self.sentences())])

    def table(self) -> str:
        """Return the table of before and after, one line per cost."""
        rows = [("", "before", "after", ""), *self._rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = (
            f"{name:<{widths[0]}}  {before:>{widths[1]}}  {after:>{widths[2]}}  {change:>{widths[3]}}"
            for name, before, after, change in rows
        )
        return "\n".join(line.rstrip() for line in lines)

    def sentences(self) -> list[str]:
        """Return what the table does not say: what was removed and why, how it was measured, and what to do next."""
        touched = sum(group.left < group.channels for group in self.groups)
        said = [
            f"Nothing to remove: none of {self.channels:,} channels in {len(self.groups)} groups is empty."
            if not self.empty
            else f"{self.removed:,} of {self.channels:,} channels removed, in {touched} of {len(self.groups)} groups"
            f" ({self.unread:,} were read by nothing, {self.zero:,} were zero, {self.folded:,} constant and now in a"
            " bias)."
        ]
        if self.empty > self.removed:
            said.append(f"{self.empty - self.removed:,} more are not needed and stay: {self._why_kept()}.")
        if self.constant:
            said.append(
                f"{self.constant:,} channels are constant but not zero before a layer that pads with zeros or otherwise"
                " cannot take them into its bias, and stay: set their norm's bias to zero too and they can go."
            )
        said += self._about_zeros()
        if self.after.latency:
            said.append(
                f"Latency: median of forward passes on {self.device}, {self.threads}"
                f" thread{'s' * (self.threads != 1)}, in the faster of the memory formats contiguous and channels_last."
            )
        if self.difference is not None:
            said.append(f"Outputs agree: largest difference {self.difference:.1e} of the largest output.")
        return said

    def as_json(self) -> dict[str, Any]:
        """Return all of it in JSON's types, the plan left out."""
        return {
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "channels": {"before": self.channels, "empty": self.empty, "removed": self.removed},
            "reasons": {"unread": self.unread, "zero": self.zero, "folded": self.folded, "constant": self.constant},
            "groups": [group._asdict() for group in self.groups],
            "zeros": {"before": self.zeros[0], "after": self.zeros[1]},
            "multiple": self.multiple,
            "rounding": self.rounding,
            "threads": self.threads,
            "device": self.device,
            "difference": self.difference,
            "left_alone": dict(self.left_alone),
        }

    def _rows(self) -> list[tuple[str, str, str, str]]:
        before, after = self.before, self.after
        rows = [_row("parameters", before.parameters, after.parameters, _count)]
        if before.macs is not None and after.macs is not None:
            rows.append(_row("multiply-accumulates", before.macs, after.macs, _count))
        rows.append(_row("weights on disk", before.file_bytes, after.file_bytes, _bytes))
        rows += [_row(f"peak memory, batch {n}", before.memory[n], after.memory[n], _bytes) for n in before.memory]
        return rows + [
            _row(f"latency, batch {n}", before.latency[n], after.latency[n], _milliseconds) for n in before.latency
        ]

    def _why_kept(self) -> str:
        if self.multiple is None:
            return "each group keeps one channel"
        faster = "" if self.rounding is None else f", which took {self.rounding:.2f} of the time without"
        return f"channel counts are rounded up to multiples of {self.multiple}{faster}"

    def _about_zeros(self) -> list[str]:
        before, after = self.zeros
        if after < SCATTERED:
            return []
        share = self.removed / self.channels if self.channels else 0
        return [
            f"{100 * before:.0f} % of the weights were zero and {100 * share:.0f} % of the channels could go;"
            f" {100 * after:.0f} % of what is left is zero still. Zeros scattered over a tensor give no speed-up"
            " on dense kernels, which multiply by them like by any number. For speed remove whole channels:"
            " sinewy.prune with 'ft', 'pfp' or another structured method."
        ]


def _row(name: str, before: float, after: float, text: Callable[[float], str]) -> tuple[str, str, str, str]:
    if before == after:
        return name, text(before), text(after), "the same"
    change = f"{before / after:.2f} x less" if before > after else f"{after / before:.2f} x more"
    return name, text(before), text(after), change


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:,.2f} MB" if value >= 1e4 else f"{value:,.0f} B"


def _milliseconds(value: float) -> str:
    return f"{1e3 * value:,.2f} ms"
