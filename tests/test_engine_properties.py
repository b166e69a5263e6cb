"""Properties of the drop-and-grow engine for any shape, sparsity and fraction, against brute force where it can be."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sinewy as sw
from sinewy.families import resolve
from sinewy.schedules import DROP_SCHEDULES, SPARSITY_SCHEDULES
from sinewy.select import count, joint_masks
from sinewy.sparsify import SPARSIFIERS
from sinewy.sparsify.dynamic import DynamicSparsifier
from sinewy.sparsify.layer import SparseLayer, make_layer
from sinewy.sparsify.make import make_sparsifier
from sinewy.sparsify.momentum import share_out
from sinewy.sparsify.optimizer_state import per_weight_buffers
from sinewy.sparsify.saliency import GROWTHS, SALIENCIES
from sinewy.sparsify.timing import Length, Timing
from test_sparsify import MOVING, STEPS, assert_invariants, small_model, train

DYNAMIC = [name for name in MOVING if issubclass(resolve("sparsifier", name, SPARSIFIERS), DynamicSparsifier)]
"""Methods on the engine that drops and grows."""

few = settings(derandomize=True, deadline=None, max_examples=60)
many = settings(derandomize=True, deadline=None, max_examples=200)

shapes = st.one_of(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
)
fractions = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(0, 1))
sparsities = st.floats(0, 0.99)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(shape: tuple[int, ...], seed: int, ties: bool) -> Tensor:
    """Random numbers; with `ties` few different ones, 0 among them."""
    drawn = torch.randn(shape, generator=seeded(seed))
    return drawn.round() if ties else drawn


@st.composite
def layers(draw) -> tuple[SparseLayer, Tensor]:
    """A layer with any number of weights kept, some of them 0, and a gradient."""
    shape, seed, ties = draw(shapes), draw(st.integers(0, 99)), draw(st.booleans())
    kept = sw.Masks.random({"w": shape}, {"w": draw(st.integers(0, torch.Size(shape).numel()))}, seed=seed)["w"]
    parameter = nn.Parameter(values(shape, seed, ties) * kept)
    return make_layer("w", parameter, kept, {}, seed), values(shape, seed + 1, ties)


class Watched(DynamicSparsifier):
    """Remembers what survived each tensor's last update."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.survived: dict[str, Tensor] = {}

    def survivors(self, layer, gradient, budget):
        self.survived[layer.name] = super().survivors(layer, gradient, budget)
        return self.survived[layer.name]


@many
@given(
    layers(),
    fractions,
    st.sampled_from(sorted(SALIENCIES)),
    st.sampled_from(sorted(GROWTHS)),
    st.sampled_from([True, False, "reset"]),
    st.sampled_from([0.0, 0.1]),
    st.data(),
)
def test_one_update_of_any_layer(entry, fraction, drop, grow, regrow, noise, data):
    """Exactly the budget is kept; survivors are old, what grows is not among them, nor was kept where it may not be."""
    layer, gradient = entry
    budget = data.draw(st.one_of(st.just(count(layer.mask)), st.integers(0, layer.mask.numel())))
    sparse = Watched(0.5, drop=drop, grow=grow, fraction=fraction, until=9, regrow=regrow, drop_noise=noise, every=1)
    sparse.prepare()
    sparse._budgets = {"w": budget}
    before = layer.mask.clone()
    mask = sparse.update(layer, gradient)
    assert mask.shape == before.shape
    assert count(mask) == budget
    assert torch.equal(layer.mask, before)
    survivors = sparse.survived.get("w", before)
    assert not (survivors & ~before).any()
    assert not (survivors & ~mask).any()
    grown = mask & ~survivors
    if regrow is False:
        assert not (grown & before).any()
    if regrow is not False and "w" in sparse.survived:
        assert count(survivors) == min(count(before) - int(count(before) * fraction), budget)
    restarted = torch.zeros_like(mask) if layer.restart is None else layer.restart
    assert torch.equal(restarted, grown & before if regrow == "reset" else torch.zeros_like(mask))


@few
@given(layers(), st.sampled_from(["zero", "normal", "uniform"]), st.data())
def test_start_values_are_numbers_even_where_one_weight_or_none_is_left(entry, start, data):
    layer, _ = entry
    sparse = DynamicSparsifier(0.5, start=start, until=9)
    where = torch.arange(layer.mask.numel())
    grown = torch.rand(len(where), generator=seeded(data.draw(st.integers(0, 9)))) < 0.5
    started = sparse.start_weights(layer, where, grown)
    assert started.isfinite().all()
    assert (started[~grown] == 0).all()
    if start == "uniform" and layer.mask.any():
        assert started.abs().max() <= layer.weight[layer.mask].abs().mean()


