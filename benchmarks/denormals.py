"""Does a sparse training step become slower with age?

    python benchmarks/denormals.py [--rounds 15] [--json]

Steps of an MLP under RigL at 90 % with torch.optim.SGD (momentum, weight decay, fused) after 5000 steps, over the same
at the start of training. The contrast "naive" is RigL as it is often written: weights and gradients are multiplied by
the masks, and the momentum of what is dropped is left to decay. It never reaches 0, but sticks at the smallest numbers
there are, the denormals. What that costs depends on the CPU, and the ratio "SGD step on denormal / ordinary momentum"
says it: 8 on an Intel Xeon, 1.0 to 1.8 on an AMD EPYC. Where it is small, the share of denormals tells the two apart.

The young and the aged training take turns, so that the machine is the same to both. An update falls into the same
rounds of either. The young ones stay so: momentum takes some 800 steps to decay that far. Process CPU time on one
thread. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import statistics
import sys
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measuring
import sinewy

TARGET = 1.05
AGE, EVERY, STEPS = 5000, 100, 20
"""Steps of the aged training before it is timed, steps from update to update, and steps per timed round."""

SPARSITY, FRACTION, BATCH = 0.9, 0.3, 64


class Training:
    """An MLP that learns what a random linear map says of random inputs, dense."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        widths = (784, 300, 300)
        hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        self.model = nn.Sequential(*hidden, nn.Linear(widths[-1], 10))
        self.inputs = torch.randn(2048, 784)
        self.labels = (self.inputs @ torch.randn(784, 10)).argmax(1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
        self.count = 0

    def steps(self, number: int = STEPS) -> None:
        """Train for a few steps."""
        for _ in range(number):
            self.count += 1
            start = BATCH * self.count % len(self.inputs)
            batch = slice(start, start + BATCH)
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(self.inputs[batch]), self.labels[batch]).backward()
            self.step()

    def step(self) -> None:
        """Use the gradients."""
        self.optimizer.step()

    def masks(self) -> dict[Tensor, Tensor]:
        """Return the mask of each sparse parameter."""
        raise NotImplementedError

    def denormal_share(self) -> float:
        """Return how much of the momentum of pruned weights is denormal."""
        buffers = [self.optimizer.state[p]["momentum_buffer"][~mask] for p, mask in self.masks().items()]
        momentum = torch.cat(buffers).abs()
        return float(((momentum > 0) & (momentum < torch.finfo(momentum.dtype).tiny)).float().mean())


class Ours(Training):
    """The same under `sinewy.RigL`."""

    def __init__(self) -> None:
        super().__init__()
        self.rigl = sinewy.RigL(SPARSITY, fraction=FRACTION, every=EVERY, until=2 * AGE, schedule="constant")
        self.rigl.attach(self.model, self.optimizer)

    def masks(self) -> dict[Tensor, Tensor]:
        """Return the mask of each sparse parameter."""
        return {self.model.get_parameter(name): mask for name, mask in self.rigl.masks.items()}


class Naive(Training):
    """RigL by `torch.topk`, from the same initial masks, that does not look at the optimizer's state."""

    def __init__(self) -> None:
        super().__init__()
        weights = [p for p in self.model.parameters() if p.ndim > 1]
        self._masks = dict(zip(weights, Ours().masks().values(), strict=True))
        self._apply()

    def masks(self) -> dict[Tensor, Tensor]:
        """Return the mask of each sparse parameter."""
        return self._masks

    @torch.no_grad()
    def step(self) -> None:
        """Move the masks in place of every hundredth step."""
        if self.count % EVERY == 0:
            self._masks = {p: self._moved(p, mask) for p, mask in self._masks.items()}
        else:
            for p, mask in self._masks.items():
                p.grad.mul_(mask)
            self.optimizer.step()
        self._apply()

    @torch.no_grad()
    def _apply(self) -> None:
        for p, mask in self._masks.items():
            p.mul_(mask)

    @staticmethod
    def _moved(p: Tensor, mask: Tensor) -> Tensor:
        kept = int(mask.sum())
        survivors = torch.zeros_like(mask).view(-1)
        survivors[p.abs().masked_fill(~mask, -1).view(-1).topk(kept - int(FRACTION * kept)).indices] = True
        growth = p.grad.abs().view(-1).masked_fill(survivors, -1)
        survivors[growth.topk(int(FRACTION * kept)).indices] = True
        return survivors.view_as(mask)


def penalty(rounds: int) -> measuring.Goal:
    """Return what denormals cost the optimizer on this CPU."""
    parameter = nn.Parameter(torch.zeros(300_000))
    parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.SGD([parameter], lr=0.01, momentum=0.9, fused=True)
    optimizer.step()

    def steps(size: float) -> None:
        for _ in range(STEPS):
            optimizer.state[parameter]["momentum_buffer"].fill_(size)
            optimizer.step()

    times = measuring.alternate({"denormal": lambda: steps(1e-42), "ordinary": lambda: steps(1e-3)}, rounds)
    value = measuring.ratio(times, "denormal", "ordinary")
    return measuring.goal("SGD step on denormal / ordinary momentum, this CPU", value, None)


def measure(rounds: int) -> list[measuring.Goal]:
    """Return what denormals cost here, the ratio for our RigL, which has the target, and for the naive one."""
    trainings = {f"{kind.__name__.lower()} {age}": kind() for kind in (Ours, Naive) for age in ("young", "aged")}
    for name, training in trainings.items():
        if name.endswith("aged"):
            training.steps(AGE)
    times = measuring.alternate({name: training.steps for name, training in trainings.items()}, rounds)
    goals = [penalty(rounds)]
    for kind, target in (("ours", TARGET), ("naive", None)):
        spent = {age: 1e3 * statistics.median(times[f"{kind} {age}"]) / STEPS for age in ("young", "aged")}
        ratio = measuring.ratio(times, f"{kind} aged", f"{kind} young")
        share = trainings[f"{kind} aged"].denormal_share()
        goals += [
            measuring.goal(f"step after {AGE} steps / at the start, {kind}", ratio, target, ms=spent),
            measuring.goal(f"denormal share of pruned momentum, {kind}", share, None if target is None else 0.0),
        ]
    return goals


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=15)
    return measuring.finish(measure(options.rounds), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
