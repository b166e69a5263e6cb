"""The contract of every sparsifier with every optimizer, and the worked examples of the dynamic ones."""

from __future__ import annotations

import copy

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from torch import nn

import sinewy as sw
from sinewy.families import resolve
from sinewy.sparsify import SPARSIFIERS
from sinewy.sparsify.layer import make_layer
from sinewy.sparsify.make import make_sparsifier
from sinewy.sparsify.optimizer_state import per_weight_buffers, start_value


class Trailing(torch.optim.Optimizer):
    """A third-party kind of optimizer: a slow copy of the weights, a running gradient size, and noise on every
    weight."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"slow": p.clone(), "size": torch.zeros_like(p), "steps": 0}
                state["steps"] += 1
                state["size"].mul_(0.9).add_(p.grad.abs())
                p.sub_(group["lr"] * p.grad)
                state["slow"].lerp_(p, 0.1)
                p.add_(1e-4)  # a careless step that moves pruned weights too
        return loss


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "sgd-fused": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01, initial_accumulator_value=0.25),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
    "trailing": lambda p: Trailing(p, lr=0.05),
}
STEPS = 24
SHORT = {"every": 4}
OPTIONS = {
    "dense": None,
    "static": {},
    "acdc": {"warmup": 3, "phase": 3},
    "fixed-capacity": {"sparsity": 0.0, "capacity": 466},
    **{key: {} for key in ("one-shot", "snip", "grasp", "cropit")},
    "synflow": {"scoring": {"steps": 5}},
    **{key: {"at": 12} for key in ("snip-after", "magnitude-after")},
    "imp": {"fraction": 0.5, "rewind": 2},
    "imp-one-run": {"every": 3},
    "prune-retrain": {"levels": [0.5, 0.8]},
    **{key: {} for key in ("edge-popup", "edge-popup-after")},
}
"""What makes a method fit into 24 steps; every other one moves its masks each four steps."""
STILL = ("dense", "static", "fixed-capacity", "one-shot", "snip", "grasp", "cropit", "synflow")
"""Methods whose masks never move."""
MOVING = [name for name in SPARSIFIERS if name not in STILL]
REPLACING = ("set", "rigl")


def small_model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 16, 16),
            nn.ReLU(),
            nn.Linear(16, 4),
        )
    return model.to(memory_format=torch.channels_last)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(12, 3, 6, 6, generator=generator), torch.randint(4, (12,), generator=generator)


def make(name: str, **options) -> sw.Sparsifier:
    """A method that fits into 24 steps, and is given data to score by when it is attached."""
    own = OPTIONS.get(name, SHORT)
    sparse = make_sparsifier(name) if own is None else make_sparsifier(name, **{"sparsity": 0.8, **own, **options})
    attach = sparse.attach

    def attach_with_data(model, *args, **kwargs):
        images, labels = batch(100)
        data = (images.to(next(model.parameters()).dtype), labels)
        return attach(model, *args, **({"data": data} | kwargs))

    sparse.attach = attach_with_data
    return sparse


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    images, labels = batch(step)
    return F.cross_entropy(model(images), labels)


def train(model, optimizer, steps, after=lambda step: None) -> None:
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        after(step)


def assert_invariants(sparse: sw.Sparsifier, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Counts as the schedule says, zeros exact, and fresh state wherever the optimizer does not train."""
    assert sparse.masks.nonzero == round((1 - sparse.sparsity_at(sparse.step)) * sparse.masks.total)
    sparse.masks.check(model)
    trained = sparse.trained
    for name, layer in sparse._layers.items():
        assert torch.equal(layer.multiplier.bool(), layer.mask)
        assert not (layer.mask & ~trained[name]).any()
        assert not (layer.mask & ~layer.explored).any()
        for key, buffer in per_weight_buffers(optimizer, layer.parameter):
            pruned = buffer[~trained[name]]
            assert (pruned == start_value(optimizer, layer.group, key)).all(), f"{name}: {key}"


@pytest.mark.filterwarnings("ignore:the masks leave parts unconnected")
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_counts_zeros_and_state_after_every_step(name, optimizer_name):
    model = small_model()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    sparse = make(name).attach(model, optimizer, steps=STEPS)
    assert_invariants(sparse, model, optimizer)
    train(model, optimizer, range(STEPS), lambda step: assert_invariants(sparse, model, optimizer))
    assert sparse.step == STEPS
    assert sparse.sparsity == pytest.approx(0.0 if name == "dense" else 0.8, abs=1e-3)
    moves = sum(layer.grown + layer.dropped for layer in sparse._layers.values())
    assert (moves > 0) == (name in MOVING)


