"""Every sparsifier fits the ways people train: scaled, accumulated, clipped, averaged, compiled, frozen and shared."""

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
from sinewy.sparsify.optimizer_state import per_weight_buffers
from test_sparsify import MOVING, OPTIMIZERS, STEPS, assert_invariants, batch, loss_of, make, small_model, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:the masks leave parts unconnected"),
    pytest.mark.filterwarnings("ignore:no weight of"),
]
TRAINS_ALL = ("dense", "edge-popup", "edge-popup-after")
"""Methods whose optimizer works on every weight: of these, or of their scores."""
METHODS = pytest.mark.parametrize("name", SPARSIFIERS)


class Branching(nn.Module):
    """An MLP with a branch that not every batch takes, and two layers that share their weight."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.branch = nn.Linear(108, 16), nn.Linear(16, 16)
            self.once, self.again, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.again.weight = self.once.weight
        self.branching = True

    def forward(self, images):
        hidden = self.first(images.flatten(1)).tanh()
        hidden = hidden + self.branch(hidden).tanh() if self.branching else hidden
        return self.last(self.again(self.once(hidden).tanh()).tanh())


class Run:
    """A model in training under one method."""

    def __init__(self, name, model=None, optimizer="momentum", **options) -> None:
        self.model = small_model() if model is None else model
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.sparse = make(name, **options).attach(self.model, self.optimizer, steps=STEPS)

    def train(self, steps=range(STEPS), after=lambda step: None):
        train(self.model, self.optimizer, steps, after)
        return self

    def state(self):
        """Everything that training changes, apart from batch statistics."""
        kept = ("step", "mask", "explored", "grown", "dropped", "memory")
        sparse = self.sparse.state_dict()
        weights = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        return copy.deepcopy([weights, self.optimizer.state_dict()["state"], {key: sparse[key] for key in kept}])


def assert_same(first, second) -> None:
    """Bit for bit, all the way down."""
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def assert_close(first: Run, second: Run) -> None:
    """The same masks, and weights that differ by rounding only."""
    assert first.sparse.masks.hash == second.sparse.masks.hash
    for (name, weight), other in zip(first.model.named_parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def exact(model: nn.Module) -> nn.Module:
    """In float64 and without batch statistics, so that how a batch is cut up changes no more than rounding."""
    return model.double().eval()


def loss64(model, images, labels):
    return F.cross_entropy(model(images.double()), labels)


@pytest.mark.parametrize("optimizer", ["momentum", "sgd-fused", "adam-fused"])
@METHODS
def test_an_overflow_at_an_update_changes_nothing_and_scaling_is_exact(name, optimizer):
    plain = Run(name, optimizer=optimizer).train()
    run = Run(name, optimizer=optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)  # a power of two, so that scaling loses no bit

    def scaled(step, spoiled=False):
        run.optimizer.zero_grad()
        statistics = copy.deepcopy(dict(run.model.named_buffers()))
        scaler.scale(loss_of(run.model, step)).backward()
        if spoiled:
            next(run.model.parameters()).grad[0] = float("inf")
            run.model.load_state_dict(statistics, strict=False)  # by which some methods score
        before = run.state()
        scaler.step(run.optimizer)
        scaler.update()
        if spoiled:
            assert_same(run.state(), before)

    for step in range(STEPS):
        if run.sparse.is_update(step + 1):
            scaled(step, spoiled=True)
        scaled(step)
    assert (scaler.get_scale() < 1024) == any(run.sparse.is_update(step) for step in range(1, STEPS + 1))
    assert_same(run.state(), plain.state())


@pytest.mark.parametrize("optimizer", ["momentum", "sgd-fused", "adam-fused"])
@pytest.mark.parametrize("name", ["dense", "static", "rigl"])
def test_an_overflow_at_the_first_step_leaves_no_optimizer_state(name, optimizer):
    """Scales begin too high, so it is common; torch's fused SGD makes its momentum then, and does not initialise it."""
    run = Run(name, optimizer=optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(loss_of(run.model, 0)).backward()
    run.model[4].weight.grad[0] = float("inf")
    before = run.state()
    scaler.step(run.optimizer)
    assert_same(run.state(), before)
    run.train(after=lambda step: assert_invariants(run.sparse, run.model, run.optimizer))
    assert_same(run.state(), Run(name, optimizer=optimizer).train().state())


@METHODS
def test_closures_equal_plain_steps_bit_for_bit(name):
    plain, run = Run(name).train(), Run(name)
    for step in range(STEPS):

        def closure(step=step):
            run.optimizer.zero_grad()
            loss = loss_of(run.model, step)
            loss.backward()
            return loss

        loss = run.optimizer.step(closure) if step % 2 else run.optimizer.step(closure=closure)
        assert loss.item() > 0
    assert_same(run.state(), plain.state())


@METHODS
def test_zeroing_gradients_in_place_equals_setting_them_to_none(name):
    plain, run = Run(name).train(), Run(name)
    for step in range(STEPS):
        run.optimizer.zero_grad(set_to_none=False)
        loss_of(run.model, step).backward()
        run.optimizer.step()
    assert_same(run.state(), plain.state())


@METHODS
def test_accumulated_gradients_are_one_step_of_the_whole_batch(name):
    whole, parts = (Run(name, exact(small_model())) for _ in range(2))
    for step in range(STEPS):
        images, labels = batch(step)
        for run, pieces in ((whole, 1), (parts, 3)):
            run.optimizer.zero_grad()
            for some, own in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
                (loss64(run.model, some, own) / pieces).backward()
            run.optimizer.step()
        assert parts.sparse.step == step + 1
    assert_close(parts, whole)


@METHODS
def test_clipping_counts_the_gradients_of_trained_weights_only(name):
    run, plain = Run(name), Run(name).train()
    for step in range(STEPS):
        run.optimizer.zero_grad()
        loss_of(run.model, step).backward()
        trained, layers = run.sparse.trained, run.sparse._layers.values()
        norms = [[layer.parameter.grad, layer.parameter.grad[trained[layer.name]]] for layer in layers]
        dense, expected = (nn.utils.get_total_norm([norm[i] for norm in norms]).item() for i in range(2))
        run.sparse.mask_gradients_()
        norm = nn.utils.get_total_norm([layer.parameter.grad for layer in layers]).item()
        if run.sparse.is_update(step + 1) or run.sparse.watches_gradient:
            expected = dense  # they are still to be read
        assert norm == pytest.approx(expected)
        assert norm < dense or expected == dense
        run.optimizer.step()
    assert_same(run.state(), plain.state())


@METHODS
def test_clipped_training_keeps_the_invariants(name):
    run = Run(name)
    for step in range(STEPS):
        run.optimizer.zero_grad()
        loss_of(run.model, step).backward()
        run.sparse.mask_gradients_()
        nn.utils.clip_grad_norm_(run.model.parameters(), 0.1)
        run.optimizer.step()
        assert_invariants(run.sparse, run.model, run.optimizer)


@METHODS
def test_averages_need_the_masks_and_copies_have_them(name):
    run = Run(name)
    average = torch.optim.swa_utils.AveragedModel(run.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn())
    run.train(after=lambda step: average.update_parameters(run.model))
    if name in MOVING:
        with pytest.raises(sw.CorruptFileError, match="pruned weights are not zero"):
            run.sparse.masks.check(average)
    kept = {key: average.module.get_parameter(key)[mask].clone() for key, mask in run.sparse.masks.items()}
    run.sparse.apply_(average)
    run.sparse.masks.check(average)
    if name.startswith("edge-popup"):  # an average of frozen weights, in use by turns, would be other weights
        kept = {key: run.model.get_parameter(key)[mask].detach() for key, mask in run.sparse.masks.items()}
    assert_same({key: average.module.get_parameter(key)[mask] for key, mask in run.sparse.masks.items()}, kept)
    twin = copy.deepcopy(run.model)
    run.sparse.masks.check(twin)
    assert list(twin.state_dict()) == list(small_model().state_dict())


@pytest.mark.slow
@METHODS
def test_compiled_models_do_not_recompile_when_masks_move(name):
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(small_model(), backend=counter)
    run, plain = Run(name, compiled).train(), Run(name).train()
    assert counter.frame_count == 1
    assert [int((p == 0).sum()) for p in compiled.parameters()] == [
        int((p == 0).sum()) for p in plain.model.parameters()
    ]
    assert_same(run.sparse.masks.counts, plain.sparse.masks.counts)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@METHODS
def test_bfloat16_by_autocast_or_in_the_weights(name, weights):
    run = Run(name, small_model().to(weights))
    for step in range(STEPS):
        images, labels = batch(step)
        run.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=weights is torch.float32):
            outputs = run.model(images.to(weights))
        assert outputs.dtype is torch.bfloat16
        F.cross_entropy(outputs, labels).backward()
        run.optimizer.step()
        assert_invariants(run.sparse, run.model, run.optimizer)
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