@many
@given(layers(), st.sampled_from([0.2, 0.5, 1.0]))
def test_what_is_dropped_and_grown_is_what_a_full_sort_says(entry, fraction):
    layer, gradient = entry
    sparse = sw.RigL(0.5, fraction=fraction, schedule="constant", until=9)
    sparse.prepare()
    n = count(layer.mask)
    assume(0 < n < layer.mask.numel())
    weight, growth, kept = (t.flatten().tolist() for t in (layer.weight.abs(), gradient.abs(), layer.mask))
    order = sorted((i for i in range(len(kept)) if kept[i]), key=lambda i: -weight[i])  # stable: ties keep their order
    survivors = order[: n - int(n * fraction)]
    free = sorted(set(range(len(kept))) - set(survivors), key=lambda i: (-growth[i], i))
    expected = sorted(survivors + free[: n - len(survivors)])
    assert sparse.update(layer, gradient).flatten().nonzero().flatten().tolist() == expected


@st.composite
def trainings(draw):
    """A model of one to three tensors in training, about to make an update that moves weights."""
    widths = draw(st.lists(st.integers(2, 9), min_size=2, max_size=4))
    with torch.random.fork_rng():
        torch.manual_seed(draw(st.integers(0, 9)))
        model = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))
    return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def backward(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad()
    inputs = torch.randn(6, next(model.parameters()).shape[1], generator=seeded(seed))
    model(inputs).square().mean().backward()


@few
@given(
    trainings(),
    st.floats(0, 0.7),
    fractions,
    st.sampled_from([True, False, "reset"]),
    st.sampled_from(["random", "gradient"]),
    st.booleans(),
)
def test_regrown_weights_go_on_or_begin_anew_or_do_not_come_back(training, sparsity, fraction, regrow, grow, replace):
    model, optimizer = training
    options = {"regrow": regrow, "grow": grow, "replace_step": replace}
    sparse = Watched(sparsity, fraction=fraction, every=3, until=3, schedule="constant", **options)
    sparse.attach(model, optimizer)
    for step in range(2):
        backward(model, optimizer, step)
        optimizer.step()
    before = sparse.masks
    backward(model, optimizer, 2)
    if not replace:  # where the step comes first, its result is what regrown weights keep
        plain = [p.grad.clone() for p in model.parameters()]
    values = {name: layer.weight.clone() for name, layer in sparse._layers.items()}
    momenta = {
        name: optimizer.state[layer.parameter]["momentum_buffer"].clone() for name, layer in sparse._layers.items()
    }
    if not replace:
        for (name, layer), gradient in zip(sparse._layers.items(), plain[::2], strict=True):
            momenta[name] = (0.9 * momenta[name] + gradient) * layer.mask
            values[name] = values[name] - 0.01 * momenta[name]
    optimizer.step()
    for name, layer in sparse._layers.items():
        survivors = sparse.survived.get(name, before[name])
        again = layer.mask & before[name] & ~survivors
        assert count(layer.mask) == count(before[name])
        assert not (again.any() and regrow is False)
        anew = (layer.mask & ~before[name]) | (again if regrow == "reset" else torch.zeros_like(again))
        goes_on = layer.mask & ~anew
        buffer = optimizer.state[layer.parameter]["momentum_buffer"]
        for now, was in ((layer.weight, values[name]), (buffer, momenta[name])):
            assert (now[anew] == 0).all()
            assert (now[~layer.mask] == 0).all()
            torch.testing.assert_close(now[goes_on], was[goes_on])


@few
@given(
    trainings(),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    fractions,
    st.sampled_from(sorted(SPARSITY_SCHEDULES)),
    st.sampled_from(["uniform", "erk", "global"]),
    st.sampled_from([True, False, "reset"]),
)
def test_counts_are_exact_on_the_way_to_any_target(training, initial, target, fraction, schedule, allocation, regrow):
    """Every step, whether the network becomes sparser or denser, and whether there is room to grow elsewhere or not."""
    model, optimizer = training
    total = sum(p.numel() for p in sw.prunable(model).values())
    assume((1 - max(initial, target)) * total >= len(sw.prunable(model)))
    assume(allocation != "global" or initial <= target)  # a ranking of what is there cannot make more of it
    way = {"initial": initial, "sparsity_schedule": schedule, "every": 2, "stop": 1.0}
    sparse = DynamicSparsifier(target, fraction=fraction, allocation=allocation, regrow=regrow, grow="gradient", **way)
    sparse.attach(model, optimizer, steps=12)
    for step in range(12):
        backward(model, optimizer, step)
        optimizer.step()
        assert sparse.masks.nonzero == round((1 - sparse.sparsity_at(step + 1)) * total)
        sparse.masks.check(model)
        for _, buffer in per_weight_buffers(optimizer, model[0].weight):
            assert (buffer[~sparse.masks["0.weight"]] == 0).all()
    assert sparse.masks.nonzero == round((1 - target) * total)


def training() -> tuple[nn.Module, torch.optim.Optimizer]:
    """The small model, about to be trained."""
    model = small_model()
    return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def test_a_global_ranking_cannot_grow_to_its_target_and_says_so():
    with pytest.raises(sw.InputError, match="global"):
        DynamicSparsifier(0.2, initial=0.5, allocation="global", every=2).attach(*training(), steps=12)


def test_a_global_ranking_that_need_not_grow_is_accepted_at_any_sparsity():
    """The initial sparsity of a method that starts at its target is the target, not one unit in the last place off."""
    for percent in range(100):
        assert make_sparsifier("mest-original", sparsity=percent / 100, allocation="global").initial == percent / 100


@pytest.mark.parametrize("name", ["mest", "granet", "granet-original", "gmp", "acdc"])
def test_a_target_out_of_reach_is_refused_before_training(name):
    """The sparsity that these begin with can be reached, the one that they end with cannot."""
    begin = {"warmup": 3, "phase": 3} if name == "acdc" else {"every": 4, "initial": 0.5}
    sparse = make_sparsifier(name, sparsity=0.99, dense=["6.weight"], **begin)
    with pytest.raises(sw.InputError, match="0.99 cannot be reached"):
        sparse.attach(*training(), steps=24)


@pytest.mark.parametrize("sparsity", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("name", DYNAMIC)
def test_without_regrowth_what_finds_no_free_place_stays(name, sparsity):
    """Half of the weights are to go, and there is not room elsewhere for as many."""
    model, optimizer = training()
    half = {} if name == "gmp" else {"fraction": 0.5}
    sparse = make_sparsifier(name, sparsity=sparsity, every=4, regrow=False, **half)
    sparse.attach(model, optimizer, steps=STEPS)
    train(model, optimizer, range(STEPS), lambda step: assert_invariants(sparse, model, optimizer))
    assert sparse.sparsity == pytest.approx(sparsity, abs=1e-3)


@pytest.mark.parametrize("name", DROP_SCHEDULES)
@few
@given(progress=st.lists(st.floats(0, 1), min_size=2, max_size=9).map(sorted))
def test_drop_schedules_fall_from_one(name, progress):
    schedule = resolve("schedule", name, DROP_SCHEDULES)
    factors = [schedule(p) for p in progress]
    assert all(0 <= later <= earlier <= 1 for earlier, later in pairwise(factors))
    assert schedule(0.0) == 1
    ends = {"constant": 1, "exponential": 0.01, "wsd": 0.1}
    assert schedule(1.0) == pytest.approx(ends.get(name, 0), abs=1e-15)


@pytest.mark.parametrize("name", SPARSITY_SCHEDULES)
@many
@given(st.floats(0, 0.999), st.floats(0, 0.999), st.lists(st.floats(0, 1), min_size=2, max_size=9).map(sorted))
def test_sparsity_schedules_go_one_way_and_meet_both_ends(name, initial, final, progress):
    schedule = resolve("sparsity schedule", name, SPARSITY_SCHEDULES)
    way = [schedule(p, initial, final) for p in progress]
    sign = 1 if final >= initial else -1
    assert all(sign * (later - earlier) >= -1e-15 for earlier, later in pairwise(way))
    assert schedule(0.0, initial, final) == pytest.approx(initial, abs=1e-15)
    assert schedule(1.0, initial, final) == pytest.approx(final, abs=1e-15)


@many
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 150),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.sampled_from(sorted(SPARSITY_SCHEDULES)),
)
def test_sparsity_moves_at_updates_only_and_ends_on_the_target(begin, every, steps, stop, initial, target, schedule):
    sparse = DynamicSparsifier(
        target, initial=initial, begin=begin, every=every, stop=1.0, sparsity_stop=stop, sparsity_schedule=schedule
    )
    sparse.length = Length(steps)
    if begin > int(stop * steps):
        with pytest.raises(sw.InputError, match="so the sparsity cannot go"):
            sparse.prepare()
        return
    sparse.prepare()
    way = [sparse.sparsity_at(step) for step in range(steps + 1)]
    assert way[0] == pytest.approx(initial, abs=1e-15) or begin + every > int(stop * steps)
    assert way[-1] == target
    for step in range(1, steps + 1):
        assert sparse.is_update(step) or way[step] == way[step - 1]
        assert (way[step] - way[step - 1]) * (target - initial) >= 0 or abs(way[step] - way[step - 1]) < 1e-15


