"""What do the probes' methods cost against the plain way of computing the same numbers?

    python benchmarks/probes.py [--rounds 5] [--json]

Each ratio names its baseline, which is measured in the same run and checked to give the same numbers; ResNet-20 of
width 8, 32 x 32 images.

GradNorm in closed form over the baseline "loop": one backward pass per image to the last layer's weights.
Gradients of all weights, one per image and one per group of 5 (what SensNorm needs), by torch.func over the baseline
"loop", one backward pass per group.
Weight noise, 5 draws on 256 images, over the baseline "in place": perturb the model's weights, run the images, put the
weights back, draw by draw. Beside it the time of torch.func over all draws at once ("mapped").
Expected calibration error with its interval, 10 000 examples, over the baseline "loop" that computes it anew for each
of the 1 000 resamples. AUROC with DeLong's interval, 10 000 scores a side, over sklearn's AUROC without one.
Process CPU time on one thread. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.func import functional_call, vmap

import measuring
import sinewy
from sinewy.analysis import calibrated, detected
from sinewy.analysis.evidence import Evidence
from sinewy.data import ImageSet
from sinewy.detectors.gradnorm import GradNorm
from sinewy.detectors.network import Network
from sinewy.detectors.per_group import group_gradients
from sinewy.layers import prunable
from sinewy.metrics.calibration import expected_calibration_error
from sinewy.models.freeze import freeze
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.perturbations import relative
from sinewy.probes.weight_noise import WeightNoiseProbe

DRAWS, SIGMA, RESAMPLES = 5, 0.1, 1000
GRADNORM_TARGET, NOISE_TARGET, ECE_TARGET = 0.3, 1.0, 0.7
GROUP_TARGETS = {1: 0.5, 5: 0.85}


def network() -> nn.Module:
    """Return the network, untrained but for its running statistics."""
    torch.manual_seed(0)
    model = sinewy.models.build("resnet20", classes=10, width=8)
    with torch.no_grad():
        model.train()(torch.rand(256, 3, 32, 32))
    return model.eval()


def gradnorm_cost(model: nn.Module, rounds: int) -> list[measuring.Goal]:
    """Return the time of the closed form over a loop over images."""
    frozen, images = freeze(model), torch.rand(64, 3, 32, 32)
    last = [module for module in frozen.modules() if isinstance(module, nn.Linear)][-1]

    def closed() -> Tensor:
        return GradNorm().each(Network(frozen), images).float()

    def loop() -> Tensor:
        last.weight.requires_grad_()
        norms = []
        for image in images:
            loss = -frozen(image[None]).log_softmax(1).sum()
            norms.append(torch.autograd.grad(loss, last.weight)[0].abs().sum())
        last.weight.requires_grad_(False)
        return -torch.stack(norms)

    assert torch.allclose(closed(), loop(), rtol=1e-3)
    times = measuring.alternate({"closed": closed, "loop": loop}, rounds)
    value = measuring.ratio(times, "closed", "loop")
    return [measuring.goal("GradNorm, closed form / loop", value, GRADNORM_TARGET, ms=measuring.milliseconds(times))]


def group_cost(model: nn.Module, size: int, rounds: int) -> list[measuring.Goal]:
    """Return the time of the gradients of all weights, for groups of `size` images, over a loop over groups."""
    frozen = freeze(model)
    weights = dict(prunable(frozen))
    images, labels = torch.rand(32, size, 3, 32, 32), torch.randint(0, 10, (32, size))

    def gradients(how: str) -> Tensor:
        return torch.cat(list(group_gradients(frozen, weights, images, labels, F.cross_entropy, how=how)))

    ways = {"layers": "layers", "mapped": "mapped", "loop": "in turn"}
    expected = gradients("in turn")
    assert all(
        torch.allclose(gradients(how), expected, atol=1e-4 * float(expected.abs().max())) for how in ways.values()
    )
    times = measuring.alternate({name: partial(gradients, how) for name, how in ways.items()}, rounds)
    return [
        measuring.goal(
            f"gradients per group of {size}, torch.func / loop",
            measuring.ratio(times, "mapped", "loop"),
            GROUP_TARGETS[size],
            ms=measuring.milliseconds(times),
        )
    ]


def noise_cost(model: nn.Module, rounds: int) -> list[measuring.Goal]:
    """Return the time of the weight-noise probe on one sigma over perturbing the model in place."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (256, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, 10, 256)
    data = ImageSet(pixels, labels, "noise", "test", tuple("0123456789"), (0.5,) * 3, (0.25,) * 3)
    probe = WeightNoiseProbe(["relative"], sigmas=[SIGMA], draws=DRAWS)
    evaluator = Evaluator({"m": model}, mean=data.mean, std=data.std)
    weights = {name: weight.detach().clone() for name, weight in prunable(model).items()}
    others = [relative(weights, SIGMA, seed=0, draw=draw) for draw in range(DRAWS)]

    def ours() -> list[float]:
        found = probe.measure_kind(f"relative-{SIGMA:g}", evaluator, data).outcomes["m"]
        return [float(outcomes.loss.mean()) for outcomes in found.values()]

    @torch.no_grad()
    def run(answer: object) -> float:
        losses = []
        for part, answers in zip(torch.from_numpy(pixels).split(64), torch.from_numpy(labels).split(64), strict=True):
            images = (part.float() / 255 - 0.5) / 0.25
            losses.append(F.cross_entropy(answer(images), answers, reduction="none"))  # type: ignore[operator]
        return float(torch.cat(losses).mean())

    def in_place() -> list[float]:
        losses = []
        for draw in range(DRAWS):
            with torch.no_grad():
                for name, weight in prunable(model).items():
                    weight.copy_(relative(weights, SIGMA, seed=0, draw=draw)[name])
            losses.append(run(model))
            with torch.no_grad():
                for name, weight in prunable(model).items():
                    weight.copy_(weights[name])
        return losses

    stacked = {name: torch.stack([other[name] for other in others]) for name in weights}

    @torch.no_grad()
    def mapped() -> None:
        for part in torch.from_numpy(pixels).split(64):
            images = (part.float() / 255 - 0.5) / 0.25
            vmap(lambda own: functional_call(model, own, (images,)))(stacked)  # noqa: B023

    assert np.allclose(ours(), in_place(), rtol=1e-3)
    times = measuring.alternate({"ours": ours, "in place": in_place, "mapped": mapped}, rounds)
    label = f"{DRAWS} draws, 256 images"
    return [
        measuring.goal(
            f"weight noise / in place, {label}",
            measuring.ratio(times, "ours", "in place"),
            NOISE_TARGET,
            ms=measuring.milliseconds(times),
        ),
        measuring.goal(
            f"torch.func over all draws / in place, {label}", measuring.ratio(times, "mapped", "in place"), None
        ),
    ]


