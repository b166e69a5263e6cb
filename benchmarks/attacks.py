"""What does an attack cost beyond the passes through the model that it cannot avoid?

    python benchmarks/attacks.py [--rounds 9] [--json]

A PGD step (Linf and L2, in `sinewy.attacks.run`, all images standing) over the baseline "bare": forward pass,
cross-entropy and backward pass to the same images, by `torch.autograd.grad`. The form with the target is "isolated":
1 + (time of a step on a model that takes the mean of each channel) / (time of a bare pass), which counts the trivial
model's own passes as well, so it errs upwards. A step is the difference between a run of 44 and one of 4, over 40. The
whole run of 10 steps, with the clean pass and the last look (each a forward pass), is printed beside it.
Then 8 radii in one call, on a network that the larger ones fool, over
the baseline "all steps": 8 calls with one radius each that take all steps for all images, as a loop over the radii with
a plain PGD does; and over "8 calls" that stop at the first success. One call attacks at each radius only what stood the
smaller ones, so the ratio is at best the mean share of images still standing, which is printed with it.
Last, PGD-10 (eps 8/255, steps of 2/255) on a ResNet-20 trained on the digits, over the baseline "torchattacks", its PGD
on the same model as a user has it, in evaluation mode with its norms not folded, and one more forward pass, which says
which images are fooled. Ours runs on a frozen copy, which is made once for a model, as an audit does. Both take all
steps for all 128 images, theirs as one batch, and the success of both is printed. "stopping" leaves images alone once
they are fooled, as an audit does. Needs `pip install --no-deps torchattacks requests`, which pins old packages;
without it this part is left out. Process CPU time on one thread. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measuring
import sinewy
from sinewy.attacks import run
from sinewy.probes.freeze import freeze

STEP_TARGET, RADII_TARGET, LIBRARY_TARGET = 1.10, 0.85, 1 / 1.6

SHORT, LONG, WHOLE = 4, 44, 10
"""Steps of the runs."""

RADII = [n / 255 for n in (1, 2, 4, 8, 12, 16, 24, 32)]


class Trivial(nn.Module):
    """A model that costs next to nothing: ten sums of the channels' means."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(3, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 10)."""
        return images.mean((2, 3)) @ self.weight


def bare(model: nn.Module, images: Tensor, labels: Tensor, passes: int) -> None:
    """Compute the gradient with respect to the images a few times, and do nothing with it."""
    for _ in range(passes):
        inputs = images.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(inputs), labels, reduction="sum"), inputs)


def step_cost(name: str, norm: str, rounds: int, **options: int) -> list[measuring.Goal]:
    """Return the ratios for one network."""
    torch.manual_seed(0)
    model = sinewy.models.build(name, classes=10, **options).eval().requires_grad_(False)
    images = torch.rand(64, 3, 32, 32)
    labels = model(images).argmax(1)

    # Every step is taken by every image, as where none is fooled.
    def attack(victim: nn.Module, steps: int) -> object:
        return run("pgd", victim, images, labels, eps=8 / 255, norm=norm, steps=steps, stop_when_fooled=False)

    times = measuring.alternate(
        {
            "long": partial(attack, Trivial(), LONG),
            "short": partial(attack, Trivial(), SHORT),
            "whole": partial(attack, model, WHOLE),
            "bare": partial(bare, model, images, labels, WHOLE),
        },
        rounds,
    )
    rows = zip(times["long"], times["short"], times["bare"], strict=True)
    added = statistics.median((a - b) / (LONG - SHORT) / (c / WHOLE) for a, b, c in rows)
    label = f"{norm}, {name}, batch 64"
    return [
        measuring.goal(
            f"PGD step / bare pass, isolated, {label}", 1 + added, STEP_TARGET, ms=measuring.milliseconds(times)
        ),
        measuring.goal(f"PGD-10 / 10 bare passes, {label}", measuring.ratio(times, "whole", "bare"), None),
    ]