@many
@given(st.integers(1, 30), st.integers(1, 30), st.one_of(st.none(), st.integers(0, 100)))
def test_timing_against_enumeration(first, every, end):
    timing, horizon = Timing(first, every, end), 120
    updates = list(range(first, (horizon if end is None else end) + 1, every))
    assert [step for step in range(1, horizon + 1) if timing.is_update(step)] == updates
    assert timing.last == (updates[-1] if updates and end is not None else None)
    for step in range(horizon + 1):
        past = [update for update in updates if update <= step]
        assert timing.latest(step) == (past[-1] if past else None)
        if end is None:
            continue
        share = 1.0 if len(past) == len(updates) else max(len(past) - 1, 0) / max(len(updates) - 1, 1)
        assert timing.progress(step) == pytest.approx(share if updates else 0.0)
    if end is None:
        with pytest.raises(sw.InputError, match="needs the length of training"):
            timing.progress(1)


weights = st.one_of(st.sampled_from([0.0, 1.0, 5e-324, 1e300]), st.floats(0, 100, allow_nan=False))


@many
@given(st.lists(st.tuples(weights, st.integers(0, 40)), min_size=1, max_size=8), st.data())
def test_share_out_is_exact_and_within_room(entries, data):
    parts = {str(i): weight for i, (weight, _) in enumerate(entries)}
    room = {str(i): places for i, (_, places) in enumerate(entries)}
    amount = data.draw(st.integers(0, sum(room.values())))
    shares = share_out(amount, parts, room)
    assert list(shares) == list(parts)
    assert sum(shares.values()) == amount
    assert all(0 <= shares[name] <= room[name] for name in room)
    with pytest.raises(sw.InputError, match="there is room for"):
        share_out(sum(room.values()) + 1, parts, room)


