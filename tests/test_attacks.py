"""Attacks on a small trained network: the contract of every one, and another library's from the same start."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sinewy as sw
from sinewy.attacks import ATTACKS, NORMS, draws, losses, run
from sinewy.attacks.projections import BALLS
from sinewy.attacks.victim import Victim, lent
from sinewy.errors import InputError, MissingExtraError

OURS = [name for name in ATTACKS if name != "autoattack"]
ORDER = {"linf": math.inf, "l2": 2.0}


def distance(adversarial, images, norm):
    return (adversarial - images).flatten(1).norm(p=ORDER[norm], dim=1)


@pytest.fixture(scope="module")
def digits():
    """A small trained network in float64, and 120 test digits, a tenth of them with a wrong label."""
    splits = sw.data.load("digits")
    train, test = splits.train, splits.test
    x, y = torch.as_tensor(train.images).double() / 255, torch.as_tensor(train.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.AvgPool2d(4), nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(12 * 36, 10)
        ).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            for part in torch.randperm(len(x)).split(128):
                optimizer.zero_grad()
                F.cross_entropy(model(x[part]), y[part]).backward()
                optimizer.step()
        optimizer.zero_grad()
    images, labels = torch.as_tensor(test.images[:120]).double() / 255, torch.as_tensor(test.labels[:120]).clone()
    labels[::10] = (labels[::10] + 1) % 10
    return model, images, labels


def test_fgsm_is_its_formula_when_it_does_not_stop(digits):
    model, images, labels = digits
    inputs = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(copy.deepcopy(model).eval()(inputs), labels), inputs)
    eps = 8 / 255
    [(adversarial, fooled)] = run("fgsm", model, images, labels, eps=eps, stop_when_fooled=False)
    assert torch.allclose(adversarial, (images + eps * gradient.sign()).clamp(0, 1), rtol=0, atol=1e-12)
    [(adversarial, _)] = run("fgsm", model, images, labels, eps=0.5, norm="l2", stop_when_fooled=False)
    unit = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(adversarial, (images + 0.5 * unit).clamp(0, 1), rtol=0, atol=1e-12)
    assert fooled.sum() > 12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", OURS)
def test_the_contract_of_every_attack(name, norm, digits):
    model, images, labels = digits
    images, labels = images[:30], labels[:30]
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    steps = {} if name in ("fgsm", "ffgsm") else {"steps": 4}
    radii = [0.2, 0.0, 0.02, 0.1] if norm == "linf" else [4.0, 0.0, 0.3, 1.5]
    results = run(name, model, images, labels, eps=radii, norm=norm, **steps)
    assert [module.training for module in model.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    model.eval()
    clean = model(images).argmax(1)
    for eps, (adversarial, fooled) in zip(radii, results, strict=True):
        assert adversarial.shape == images.shape
        assert adversarial.dtype == images.dtype
        assert (distance(adversarial, images, norm) <= eps + 1e-6).all()
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1
        assert torch.equal(fooled, model(adversarial).argmax(1) != labels)
        assert torch.equal(adversarial[clean != labels], images[clean != labels])
    by_size = [results[radii.index(eps)] for eps in sorted(radii)]
    assert torch.equal(by_size[0][0], images)
    assert torch.equal(by_size[0][1], clean != labels)
    for (smaller, fooled), (larger, still) in itertools.pairwise(by_size):
        assert still[fooled].all()
        assert torch.equal(smaller[fooled], larger[fooled])
    assert by_size[-1][1].sum() > by_size[0][1].sum()
    again = run(name, model, images, labels, eps=radii, norm=norm, batch=7, **steps)
    for (first, fooled), (second, same) in zip(results, again, strict=True):
        assert torch.equal(fooled, same)
        assert torch.allclose(first, second, rtol=0, atol=1e-9)


def test_a_set_may_be_attacked_in_parts(digits):
    model, images, labels = digits
    [(whole, _)] = run("pgd", model, images[:20], labels[:20], eps=0.05, stop_when_fooled=False)
    [(part, _)] = run("pgd", model, images[12:20], labels[12:20], eps=0.05, stop_when_fooled=False, start=12)
    assert torch.allclose(whole[12:], part, rtol=0, atol=1e-9)
    [(other, _)] = run("pgd", model, images[:20], labels[:20], eps=0.05, stop_when_fooled=False, seed=1)
    assert (whole - other).abs().max() > 0.01


def test_many_radii_are_the_running_union_of_single_ones(digits):
    model, images, labels = digits
    radii = [0.02, 0.05, 0.08]
    together = run("pgd", model, images, labels, eps=radii)
    union = torch.zeros(len(images), dtype=torch.bool)
    for eps, (_, fooled) in zip(radii, together, strict=True):
        [(_, alone)] = run("pgd", model, images, labels, eps=eps)
        union = union | alone
        assert torch.equal(fooled, union)


class Counting(nn.Module):
    """Counts the images it sees."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, 0

    def forward(self, images):
        self.seen += len(images)
        return self.model(images)