@pytest.mark.filterwarnings("ignore:the masks leave parts unconnected")
@pytest.mark.parametrize("optimizer_name", ["sgd", "nesterov", "sgd-fused", "adam", "adamw", "trailing"])
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_resume_is_bit_equal(name, optimizer_name):
    def parts():
        model = small_model()
        optimizer = OPTIMIZERS[optimizer_name](model.parameters())
        return model, optimizer, make(name).attach(model, optimizer, steps=STEPS)

    saved = {}

    def save(step):
        if step + 1 in (3, 4, 7, 11):
            parts = {"m": model.state_dict(), "o": optimizer.state_dict(), "s": sparse.state_dict()}
            saved[step + 1] = copy.deepcopy(parts)

    model, optimizer, sparse = parts()
    train(model, optimizer, range(STEPS), save)
    assert len(saved) == 4
    for at, state in saved.items():
        again, other, resumed = parts()
        again.load_state_dict(state["m"])
        other.load_state_dict(state["o"])
        resumed.load_state_dict(state["s"])
        train(again, other, range(at, STEPS))
        assert resumed.masks.hash == sparse.masks.hash, at
        for key, value in model.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), (at, key)


def test_state_is_safe_to_load(tmp_path):
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse = make("rigl").attach(model, optimizer, steps=STEPS)
    torch.save(sparse.state_dict(), tmp_path / "s.pt")
    state = torch.load(tmp_path / "s.pt", weights_only=True)
    sparse.load_state_dict(state)


@pytest.mark.parametrize("name", REPLACING)
def test_an_update_takes_the_place_of_the_step(name):
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    make(name).attach(model, optimizer, steps=STEPS)
    train(model, optimizer, range(3))
    bias = model[6].bias.detach().clone()
    train(model, optimizer, [3])
    assert torch.equal(model[6].bias, bias)
    train(model, optimizer, [4])
    assert not torch.equal(model[6].bias, bias)


def test_an_update_after_the_step_when_asked():
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparse = make("rigl", replace_step=False).attach(model, optimizer, steps=STEPS)
    before = model[6].bias.detach().clone()
    train(model, optimizer, range(4), lambda step: assert_invariants(sparse, model, optimizer))
    assert sparse.moved > 0
    assert not torch.equal(model[6].bias, before)


@pytest.mark.parametrize(
    ("begin", "until", "every", "expected"),
    [(1, 4, 2, [1, 3]), (None, 10, 4, [4, 8]), (3, 7, 2, [3, 5, 7]), (5, 5, 9, [5])],
)
def test_updates_fall_on_begin_to_last_inclusive(begin, until, every, expected):
    sparse = sw.RigL(0.5, begin=begin, until=until, every=every)
    sparse.prepare()
    assert [step for step in range(1, 20) if sparse.is_update(step)] == expected


def test_cosine_and_end_of_updates_from_the_length_of_training():
    model = small_model()
    sparse = sw.RigL(0.8, every=10, fraction=0.3).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=400)
    assert sparse.is_update(300)
    assert not sparse.is_update(310)
    assert [sparse.drop_fraction(step) for step in (0, 150, 300)] == pytest.approx([0.3, 0.15, 0.0])


def test_without_the_length_of_training_it_warns():
    model = small_model()
    with pytest.warns(UserWarning, match="does not know the length of training"):
        sw.RigL(0.8).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(sw.InputError, match="schedule 'cosine' needs the length of training"):
        sw.RigL(0.8, schedule="cosine").attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


WORKED = [
    (0.0, [0, 1, 0, 1, 0, 1, 1, 0]),
    (0.25, [1, 1, 0, 1, 0, 1, 0, 0]),
    (0.5, [1, 1, 0, 0, 1, 1, 0, 0]),
    (0.75, [1, 0, 1, 0, 1, 1, 0, 0]),
    (1.0, [1, 0, 1, 0, 1, 1, 0, 0]),
]


@pytest.mark.parametrize(("fraction", "expected"), WORKED)
def test_one_update_as_jaxpruner_works_it_by_hand(fraction, expected):
    """Kept are 1 -1 8 -2, of which the smallest signed values go; growth is by the magnitude of the whole array."""
    weights = torch.tensor([-9.0, 1, 4, -1, 5, 8, -2, 3])
    mask = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0], dtype=torch.bool)
    parameter = nn.Parameter((weights * mask).reshape(2, 4))
    by_value, by_size = (lambda layer, gradient: layer.weight), (lambda layer, gradient: gradient.abs())
    sparse = sw.RigL(0.5, fraction=fraction, schedule="constant", until=9, drop=by_value, grow=by_size)
    sparse.prepare()
    layer = make_layer("w", parameter, mask.reshape(2, 4), {}, seed=0)
    assert sparse.update(layer, weights.reshape(2, 4)).int().flatten().tolist() == expected