def radii_cost(rounds: int) -> list[measuring.Goal]:
    """Return the time of 8 radii in one call over that of 8 calls, on a network trained on the digits."""
    model, test = trained(small())
    images = torch.from_numpy(test.images[:128]).float() / 255
    labels = torch.from_numpy(test.labels[:128])
    attack = partial(run, "pgd", model, images, labels)
    times = measuring.alternate(
        {
            "one call": partial(attack, eps=RADII),
            "8 calls": lambda: [attack(eps=eps) for eps in RADII],
            "all steps": lambda: [attack(eps=eps, stop_when_fooled=False) for eps in RADII],
        },
        rounds,
    )
    found = [fooled for _, fooled in attack(eps=[0.0, *RADII])]
    standing = statistics.mean(1 - float(fooled.float().mean()) for fooled in found[:-1])
    label = f"digits, {standing:.2f} standing on average"
    return [
        measuring.goal(
            f"8 radii in one call / 8 calls with all steps, {label}",
            measuring.ratio(times, "one call", "all steps"),
            RADII_TARGET,
            ms=measuring.milliseconds(times),
        ),
        measuring.goal(f"8 radii in one call / 8 calls, {label}", measuring.ratio(times, "one call", "8 calls"), None),
    ]


def library_cost(rounds: int) -> list[measuring.Goal]:
    """Return the time of our PGD-10 over torchattacks' on a trained ResNet-20, with the success of both."""
    import torchattacks

    torch.manual_seed(0)
    model, test = trained(sinewy.models.build("resnet20", classes=10))
    images = torch.from_numpy(test.images[:128]).float() / 255
    labels = torch.from_numpy(test.labels[:128])
    eps, step = 8 / 255, 2 / 255
    theirs = torchattacks.PGD(model.eval(), eps=eps, alpha=step, steps=10)

    def ours(victim: nn.Module, *, stop: bool) -> Tensor:
        options = {"steps": 10, "step_size": step, "stop_when_fooled": stop}
        return run("pgd", victim, images, labels, eps=eps, **options)[0][1]

    def judged() -> Tensor:
        adversarial = theirs(images, labels)
        with torch.no_grad():
            return model(adversarial).argmax(1) != labels

    frozen = freeze(model)
    variants = {
        "torchattacks": judged,
        "frozen": partial(ours, frozen, stop=False),
        "stopping": partial(ours, frozen, stop=True),
        "plain": partial(ours, model, stop=False),
    }
    success = ", ".join(f"{name} {float(attack().float().mean()):.3f}" for name, attack in variants.items())
    times = measuring.alternate(variants, rounds)
    ms = measuring.milliseconds(times)
    return [
        measuring.goal(
            f"PGD-10 on a frozen copy / torchattacks, resnet20, success {success}",
            measuring.ratio(times, "frozen", "torchattacks"),
            LIBRARY_TARGET,
            ms=ms,
        ),
        measuring.goal("PGD-10 that stops / torchattacks", measuring.ratio(times, "stopping", "torchattacks"), None),
        measuring.goal(
            "PGD-10 on the plain model / torchattacks", measuring.ratio(times, "plain", "torchattacks"), None
        ),
    ]


def small() -> nn.Module:
    """Return a small convolutional network."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(400, 10),
    )


def trained(model: nn.Module) -> tuple[nn.Module, sinewy.data.ImageSet]:
    """Return the network after a few epochs on the digits, and the test set."""
    splits = sinewy.data.load("digits")
    images, labels = torch.from_numpy(splits.train.images).float() / 255, torch.from_numpy(splits.train.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(6):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
    return model.eval(), splits.test


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=9)
    goals = [goal for norm in ("linf", "l2") for goal in step_cost("resnet20", norm, options.rounds)]
    goals += step_cost("convnet", "linf", options.rounds)
    goals += radii_cost(options.rounds)
    if importlib.util.find_spec("torchattacks"):
        goals += library_cost(options.rounds)
    return measuring.finish(goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