def test_no_work_is_spent_on_the_fooled(digits):
    model, images, labels = digits
    counting = Counting(model)
    results = run("fgsm", counting, images, labels, eps=[0.02, 0.1], preflight=False)
    clean = run("fgsm", model, images, labels, eps=0)[0][1]
    standing = [int((~fooled).sum()) for fooled in (clean, results[0][1])]
    assert standing[1] < standing[0] < len(images)
    assert counting.seen == len(images) + 2 * sum(standing)  # an image of a step is seen before and after it


def test_stronger_attacks_fool_more(digits):
    model, images, labels = digits
    fooled = {
        name: run(name, model, images, labels, eps=0.06, **options)[0][1]
        for name, options in {
            "fgsm": {}, "pgd": {"steps": 20, "restarts": 2}, "apgd-ce": {"steps": 40}, "apgd-t": {"steps": 15}
        }.items()
    }  # fmt: skip
    count = {name: int(flags.sum()) for name, flags in fooled.items()}
    assert count["fgsm"] <= count["pgd"]
    assert count["pgd"] - 1 <= count["apgd-ce"] <= len(images) - 10
    assert count["apgd-ce"] - 1 <= count["apgd-t"]


def test_restarts_only_add(digits):
    model, images, labels = digits
    once, often = (run("pgd", model, images, labels, eps=0.05, steps=3, restarts=n)[0][1] for n in (1, 4))
    assert often[once].all()


@pytest.mark.parametrize("name", ["bim", "pgd", "apgd-ce", "apgd-dlr"])
def test_targets_are_reached(name, digits):
    model, images, labels = digits
    model.eval()
    right = model(images).argmax(1) == labels
    images, labels = images[right][:40], labels[right][:40]
    targets = (labels + 3) % 10
    [(adversarial, fooled)] = run(name, model, images, labels, eps=0.2, targets=targets, steps=20)
    assert torch.equal(fooled, model(adversarial).argmax(1) == targets)
    assert fooled.sum() >= 24
    near, far = (run(name, model, images, labels, eps=0.1, targets=t)[0][1] for t in ("runner-up", "least-likely"))
    assert near.sum() > far.sum()


def test_normalisation_may_be_inside_or_given(digits):
    model, images, labels = digits
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]

    class Inside(nn.Module):
        def forward(self, x):
            return model((x - torch.tensor(mean).double().view(3, 1, 1)) / torch.tensor(std).double().view(3, 1, 1))

    given = run("bim", model, images[:20], labels[:20], eps=0.03, mean=mean, std=std)[0]
    inside = run("bim", Inside().eval(), images[:20], labels[:20], eps=0.03)[0]
    assert torch.equal(given[1], inside[1])
    assert torch.allclose(given[0], inside[0], rtol=0, atol=1e-6)


def test_it_works_where_gradients_are_off(digits):
    model, images, labels = digits
    expected = run("bim", model, images[:10], labels[:10], eps=0.05)[0][0]
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(run("bim", model, images[:10].clone(), labels[:10].clone(), eps=0.05)[0][0], expected)


def test_no_images_are_no_work():
    [(adversarial, fooled)] = run("pgd", nn.Identity(), torch.rand(0, 3, 4, 4), torch.zeros(0).long(), eps=0.1)
    assert adversarial.shape == (0, 3, 4, 4)
    assert fooled.shape == (0,)


def test_a_model_is_given_back_when_it_fails():
    model = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(12, 1))
    with pytest.raises(InputError, match="returns \\(2, 1\\) for 2 images"):
        run("pgd", model, torch.rand(2, 3, 2, 2), torch.tensor([0, 0]), eps=0.1)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_no_gradient_reaches_the_weights(digits):
    model, images, labels = digits
    examples = (losses.margin, labels[:4], None)
    with lent(model, images.device, 0) as borrowed:
        Victim(borrowed, None, None).gradient(images[:4], *examples)
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