@METHODS
def test_memory_format_changes_nothing_but_rounding(name):
    last = Run(name, exact(small_model()))
    plain = Run(name, exact(small_model()).to(memory_format=torch.contiguous_format))
    assert last.model[0].weight.stride() != plain.model[0].weight.stride()
    for run in (last, plain):
        for step in range(STEPS):
            images, labels = batch(step)
            run.optimizer.zero_grad()
            loss64(run.model, images.to(memory_format=torch.channels_last), labels).backward()
            run.optimizer.step()
            assert_invariants(run.sparse, run.model, run.optimizer)
    assert last.model[0].weight.stride() == small_model()[0].weight.stride()
    assert_close(last, plain)


@METHODS
def test_a_frozen_layer_keeps_its_values_and_nothing_dead_grows_there(name):
    model = Branching()
    model.once.weight.requires_grad_(False)
    run = Run(name, model)
    begun, first = run.sparse._layers["once.weight"].weight.clone(), run.sparse.masks["once.weight"].clone()
    run.train(after=lambda step: assert_invariants(run.sparse, model, run.optimizer))
    mask = run.sparse.masks["once.weight"]
    assert (model.once.weight[mask] != 0).all(), "weights that cannot train took the place of some that were trained"
    assert torch.equal(model.once.weight[mask], begun[mask])
    assert torch.equal(mask, first) or name == "acdc" or run.sparse.sparsity_at(0) < 0.8, "only a budget may move it"