def test_a_dropped_weight_may_grow_at_once_and_keeps_its_value():
    parameter = nn.Parameter(torch.tensor([[0.1, 5.0, 0.0, 0.0]]))
    mask = parameter.detach() != 0
    layer = make_layer("w", parameter, mask, {}, seed=0)
    gradient = torch.tensor([[9.0, 0.0, 1.0, 2.0]])
    for regrow, expected in ((True, [1, 1, 0, 0]), (False, [0, 1, 0, 1])):
        sparse = sw.RigL(0.5, fraction=0.5, until=10, schedule="constant", regrow=regrow)
        sparse.prepare()
        assert sparse.update(layer, gradient).int().flatten().tolist() == expected


@pytest.mark.parametrize("start", ["zero", "normal", "uniform"])
def test_start_values_of_grown_weights(start):
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparse = make("set", start=start).attach(model, optimizer, steps=STEPS)
    before = {name: mask.clone() for name, mask in sparse.masks.items()}
    train(model, optimizer, range(4))
    grown = sparse.masks["4.weight"] & ~before["4.weight"]
    assert grown.any()
    assert (model[4].weight[grown] == 0).all() == (start == "zero")


class TestFit:
    """The ways people train."""

    def sparse_sgd(self, name="rigl", **options):
        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, **options)
        return model, optimizer, make(name).attach(model, optimizer, steps=STEPS)

    def test_closures_count_and_mask_like_plain_steps(self):
        model, optimizer, sparse = self.sparse_sgd()
        plain, plain_optimizer, plain_sparse = self.sparse_sgd()
        train(plain, plain_optimizer, range(STEPS))
        for step in range(STEPS):

            def closure(step=step):
                optimizer.zero_grad()
                loss = loss_of(model, step)
                loss.backward()
                return loss

            assert optimizer.step(closure).item() > 0
        assert sparse.step == STEPS
        assert sparse.masks.hash == plain_sparse.masks.hash
        assert torch.equal(model[4].weight, plain[4].weight)

    def test_accumulated_gradients_are_one_step(self):
        model, optimizer, sparse = self.sparse_sgd()
        for step in range(8):
            optimizer.zero_grad()
            for part in range(3):
                (loss_of(model, 3 * step + part) / 3).backward()
            optimizer.step()
        assert sparse.step == 8
        sparse.masks.check(model)

    def test_clipping_does_not_count_pruned_gradients(self):
        model, optimizer, sparse = self.sparse_sgd("static")
        loss_of(model, 0).backward()
        dense_norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
        sparse.mask_gradients_()
        assert nn.utils.get_total_norm([p.grad for p in model.parameters()]) < dense_norm
        optimizer.step()

    def test_gradients_stay_dense_before_an_update(self):
        model, optimizer, sparse = self.sparse_sgd("rigl")
        train(model, optimizer, range(3))
        optimizer.zero_grad()
        loss_of(model, 3).backward()
        dense = model[4].weight.grad.clone()
        sparse.mask_gradients_()
        assert torch.equal(model[4].weight.grad, dense)

    @pytest.mark.parametrize("fused", [False, True])
    def test_an_overflowed_step_changes_nothing(self, fused):
        model, optimizer, sparse = self.sparse_sgd("rigl", fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
        for step in range(6):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, step)).backward()
            if step == 3:  # the update step
                model[4].weight.grad[0, 0] = float("inf")
                before = (sparse.masks.hash, model[4].weight.detach().clone(), sparse.step)
            scaler.step(optimizer)
            scaler.update()
            if step == 3:
                assert (sparse.masks.hash, sparse.step) == (before[0], before[2])
                assert torch.equal(model[4].weight, before[1])
        assert sparse.step == 5
        assert sparse.moved > 0
        sparse.masks.check(model)

    def test_a_copy_and_an_average(self):
        model, optimizer, sparse = self.sparse_sgd()
        average = torch.optim.swa_utils.AveragedModel(model)
        train(model, optimizer, range(STEPS), lambda step: average.update_parameters(model))
        assert int((average.module[4].weight != 0).sum()) > sparse.masks.counts["4.weight"]
        sparse.apply_(average)
        sparse.masks.check(average)
        twin = copy.deepcopy(model)
        sparse.masks.check(twin)
        assert list(twin.state_dict()) == list(small_model().state_dict())

    @pytest.mark.slow
    def test_compiled_models_do_not_recompile_when_masks_move(self):
        model, optimizer, sparse = self.sparse_sgd()
        torch._dynamo.reset()
        counter = torch._dynamo.testing.CompileCounter()
        compiled = torch.compile(model, backend=counter)
        train(compiled, optimizer, range(STEPS))
        assert sparse.moved > 0
        assert counter.frame_count == 1
        sparse.masks.check(compiled)

    def test_detach_leaves_the_weights_sparse(self):
        model, optimizer, sparse = self.sparse_sgd()
        train(model, optimizer, range(5))
        moved = sparse.moved
        assert sparse.detach() is sparse
        sparse.masks.check(model)
        train(model, optimizer, range(5, 9))
        assert sparse.moved == moved

    def test_going_on_from_a_sparse_model(self):
        model, _, sparse = self.sparse_sgd("static")
        masks = sw.Masks.of_zeros(sw.prunable(model))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        finetuned = sw.Static(0.5).attach(model, optimizer, masks=masks)
        train(model, optimizer, range(3))
        assert finetuned.masks.hash == sparse.masks.hash
        assert finetuned.sparsity == pytest.approx(0.8, abs=1e-3)


