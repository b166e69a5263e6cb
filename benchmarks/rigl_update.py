"""What does moving the masks of 11 million weights cost, beside the same choice made by torch.topk?

    python benchmarks/rigl_update.py [--rounds 9] [--json]

One update over all layers of a ResNet-18, 90 % sparse (ERK), with weights contiguous and channels_last. All times are
process CPU time on one thread. Baselines, written out below; each is given w, the gradient and the mask and returns
the new mask:

- "topk": per layer, torch.topk of |w| and of |gradient| over the whole tensor, with -1 where a weight takes no part,
  and the chosen positions scattered into a mask: the customary topk-based update. The target is against this one.
- "compact topk": torch.topk over the kept weights, then over all others, each gathered first.
- "full topk": the whole tensor ranked twice by torch.topk with k = n, as rigl-torch does.
- "randperm": drop by "topk", growth at the first of a random permutation of the free places (for SET).

- "cat + topk": for a threshold over all tensors together (gradual pruning, AC/DC), torch.topk over the concatenation.

"choice" is the new masks alone. "update" is all that an update step does: choice, weights, multipliers, momentum and
counts; a baseline's update is its choice and the weights and momentum multiplied by the new mask, as is customary.
Exits with 1 if a target is missed or if the masks differ by more than ties.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor

import measuring
import sinewy
from sinewy.select import joint_masks

TARGET = 0.25
FULL_TARGET = 0.06
GLOBAL_TARGET = 0.2

Chooser = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(weight, gradient, mask, number to drop) -> new mask; all flat."""


def topk(weight: Tensor, gradient: Tensor, mask: Tensor, drops: int) -> Tensor:
    """Drop and grow by topk over the whole tensor, and scatter."""
    new = _kept(weight, mask, drops)
    grown = torch.topk(gradient.abs().masked_fill(new, -1), drops).indices
    return new.scatter(0, grown, True)


def compact_topk(weight: Tensor, gradient: Tensor, mask: Tensor, drops: int) -> Tensor:
    """Drop among the gathered kept weights, grow among the gathered others."""
    active = mask.nonzero().squeeze(1)
    new = torch.zeros_like(mask)
    new[active[torch.topk(weight[active].abs(), len(active) - drops).indices]] = True
    free = (~new).nonzero().squeeze(1)
    new[free[torch.topk(gradient[free].abs(), drops).indices]] = True
    return new


def full_topk(weight: Tensor, gradient: Tensor, mask: Tensor, drops: int) -> Tensor:
    """Rank every weight, then every gradient."""
    n, kept = len(mask), int(mask.sum()) - drops
    ranked = torch.topk(weight.abs().masked_fill(~mask, -1), n).indices
    new = torch.zeros_like(mask).scatter(0, ranked[:kept], True)
    ranked = torch.topk(gradient.abs().masked_fill(new, -1), n).indices
    return new.scatter(0, ranked[:drops], True)


def randperm(weight: Tensor, gradient: Tensor, mask: Tensor, drops: int) -> Tensor:
    """Drop by topk, grow where a random permutation of the free places begins."""
    del gradient
    new = _kept(weight, mask, drops)
    free = (~new).nonzero().squeeze(1)
    new[free[torch.randperm(len(free))[:drops]]] = True
    return new


def _kept(weight: Tensor, mask: Tensor, drops: int) -> Tensor:
    kept = torch.topk(weight.abs().masked_fill(~mask, -1), int(mask.sum()) - drops).indices
    return torch.zeros_like(mask).scatter(0, kept, True)