@many
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 200))
@example([18, 1, 1], 11)
def test_with_room_for_all_every_share_is_its_proportion_up_or_down(parts, amount):
    """The docstring's rule: remainders go to the largest fractions, so no share is a whole weight off."""
    assume(any(parts))
    names = {str(i): float(part) for i, part in enumerate(parts)}
    shares = share_out(amount, names, dict.fromkeys(names, amount))
    for name, part in zip(names, parts, strict=True):
        assert abs(shares[name] - Fraction(amount * part, sum(parts))) < 1


@st.composite
def families(draw) -> tuple[list[Tensor], list[Tensor] | None]:
    """Tensors of several shapes with many equal values, and where the choice is open."""
    tensors = [
        values(draw(shapes), draw(st.integers(0, 99)), draw(st.booleans())) for _ in range(draw(st.integers(1, 4)))
    ]
    if draw(st.booleans()):
        return tensors, None
    return tensors, [torch.rand(t.shape, generator=seeded(draw(st.integers(0, 99)))) < 0.6 for t in tensors]


@many
@given(families(), st.data())
def test_joint_masks_against_a_full_sort_with_ties(family, data):
    tensors, among = family
    everywhere = [torch.ones(t.shape, dtype=torch.bool) for t in tensors] if among is None else among
    places = [
        (-value, index, place)  # ties go to the earlier tensor, then to the lower position
        for index, (tensor, open_) in enumerate(zip(tensors, everywhere, strict=True))
        for place, (value, free) in enumerate(zip(tensor.flatten().tolist(), open_.flatten().tolist(), strict=True))
        if free
    ]
    k = data.draw(st.integers(0, len(places)))
    chosen = {(index, place) for _, index, place in sorted(places)[:k]}
    masks = joint_masks(tensors, k, among)
    for index, (mask, tensor) in enumerate(zip(masks, tensors, strict=True)):
        assert mask.shape == tensor.shape
        assert set(mask.flatten().nonzero().flatten().tolist()) == {place for i, place in chosen if i == index}


@pytest.mark.parametrize("limited", [False, True])
def test_joint_masks_of_many_weights_against_a_full_sort(limited):
    """Large enough that thresholds are guessed first, and with ties across the border of two tensors."""
    tensors = [(3 * torch.randn(n, 100, generator=seeded(n))).round() for n in (900, 1500)]
    among = [torch.rand(t.shape, generator=seeded(t.shape[0])) < 0.4 for t in tensors] if limited else None
    pool = torch.cat([t.flatten() for t in tensors])
    open_ = torch.cat([m.flatten() for m in among]).nonzero().squeeze(1) if among else torch.arange(len(pool))
    for k in (1, len(open_) // 10, len(open_) // 2, len(open_) - 1):
        expected = torch.zeros(len(pool), dtype=torch.bool)
        expected[open_[pool[open_].sort(descending=True, stable=True).indices[:k]]] = True
        assert torch.equal(torch.cat([mask.flatten() for mask in joint_masks(tensors, k, among)]), expected)