class TestBadInput:
    def test_optimizer_of_another_model(self):
        with pytest.raises(sw.InputError, match="holds none of the model's prunable weights"):
            make("rigl").attach(small_model(), torch.optim.SGD(small_model().parameters(), lr=0.1), steps=9)

    def test_optimizer_of_a_part(self):
        model = small_model()
        with pytest.raises(sw.InputError, match=r"does not train '0\.weight'; add it, or pass exclude=\['0\.weight'\]"):
            make("static").attach(model, torch.optim.SGD(model[4:].parameters(), lr=0.1))

    def test_twice(self):
        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sparse = make("static").attach(model, optimizer)
        with pytest.raises(sw.InputError, match="attached already"):
            sparse.attach(model, optimizer)
        with pytest.raises(sw.InputError, match="another sparsifier has joined this optimizer"):
            make("static").attach(model, optimizer)
        sparse.detach()
        make("static").attach(model, optimizer)

    def test_lbfgs(self):
        model = small_model()
        with pytest.raises(sw.InputError, match="LBFGS"):
            make("static").attach(model, torch.optim.LBFGS(model.parameters()))

    def test_nan_gradient_names_the_layer_and_step(self):
        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        make("rigl").attach(model, optimizer, steps=STEPS)
        train(model, optimizer, range(3))
        loss_of(model, 3).backward()
        model[4].weight.grad.fill_(float("nan"))
        with pytest.raises(sw.InputError, match=r"4\.weight, step 4: .* NaN"):
            optimizer.step()

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"every": 0}, "every must be a number of optimizer steps"),
            ({"fraction": 1.5}, r"fraction must be in \[0, 1\]; got 1.5"),
            ({"grow": "gradiant"}, "unknown growth 'gradiant'. Did you mean 'gradient'"),
            ({"allocatoin": "erk"}, "unknown option of rigl 'allocatoin'. Did you mean 'allocation'"),
            ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ],
    )
    def test_options(self, options, sentence):
        with pytest.raises(sw.InputError, match=sentence):
            make_sparsifier("rigl", sparsity=0.5, **options)

    def test_unknown_sparsifier(self):
        with pytest.raises(sw.InputError, match="unknown sparsifier 'rigel'. Did you mean 'rigl'"):
            make_sparsifier("rigel")

    def test_state_of_other_settings_or_methods(self):
        model = small_model()

        def attached(name, **options):
            return make(name, **options).attach(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=9)

        state = attached("rigl").detach().state_dict()
        with pytest.raises(sw.InputError, match="the state is of RigL"):
            attached("set").load_state_dict(state)
        with pytest.raises(sw.InputError, match=r"saved with fraction=0\.3, this RigL has 0\.1"):
            attached("rigl", fraction=0.1).load_state_dict(state)
        with pytest.raises(sw.InputError, match="attach this RigL"):
            make("rigl").load_state_dict(state)
        with pytest.raises(sw.CorruptFileError, match="not the state of a sparsifier"):
            attached("rigl").load_state_dict({})

    @pytest.mark.parametrize("name", SPARSIFIERS)
    def test_every_method_has_a_first_line(self, name):
        assert resolve("sparsifier", name, SPARSIFIERS).__doc__.split("\n")[0].endswith(".")
