"""What does an attack cost beyond the passes through the model that it cannot avoid?

    python benchmarks/attacks.py [--full] [--rounds 3] [--json]

A PGD step (Linf in `sinewy.attacks.run`, all images standing) over the baseline "bare": forward pass, cross-entropy and
backward pass to the same images, by `torch.autograd.grad`. It is "isolated": 1 + (time of a step on a model that takes
the mean of each channel) / (time of a bare pass), which counts the trivial model's own passes as well, so it errs
upwards. A step is the difference between a run of 44 and one of 4, over 40.
Then 8 radii in one call, on a network that the larger ones fool, over the baseline "all steps": 8 calls with one radius
each that take all steps for all images, as a loop over the radii with a plain PGD does; and over "8 calls" that stop at
the first success. One call attacks at each radius only what stood the smaller ones, so the ratio is at best the mean
share of images still standing, which is printed with it.
Last, PGD-10 (eps 8/255, steps of 2/255) on a ResNet-20 trained on the digits, over the baseline "torchattacks", its PGD
on the same model in evaluation mode, and one more forward pass, which says which images are fooled. Ours is the whole
call of `run` with the same model: the copy it makes, its pre-flight checks, the steps and the last look. Both get 128
images at once and take all steps for all of them, from another random start in every round, and the mean success of
both is printed; ours goes through them in its own batches of 64. "one batch" has it take all 128 together, as
torchattacks does. "stopping" leaves images alone once they are fooled, as an audit does. This part is left out without
torchattacks: `pip install --no-deps torchattacks requests`, for it pins old packages.

About a minute of process CPU time on one thread. `--full`, nine rounds and several minutes, adds the step in L2 and on
the convnet, the last comparison with batches of 64 for both, and a model that is a frozen copy already. Every line is
printed as soon as it is measured. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measuring
import sinewy
from sinewy.attacks import run
from sinewy.attacks.running import BATCH
from sinewy.models.freeze import freeze

STEP_TARGET, RADII_TARGET, LIBRARY_TARGET = 1.10, 0.85, 1 / 1.6

SHORT, LONG, PASSES = 4, 44, 4
"""Steps of the runs on the trivial model, and bare passes timed together."""

EPS, STEP, IMAGES = 8 / 255, 2 / 255, 128
"""Radius, step size and number of images of the comparison with torchattacks."""

OWN_BATCH = BATCH["cpu"]
"""Images that ours attacks at once."""

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


def step_cost(name: str, norm: str, rounds: int) -> measuring.Goal:
    """Return the ratio for one network."""
    torch.manual_seed(0)
    model = sinewy.models.build(name, classes=10).eval().requires_grad_(False)
    images = torch.rand(64, 3, 32, 32)
    labels = model(images).argmax(1)
    trivial = Trivial()

    # Every step is taken by every image, as where none is fooled.
    def attack(steps: int) -> object:
        return run("pgd", trivial, images, labels, eps=8 / 255, norm=norm, steps=steps, stop_when_fooled=False)

    times = measuring.alternate(
        {
            "long": partial(attack, LONG),
            "short": partial(attack, SHORT),
            "bare": partial(bare, model, images, labels, PASSES),
        },
        rounds,
    )
    rows = zip(times["long"], times["short"], times["bare"], strict=True)
    added = statistics.median((a - b) / (LONG - SHORT) / (c / PASSES) for a, b, c in rows)
    label = f"PGD step / bare pass, isolated, {norm}, {name}, batch 64"
    return measuring.goal(label, 1 + added, STEP_TARGET, ms=measuring.milliseconds(times))


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


class Rivals:
    """PGD-10 of both libraries on one trained ResNet-20, some digits, and what share of them each call fooled."""

    def __init__(self) -> None:
        import torchattacks

        torch.manual_seed(0)
        self.model, test = trained(sinewy.models.build("resnet20", classes=10), epochs=2)
        self.images = torch.from_numpy(test.images[:IMAGES]).float() / 255
        self.labels = torch.from_numpy(test.labels[:IMAGES])
        self.theirs = torchattacks.PGD(self.model.eval(), eps=EPS, alpha=STEP, steps=10)
        self.success: dict[str, list[float]] = defaultdict(list)
        self._seeds = count()

    def ours(self, name: str, model: nn.Module, batch: int, *, stop: bool) -> None:
        """Run ours on all images."""
        [(_, fooled)] = run(
            "pgd",
            model,
            self.images,
            self.labels,
            eps=EPS,
            steps=10,
            step_size=STEP,
            stop_when_fooled=stop,
            batch=batch,
            seed=next(self._seeds),
        )
        self.success[name].append(float(fooled.float().mean()))

    def torchattacks(self, batch: int) -> None:
        """Run theirs on all images, and judge them."""
        fooled = [self._judged(*part) for part in zip(self.images.split(batch), self.labels.split(batch), strict=True)]
        self.success["torchattacks"].append(float(torch.cat(fooled).float().mean()))

    def _judged(self, images: Tensor, labels: Tensor) -> Tensor:
        adversarial = self.theirs(images, labels)
        with torch.no_grad():
            return self.model(adversarial).argmax(1) != labels


def library_cost(rounds: int, *, full: bool) -> Iterator[measuring.Goal]:
    """Yield the time of our PGD-10 over torchattacks' on a trained ResNet-20, with the success of both."""
    rivals = Rivals()
    model, frozen = rivals.model, freeze(rivals.model)
    variants: dict[str, Callable[[], object]] = {
        "torchattacks": partial(rivals.torchattacks, IMAGES),
        "ours": partial(rivals.ours, "ours", model, OWN_BATCH, stop=False),
        "one batch": partial(rivals.ours, "one batch", model, IMAGES, stop=False),
        "stopping": partial(rivals.ours, "stopping", model, OWN_BATCH, stop=True),
    }
    if full:
        variants["torchattacks in batches of 64"] = partial(rivals.torchattacks, OWN_BATCH)
        variants["frozen already"] = partial(rivals.ours, "frozen already", frozen, OWN_BATCH, stop=False)
    times = measuring.alternate(variants, rounds)
    success = ", ".join(f"{name} {statistics.mean(shares):.3f}" for name, shares in rivals.success.items())
    label = f"PGD-10 / torchattacks, resnet20, {IMAGES} images"
    found = measuring.ratio(times, "ours", "torchattacks")
    yield measuring.goal(f"{label}, success {success}", found, LIBRARY_TARGET, ms=measuring.milliseconds(times))
    for name in ("one batch", "stopping", *["frozen already"] * full):
        yield measuring.goal(f"{label}, {name}", measuring.ratio(times, name, "torchattacks"), None)
    if full:
        found = measuring.ratio(times, "ours", "torchattacks in batches of 64")
        yield measuring.goal(f"{label}, batches of 64 for both", found, None)


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


def trained(model: nn.Module, epochs: int = 6) -> tuple[nn.Module, sinewy.data.ImageSet]:
    """Return the network after a few epochs on the digits, and the test set."""
    splits = sinewy.data.load("digits")
    images, labels = torch.from_numpy(splits.train.images).float() / 255, torch.from_numpy(splits.train.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
    return model.eval(), splits.test


def goals(rounds: int, *, full: bool) -> Iterator[measuring.Goal]:
    """Yield every result as soon as it is measured."""
    yield step_cost("resnet20", "linf", rounds)
    if full:
        yield step_cost("resnet20", "l2", rounds)
        yield step_cost("convnet", "linf", rounds)
    yield from radii_cost(rounds)
    if importlib.util.find_spec("torchattacks"):
        yield from library_cost(rounds, full=full)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="timed rounds per variant (default 3, with --full 9)")
    parser.add_argument("--full", action="store_true", help="everything, in several minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON document, at the end")
    options = parser.parse_args()
    found = goals(options.rounds or (9 if options.full else 3), full=options.full)
    if options.json:
        return measuring.finish([*found], as_json=True)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return max(measuring.finish([goal], as_json=False) for goal in found)


if __name__ == "__main__":
    sys.exit(main())
