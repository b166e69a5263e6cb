"""What is the physical removal of channels worth: ResNet-18 of width 16, inference on one core?

    python benchmarks/compact.py [--rounds 15] [--json]

The same share of channels (the smallest by magnitude) is zero in every group, and `sinewy.compact` removes them. The
baseline is the dense model in its faster memory format, contiguous or channels_last; the small one is in its own. Batch
64 of 32 x 32 images, process CPU time on one thread. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

import sinewy as sw
from measuring import alternate, finish, goal, milliseconds, options, ratio
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.groups import channel_groups, silence

BATCH = 64
TARGETS = {0.5: 1 / 2, 0.8: 1 / 5}
"""Time of the small model over that of the dense one, by the share of channels removed."""

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> int:
    given = options(__doc__, rounds=15)
    model = sw.models.build("resnet18", classes=10, width=16).eval()
    images = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    goals = []
    for share, target in TARGETS.items():
        small = sw.compact(without(model, share, images[:2]), images[:2])
        variants = runs("dense", model, images) | runs("small", small, images)
        times = alternate(variants, given.rounds)
        medians = milliseconds(times)
        dense, compacted = (
            min((f"{kind} {name}" for name in FORMATS), key=medians.__getitem__) for kind in ("dense", "small")
        )
        value = ratio(times, compacted, dense)
        name = f"{share:.0%} of the channels removed, {1 / value:.1f} times faster, {compacted} / {dense}"
        goals.append(goal(name, value, target, ms=medians, multiple=small.compaction.multiple))
    return finish(goals, as_json=given.json)


def without(model: nn.Module, share: float, example: Tensor) -> nn.Module:
    """Return a copy in which that share of every group's channels is zero, the smallest by magnitude."""
    pruned = copy.deepcopy(model)
    groups = [group for group in channel_groups(pruned, example) if not group.is_output]
    silence(pruned, groups, {group.name: smallest(pruned, group, share) for group in groups})
    return pruned


def smallest(model: nn.Module, group: ChannelGroup, share: float) -> Tensor:
    """Return the channels with the smallest sum of absolute weights over their makers."""
    size = torch.zeros(group.channels)
    for part in group.slices:
        if part.role == "out":
            weight = model.get_parameter(part.name).detach().transpose(0, part.dim)
            size += weight.reshape(len(weight), -1).abs().sum(1)[part.index].sum(1)
    removed = torch.zeros(group.channels, dtype=torch.bool)
    removed[size.argsort()[: round(share * group.channels)]] = True
    return removed


def runs(kind: str, model: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return the inference of a model in each memory format."""
    return {f"{kind} {name}": inference(model, images, layout) for name, layout in FORMATS.items()}


def inference(model: nn.Module, images: Tensor, layout: torch.memory_format) -> Callable[[], object]:
    model, images = copy.deepcopy(model).to(memory_format=layout), images.contiguous(memory_format=layout)

    def run() -> object:
        with torch.inference_mode():
            return model(images)

    return run


if __name__ == "__main__":
    raise SystemExit(main())
