"""What does keeping a model sparse add to a training step?

    python benchmarks/masked_step.py [--rounds 15] [--json]

The step (forward, backward, optimizer) of a model under `sinewy.Static` at 90 % over the baseline "dense": the step of
the same model without a sparsifier, with the same torch.optim.SGD (momentum, weight decay, fused). Convolutional
networks are channels_last, as `sinewy.fit` trains them. Process CPU time on one thread.

Two forms of the ratio. "isolated", which has the target: 1 + (time of the sparsifier's hooks) / (time of a dense step).
The hooks are timed by themselves, but in a running training loop, so their data is as cold as it really is. "whole
step": masked and dense steps in turn; its noise is larger than what it should show. The third ratio is against "plain":
the dense step of somebody who writes torch.optim.SGD(parameters, lr, momentum, weight_decay), which is not fused; it is
isolated as well: the two optimizers' steps, too, are timed by themselves in a running loop.
Exits with 1 if a target is missed.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measuring
import sinewy

CONV_TARGET, MLP_TARGET, PLAIN_TARGET = 1.02, 1.08, 1.00

STEPS = 4
"""Steps per timed round."""


def mlp() -> nn.Module:
    """Return the MLP 784-1000-1000-1000-10."""
    widths = (784, 1000, 1000, 1000)
    hidden = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], 10))


def convolutional(name: str, **options: int) -> nn.Module:
    """Return one of Sinewy's networks in channels_last."""
    return sinewy.models.build(name, classes=10, **options).to(memory_format=torch.channels_last)


def images(batch: int) -> Tensor:
    """Return random images as the loader gives them."""
    return torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], float]] = {
    "convnet, batch 64": (lambda: convolutional("convnet"), lambda: images(64), CONV_TARGET),
    "resnet20, batch 16": (lambda: convolutional("resnet20"), lambda: images(16), CONV_TARGET),
    "resnet18 of width 16, batch 16": (lambda: convolutional("resnet18", width=16), lambda: images(16), CONV_TARGET),
    "vgg11 of width 16, batch 16": (lambda: convolutional("vgg11", width=16), lambda: images(16), CONV_TARGET),
    "MLP 784-1000-1000-1000-10, batch 128": (mlp, lambda: torch.randn(128, 784), MLP_TARGET),
}


class Training:
    """A model in training on one batch, sparse or not."""

    def __init__(self, model: nn.Module, inputs: Tensor, *, sparse: bool, fused: bool | None = True) -> None:
        self.model, self.inputs = model, inputs
        self.labels = torch.arange(len(inputs)) % 10
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=fused)
        self.hooks = sinewy.Static(sparsity=0.9).attach(model, self.optimizer)._hooks if sparse else None

    def backward(self) -> None:
        """Compute the gradients."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(self.inputs), self.labels).backward()

    def steps(self) -> None:
        """Train for a few steps."""
        for _ in range(STEPS):
            self.backward()
            self.optimizer.step()

    def hook_seconds(self) -> float:
        """Return the CPU seconds of the hooks in one step; the step itself runs in between, unmeasured."""
        assert self.hooks is not None
        self.backward()
        begin = time.process_time()
        self.hooks._before(self.optimizer, (self.optimizer,), {})
        between = time.process_time()
        self.optimizer.step()
        after = time.process_time()
        self.hooks._after(self.optimizer, (self.optimizer,), {})
        return between - begin + time.process_time() - after

    def optimizer_seconds(self) -> float:
        """Return the CPU seconds of the optimizer in one step."""
        self.backward()
        begin = time.process_time()
        self.optimizer.step()
        return time.process_time() - begin


def measure(case: str, rounds: int) -> list[measuring.Goal]:
    """Return the ratios of one case."""
    make, batch, target = CASES[case]
    torch.manual_seed(0)
    model, inputs = make(), batch()
    dense, plain = (Training(copy.deepcopy(model), inputs, sparse=False, fused=fused) for fused in (True, None))
    masked = Training(model, inputs, sparse=True)
    times = measuring.alternate({"masked": masked.steps, "dense": dense.steps}, rounds)
    hooks = statistics.median(masked.hook_seconds() for _ in range(STEPS * rounds))
    step = statistics.median(times["dense"]) / STEPS
    pairs = [(dense.optimizer_seconds(), plain.optimizer_seconds()) for _ in range(STEPS * rounds)]
    fused, unfused = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    spent = {"hooks": 1e3 * hooks, "dense step": 1e3 * step}
    all_spent = spent | {"fused SGD": 1e3 * fused, "plain SGD": 1e3 * unfused}
    against_plain = (step + hooks) / (step - fused + unfused)
    return [
        measuring.goal(f"masked / dense step, isolated, {case}", 1 + hooks / step, target, ms=spent),
        measuring.goal(f"masked / dense step, whole step, {case}", measuring.ratio(times, "masked", "dense"), None),
        measuring.goal(f"masked / plain dense step, isolated, {case}", against_plain, PLAIN_TARGET, ms=all_spent),
    ]


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=15)
    goals = [goal for case in CASES for goal in measure(case, options.rounds)]
    return measuring.finish(goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