class Training:
    """A ResNet-18 in the middle of training; `refresh` gives it the weights and gradients of a later step."""

    def __init__(
        self, method: type[sinewy.DynamicSparsifier], layout: torch.memory_format, sparsity: float = 0.9
    ) -> None:
        model = sinewy.models.build("resnet18", classes=10).to(memory_format=layout)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
        self.sparse = method(sparsity, allocation="erk", every=1, begin=2).attach(model, self.optimizer, steps=10**9)
        self._generator = torch.Generator().manual_seed(0)
        self.layers = self.sparse._layers
        self.refresh()
        self.optimizer.step()  # not an update yet: it makes the momentum

    @torch.no_grad()
    def refresh(self) -> None:
        """Draw new kept weights and new dense gradients."""
        for layer in self.layers.values():
            noise = torch.randn(layer.parameter.shape, generator=self._generator)
            layer.parameter.copy_(noise * layer.mask)
            layer.parameter.grad = torch.empty_like(layer.parameter).normal_(generator=self._generator)

    def choose(self) -> dict[str, Tensor]:
        """Return the new masks by Sinewy."""
        return {name: self.sparse.update(layer, layer.parameter.grad) for name, layer in self.layers.items()}

    def update(self) -> None:
        """Do everything that an update step does."""
        self.sparse._move(self.optimizer, {name: layer.parameter.grad for name, layer in self.layers.items()})

    def joint(self) -> list[Tensor]:
        """Return the masks of the largest tenth of all weights together, by Sinewy."""
        return joint_masks([layer.weight for layer in self.layers.values()], self._tenth(), magnitude=True)

    def joint_topk(self) -> list[Tensor]:
        """Return the same by torch.topk."""
        sizes = [layer.weight.abs() for layer in self.layers.values()]
        flat = torch.cat([size.reshape(-1) for size in sizes])
        mask = torch.zeros_like(flat, dtype=torch.bool).scatter(0, torch.topk(flat, self._tenth()).indices, True)
        parts = torch.split(mask, [size.numel() for size in sizes])
        return [part.view(size.shape) for part, size in zip(parts, sizes, strict=True)]

    def _tenth(self) -> int:
        return sum(layer.mask.numel() for layer in self.layers.values()) // 10

    def baseline(self, chooser: Chooser) -> dict[str, Tensor]:
        """Return the new masks by a baseline."""
        masks = {}
        for name, layer in self.layers.items():
            drops = int(int(layer.mask.sum()) * self.sparse.drop_fraction(self.sparse.step))
            flat = (layer.weight.reshape(-1), layer.parameter.grad.reshape(-1), layer.mask.reshape(-1))
            masks[name] = chooser(*flat, drops).view(layer.mask.shape)
        return masks

    @torch.no_grad()
    def baseline_update(self, chooser: Chooser) -> None:
        """Do by a baseline what an update step does."""
        for name, mask in self.baseline(chooser).items():
            layer = self.layers[name]
            layer.parameter.mul_(mask)
            self.optimizer.state[layer.parameter]["momentum_buffer"].mul_(mask)


def differing(training: Training, chooser: Chooser) -> int:
    """Return in how many weights the masks of the two differ, ties in |w| or |gradient| left out."""
    ours, theirs, wrong = training.choose(), training.baseline(chooser), 0
    for name, layer in training.layers.items():
        only_ours, only_theirs = ours[name] & ~theirs[name], theirs[name] & ~ours[name]
        scores = (layer.weight.abs(), layer.parameter.grad.abs())
        tied = any(torch.equal(s[only_ours].sort().values, s[only_theirs].sort().values) for s in scores)
        wrong += 0 if tied else int((only_ours | only_theirs).sum())
    return wrong


def measure(layout: torch.memory_format, rounds: int) -> list[measuring.Goal]:
    """Return the results of RigL and SET with weights in this memory format."""
    name = str(layout).removeprefix("torch.").removesuffix("_format")
    rigl, set_ = Training(sinewy.RigL, layout), Training(sinewy.SET, layout)
    wrong = max(differing(rigl, chooser) for chooser in (topk, compact_topk))
    times = measuring.alternate(
        {
            "choice": rigl.choose,
            "update": rigl.update,
            "topk choice": lambda: rigl.baseline(topk),
            "topk update": lambda: rigl.baseline_update(topk),
            "compact topk choice": lambda: rigl.baseline(compact_topk),
            "full topk update": lambda: rigl.baseline_update(full_topk),
        },
        rounds,
        before=rigl.refresh,
    )
    set_times = measuring.alternate(
        {
            "choice": set_.choose,
            "update": set_.update,
            "topk + randperm choice": lambda: set_.baseline(randperm),
            "topk + randperm update": lambda: set_.baseline_update(randperm),
            "full topk update": lambda: set_.baseline_update(full_topk),
        },
        rounds,
        before=set_.refresh,
    )
    dense = Training(sinewy.RigL, layout, sparsity=0.0)
    joint_times = measuring.alternate({"joint": dense.joint, "cat + topk": dense.joint_topk}, rounds)
    return [
        measuring.goal(f"weights that RigL and topk choose differently, {name}", wrong, 0),
        _goal("RigL", name, times, "choice", "topk choice", TARGET),
        _goal("RigL", name, times, "update", "topk update", TARGET),
        _goal("RigL", name, times, "choice", "compact topk choice", None),
        _goal("RigL", name, times, "update", "full topk update", FULL_TARGET),
        _goal("SET", name, set_times, "choice", "topk + randperm choice", None),
        _goal("SET", name, set_times, "update", "topk + randperm update", TARGET),
        _goal("SET", name, set_times, "update", "full topk update", FULL_TARGET),
        _goal("threshold over all tensors:", name, joint_times, "joint", "cat + topk", GLOBAL_TARGET),
    ]


def _goal(
    method: str, layout: str, times: measuring.Times, ours: str, theirs: str, target: float | None
) -> measuring.Goal:
    spent = {
        name: milliseconds for name, milliseconds in measuring.milliseconds(times).items() if name in (ours, theirs)
    }
    label = f"{method} {ours} / {theirs}, 11 M weights, {layout}"
    return measuring.goal(label, measuring.ratio(times, ours, theirs), target, ms=spent)


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=9)
    goals = [
        goal for layout in (torch.contiguous_format, torch.channels_last) for goal in measure(layout, options.rounds)
    ]
    return measuring.finish(goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