def calibration_cost(rounds: int) -> list[measuring.Goal]:
    """Return the time of all calibration findings with intervals over a loop over resamples for the ECE alone."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1, 10_000).astype(np.float32)
    correct = generator.random(10_000) < confidence
    label = np.zeros(10_000, np.int32)
    own = Outcomes(label, (~correct).astype(np.int32), confidence, confidence, -np.log(confidence), 1 - confidence)
    evidence = Evidence("m", {"m": {CLEAN: own}})

    def loop() -> NDArray[np.float64]:
        picks = np.random.default_rng(1)
        rows = (picks.integers(0, 10_000, 10_000) for _ in range(RESAMPLES))
        return np.array([expected_calibration_error(confidence[row], correct[row]) for row in rows])

    times = measuring.alternate({"findings": lambda: calibrated.findings(evidence), "loop": loop}, rounds)
    value = measuring.ratio(times, "findings", "loop")
    name = "ECE both ways, NLL, Brier, MCE with intervals / loop over resamples for one ECE"
    return [measuring.goal(name, value, ECE_TARGET, ms=measuring.milliseconds(times))]


def detection_cost(rounds: int) -> list[measuring.Goal]:
    """Return the time of AUROC with interval, AUPR both ways and FPR95 over sklearn's AUROC."""
    generator = np.random.default_rng(0)
    normal, odd = generator.normal(size=10_000), generator.normal(1, 1, size=10_000)
    evidence = Evidence("m", {"m": {}}, {"m": {"normal": {"d/1": normal}, "odd": {"d/1": odd}}})
    truth, scores = np.repeat([0, 1], 10_000), np.concatenate([normal, odd])

    def theirs() -> float:
        return float(roc_auc_score(truth, scores))

    found = next(f for f in detected.findings(evidence) if f.measure == "AUROC")
    assert abs(found.estimate.value - theirs()) < 1e-9
    times = measuring.alternate({"ours": lambda: detected.findings(evidence), "sklearn": theirs}, rounds)
    value = measuring.ratio(times, "ours", "sklearn")
    return [
        measuring.goal(
            "AUROC with interval, AUPR, FPR95 / sklearn's AUROC", value, None, ms=measuring.milliseconds(times)
        )
    ]


def main() -> int:
    """Measure, print, and return the exit code."""
    options = measuring.options(__doc__, rounds=5)
    model = network()
    goals = gradnorm_cost(model, options.rounds)
    goals += [goal for size in (1, 5) for goal in group_cost(model, size, options.rounds)]
    goals += noise_cost(model, options.rounds) + calibration_cost(options.rounds) + detection_cost(options.rounds)
    return measuring.finish(goals, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