IMAGES, LABELS = torch.full((2, 3, 2, 2), 0.5), torch.tensor([0, 1])
SENTENCES = [
    ({"images": IMAGES * 255}, "images must lie in [0, 1], got 127.5 to 127.5."),
    ({"images": (IMAGES * 255).byte()}, "Use images.float() / 255."),
    ({"images": IMAGES.numpy()}, "Use torch.from_numpy(images)."),
    ({"images": IMAGES[0]}, "Use images[None] for a single image."),
    ({"images": IMAGES * math.nan}, "2 of 2 images contain NaN."),
    ({"labels": torch.tensor([0, 4])}, "labels must be 0 to 3, for the model has 4 classes; got 0 to 4."),
    ({"labels": torch.tensor([0, 1, 2])}, "labels must have shape (2,)"),
    ({"labels": torch.tensor([0.0, 1.0])}, "labels must be a tensor of whole numbers, got torch.float32."),
    ({"eps": -0.1}, "eps=-0.1 must be at least 0 and finite."),
    ({"eps": [0.1, math.nan]}, "eps=nan must be at least 0 and finite."),
    ({"eps": 8}, "did you mean 8/255?"),
    ({"eps": "big"}, "eps must be a number or a sequence of numbers, got 'big'."),
    ({"eps": True}, "eps must be a number or a sequence of numbers, got True."),
    ({"step_size": "small"}, "step_size=small must be above 0"),
    ({"random_start": 1}, "random_start must be True or False, got 1."),
    ({"stop_when_fooled": "no"}, "stop_when_fooled must be True or False, got 'no'."),
    ({"loss": 3}, "loss must be a function or one of ce, dlr, margin, got 3."),
    ({"name": None}, "the attack must be a name, got None"),
    ({"mean": "grey", "std": 0.2}, "mean='grey' and std=0.2 must be numbers, one or 3 of them."),
    ({"norm": "Linf"}, "unknown norm 'Linf'. Did you mean 'linf'?"),
    ({"name": "pdg"}, "unknown attack 'pdg'. Did you mean 'pgd'?"),
    ({"step": 3}, "unknown option of attack 'pgd' 'step'. Did you mean 'steps'?"),
    ({"steps": 0}, "steps must be a whole number from 1, got 0."),
    ({"step_size": 0.0}, "step_size=0.0 must be above 0"),
    ({"restarts": 2, "random_start": False}, "restarts=2 without a random start all do the same"),
    ({"loss": "dlrr"}, "unknown loss 'dlrr'. Did you mean 'dlr'?"),
    ({"targets": "least-likley"}, "Did you mean 'least-likely'?"),
    ({"targets": torch.tensor([2, 1])}, "the target of image 1 is its label, 1"),
    ({"targets": torch.tensor([2, 9])}, "targets must be 0 to 3"),
    ({"name": "apgd-t", "targets": torch.tensor([2, 2])}, "apgd-t chooses its own targets"),
    ({"mean": 0.5}, "give both, or neither"),
    ({"mean": [0.5, 0.5], "std": 1.0}, "mean=[0.5, 0.5] must be 3 finite numbers"),
    ({"mean": 0.5, "std": 0.0}, "must be above 0"),
    ({"seed": -1}, "seed must be a whole number from 0, got -1."),
    ({"batch": 0}, "batch must be a whole number from 1, got 0."),
    ({"device": "cuda:99"}, "device 'cuda:99' is not on this machine."),
    ({"model": torch.argmax}, "model must be a torch.nn.Module"),
    ({"name": "tests.none:attack"}, "cannot import 'tests"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_bad_input_gets_a_sentence(changed, sentence):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    asked = {"name": "pgd", "model": model, "images": IMAGES, "labels": LABELS, "eps": 0.1} | changed
    with pytest.raises(InputError) as raised:
        run(**asked)
    assert sentence in str(raised.value)


class Odd(nn.Module):
    """A model with a fault."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images.flatten(1)[:, :4])


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda x: x * math.nan, "the model returns NaN for 2 of 2 images."),
        (lambda x: x.detach(), "do not depend on the images by differentiable steps"),
        (lambda x: x + (x * 0).sqrt(), "the gradient is NaN or infinite for 2 of 2 images"),
        (lambda x: (x, x), "the model returns tuple for 2 images; logits (N, classes) are needed."),
        (lambda x: 2 * x[:, :2], "difference of logits ratio needs 3 classes, the model has 2"),
    ],
)
def test_a_model_with_a_fault_gets_a_sentence(answer, sentence):
    with pytest.raises(InputError) as raised:
        run("apgd-dlr", Odd(answer), IMAGES, torch.tensor([0, 0]), eps=0.1)
    assert sentence in str(raised.value)


def test_an_attack_of_ones_own(monkeypatch):
    module = types.ModuleType("my_attacks")
    module.darken = lambda *, norm, stop_when_fooled, share=1.0: (
        lambda victim, examples, eps: (
            dark := (examples.images - share * eps).clamp(0, 1), examples.fooled(victim.logits(dark))
        )
    )  # fmt: skip
    module.wild = lambda **options: lambda victim, examples, eps: (examples.images + 1, examples.labels > 0)
    monkeypatch.setitem(sys.modules, "my_attacks", module)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    options = {"eps": 0.2, "stop_when_fooled": False}
    [(adversarial, _)] = run("my_attacks:darken", model, IMAGES, LABELS, share=0.5, **options)
    assert torch.allclose(adversarial, torch.full_like(IMAGES, 0.4))
    with pytest.raises(InputError, match="outside \\[0, 1\\], or NaN"):
        run("my_attacks:wild", model, IMAGES, LABELS, **options)


def test_autoattack_names_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(MissingExtraError, match="pip install 'sinewy\\[attacks\\]'"):
        run("autoattack", nn.Identity(), IMAGES, LABELS, eps=0.1)


@pytest.mark.slow
def test_autoattack_agrees_with_our_ensemble(digits):
    """Its four attacks fool about what Auto-PGD does alone, nothing farther away, and the tracer is still in place."""
    pytest.importorskip("pyautoattack")
    model, images, labels = digits
    model, images, labels = copy.deepcopy(model).float(), images[:12].float(), labels[:12]
    tracer = lambda frame, event, argument: None  # noqa: E731
    sys.settrace(tracer)
    try:
        [(adversarial, fooled)] = run("autoattack", model, images, labels, eps=0.05)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(None)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert (distance(adversarial, images, "linf") <= 0.05 + 1e-6).all()
    ours = run("apgd-t", model, images, labels, eps=0.05)[0][1]
    assert fooled[ours].all()


def test_torchattacks_takes_the_same_steps(digits, monkeypatch):
    torchattacks = pytest.importorskip("torchattacks")
    model, images, labels = digits
    model.eval()
    eps, common = 8 / 255, {"eps": 8 / 255, "stop_when_fooled": False}
    offsets = eps * (2 * draws.uniform(11, torch.arange(len(images)), images.shape[1:]).double() - 1)
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *bounds: self.copy_(offsets))
    monkeypatch.setattr(BALLS["linf"], "inside", lambda self, seed, numbers: (self.clean + offsets).clamp(0, 1))
    whole = common | {"batch": len(images)}
    step = {"step_size": 2 / 255, "steps": 10}
    pairs = [
        (torchattacks.FGSM(model, eps=eps), run("fgsm", model, images, labels, **whole)),
        (torchattacks.FFGSM(model, eps=eps, alpha=10 / 255), run("ffgsm", model, images, labels, **whole)),
        (torchattacks.BIM(model, eps=eps, alpha=2 / 255, steps=10), run("bim", model, images, labels, **whole, **step)),
        (torchattacks.PGD(model, eps=eps, alpha=2 / 255, steps=10), run("pgd", model, images, labels, **whole)),
        (
            torchattacks.PGDL2(model, eps=1.0, alpha=0.2, steps=10, random_start=False, eps_for_division=1e-30),
            run("bim", model, images, labels, **whole | {"eps": 1.0}, norm="l2", step_size=0.2, steps=10),
        ),
    ]
    for theirs, [(ours, _)] in pairs:
        assert torch.allclose(theirs(images, labels), ours, rtol=0, atol=1e-6), type(theirs).__name__


def test_torchattacks_auto_pgd_is_no_stronger(digits):
    torchattacks = pytest.importorskip("torchattacks")
    model, images, labels = digits
    model, images = copy.deepcopy(model).float().eval(), images.float()
    theirs = torchattacks.APGD(model, eps=0.05, steps=30, seed=0)(images, labels)
    fooled = model(theirs).argmax(1) != labels
    [(_, ours)] = run("apgd-ce", model, images, labels, eps=0.05, steps=30)
    assert ours.sum() >= fooled.sum() - 1


def test_listing_attacks_loads_no_torch():
    code = "import sys, sinewy.attacks as a; assert a.ATTACKS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