@METHODS
def test_shared_weights_are_one_tensor(name):
    run = Run(name, Branching())
    assert [key for key in run.sparse.masks if key.startswith(("once", "again"))] == ["once.weight"]
    run.train(after=lambda step: assert_invariants(run.sparse, run.model, run.optimizer))
    assert run.model.once.weight is run.model.again.weight
    twin = copy.deepcopy(run.model)
    run.sparse.apply_(twin)
    assert twin.once.weight is twin.again.weight


@METHODS
def test_a_layer_without_gradient_in_a_batch(name):
    """Its masks cannot follow a gradient that is not there, and what survives keeps its value in an update."""
    run = Run(name, Branching(), optimizer="sgd")
    for step in range(STEPS):
        run.model.branching = not run.sparse.is_update(step + 1)
        before, mask = run.model.branch.weight.detach().clone(), run.sparse.masks.get("branch.weight")
        run.train([step], after=lambda step: assert_invariants(run.sparse, run.model, run.optimizer))
        if run.model.branching or mask is None:
            continue
        now, weight = run.sparse.masks["branch.weight"], run.model.branch.weight
        rewound = run.sparse.is_update(step + 1) and getattr(run.sparse, "restore", False)
        assert rewound or torch.equal(weight[mask & now], before[mask & now])
        reads = run.sparse.needs_gradient and not run.sparse.watches_gradient
        assert not reads or not (now & ~mask).any(), "grown without any gradient to grow by"


@METHODS
def test_groups_with_their_own_learning_rates(name):
    """Rprop's state of a fresh weight is the learning rate of the weight's group."""
    model = small_model()
    groups = [{"params": model[0].parameters(), "lr": 0.02}, {"params": model[1:].parameters()}]
    optimizer = torch.optim.Rprop(groups, lr=0.01)
    sparse = make(name).attach(model, optimizer, steps=STEPS)
    train(model, optimizer, range(STEPS - 1), lambda step: assert_invariants(sparse, model, optimizer))
    for layer, rate in (("0.weight", 0.02), ("4.weight", 0.01)):
        pruned = ~sparse.trained[layer]
        assert pruned.any() == (name not in TRAINS_ALL)
        assert (optimizer.state[model.get_parameter(layer)]["step_size"][pruned] == rate).all()


@pytest.mark.parametrize("name", [name for name in SPARSIFIERS if name != "synflow"])  # it feeds ones, not tokens
def test_an_output_layer_tied_to_an_embedding(name):
    """Named after the layer that makes it prunable; torch lists it under its first name, the embedding."""
    embedding, output = nn.Embedding(20, 16), nn.Linear(16, 20, bias=False)
    output.weight = embedding.weight
    model = nn.Sequential(embedding, nn.Linear(16, 16), nn.Tanh(), output)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tokens = torch.arange(20).repeat(6)
    sparse = make(name).attach(model, optimizer, steps=STEPS, data=(tokens, (tokens + 1) % 20))
    for step in range(STEPS):
        tokens = torch.randint(20, (32,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        F.cross_entropy(model(tokens), (tokens + 1) % 20).backward()
        optimizer.step()
        assert_invariants(sparse, model, optimizer)


def denormals(tensor: torch.Tensor) -> int:
    return int(((tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)).sum())


@pytest.mark.slow
@METHODS
def test_no_denormals_in_the_state_of_pruned_weights(name, monkeypatch):
    """With momentum 0.55 what is left behind is denormal after some 140 steps, and stays so."""
    dynamic = issubclass(resolve("sparsifier", name, SPARSIFIERS), sw.DynamicSparsifier)
    early = {
        "acdc": {"last_dense": 12, "final": 18},
        "topkast": {"explore_until": 18},
        "earlycrop": {"latest": 20},
        "prune-retrain": {"levels": [0.8]},
        "imp": {"levels": [0.8]},
    }.get(name, {"stop": 0.05} if dynamic else {})
    length = 400 if name in ("imp", "prune-retrain", "edge-popup-after") else 200  # of two rounds

    def pruned_denormals() -> int:
        model = small_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.55)
        train(model, optimizer, range(3))
        sparse = make(name, **early if name in MOVING else {}).attach(model, optimizer, steps=length)
        train(model, optimizer, range(length))
        trained = sparse.trained
        pruned = {layer.parameter: ~trained[key] for key, layer in sparse._layers.items()}
        return sum(
            denormals(buffer[away]) for p, away in pruned.items() for _, buffer in per_weight_buffers(optimizer, p)
        )

    assert pruned_denormals() == 0
    monkeypatch.setattr("sinewy.sparsify.optimizer_state.fresh", lambda *args: [])
    monkeypatch.setattr("sinewy.sparsify.optimizer_state.forget", lambda optimizer: None)
    assert (pruned_denormals() > 0) == (name not in TRAINS_ALL)
