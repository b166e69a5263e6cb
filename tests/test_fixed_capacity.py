"""Fixed capacity: sharing a budget of weights, masks that meet it exactly, and re-drawn weights."""

from __future__ import annotations

import io
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

import sinewy as sw
from sinewy.allocation import counts
from sinewy.capacity import proportional, prunable_count, water_filling
from sinewy.models import build
from sinewy.recipe import Recipe, parse
from sinewy.sparsify.fixed_capacity import FixedCapacity
from sinewy.sparsify.make import make_sparsifier

quiet = pytest.mark.filterwarnings("ignore:the masks leave parts unconnected")
PATH = "sinewy.sparsify.fixed_capacity:FixedCapacity"
SMALL = {"classes": 4, "image_size": 4, "depth": 1, "batch_norm": False}


def filled(sizes, budget, how=water_filling):
    """Return the whole numbers of weights that an allocation leaves, in order, by way of `counts`."""
    parameters = {f"layer{index}": torch.empty(size) for index, size in enumerate(sizes)}
    densities = how(parameters, budget / sum(sizes))
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    return list(counts({name: 1 - density for name, density in densities.items()}, shapes).values())


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (1110, [10, 100, 1000]),  # nothing to shave
        (1109, [10, 100, 999]),
        (500, [10, 100, 390]),  # 500 - 10 - 100
        (211, [10, 100, 101]),
        (210, [10, 100, 100]),  # the largest is down to the second
        (209, [10, 100, 99]),  # 199 on two: level 100, and the largest is one short
        (208, [10, 99, 99]),
        (110, [10, 50, 50]),
        (31, [10, 11, 10]),
        (30, [10, 10, 10]),  # all three at one level
        (11, [4, 4, 3]),  # 3 x 4 - 1
        (10, [4, 4, 2]),  # 3 x 4 - 2, both from the largest
        (4, [2, 1, 1]),  # 3 x 2 - 2, but a tensor keeps one weight
        (3, [1, 1, 1]),
    ],
)
def test_water_filling_of_ten_a_hundred_a_thousand(budget, expected):
    assert filled((10, 100, 1000), budget) == expected


@pytest.mark.parametrize(
    ("sizes", "frozen", "expected"),
    [
        ((100, 10, 100), 1, [99, 10, 100]),  # of equal tensors the first gives what is left over
        ((10, 100, 100, 100), 4, [10, 98, 99, 99]),  # one each, one more of the first
        ((300, 10, 200, 200), 101, [199, 10, 200, 200]),  # 100 of the largest, no third of the one left
        ((300, 10, 200, 200), 104, [198, 10, 199, 199]),
    ],
)
def test_remainder_goes_to_the_largest_as_in_the_published_code(sizes, frozen, expected):
    assert filled(sizes, sum(sizes) - frozen) == expected


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=7), st.data())
def test_water_filling_against_shaving_one_weight_at_a_time(sizes, data):
    budget = data.draw(st.integers(len(sizes), sum(sizes)))
    one_by_one = list(sizes)
    for _ in range(sum(sizes) - budget):
        one_by_one[one_by_one.index(max(one_by_one))] -= 1
    found = filled(sizes, budget)
    assert sum(found) == budget
    assert min(found) >= 1
    caps = [min(size, max(one_by_one)) for size in sizes]
    assert all(kept <= cap for kept, cap in zip(found, caps, strict=True))
    assert sum(caps) - budget < len(sizes)  # all but a remainder are whole, or at one common level
    largest_first = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    for larger, next_one in itertools.pairwise(largest_first):
        assert found[next_one] == caps[next_one] or found[larger] == 1


def test_water_filling_through_allocate_with_a_dense_layer():
    model = build("mlp", classes=10, image_size=4, width=20, depth=2)  # 960, 400 and 200 weights
    how = {"how": "sinewy.capacity:water_filling"}
    kept = {n: round(p.numel() * (1 - sw.allocate(model, 0.5, **how)[n])) for n, p in sw.prunable(model).items()}
    assert list(kept.values()) == [290, 290, 200]  # 780 - 200 on two
    kept = {
        n: round(p.numel() * (1 - sw.allocate(model, 0.5, **how, dense=["4.weight"])[n]))
        for n, p in sw.prunable(model).items()
    }
    assert list(kept.values()) == [190, 400, 190]  # 780 - 400 on two


def test_proportional_is_the_same_share_everywhere():
    assert filled((10, 100, 1000), 333, proportional) == [3, 30, 300]
    assert filled((7, 11, 13), 16, proportional) in ([4, 6, 6], [4, 5, 7], [3, 6, 7])
    assert sum(filled((7, 11, 13), 16, proportional)) == 16


def test_prunable_count():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    assert prunable_count(model) == 3 * 4 * 9 + 16 * 5
    assert prunable_count(model, exclude=[nn.Conv2d]) == 80
    assert prunable_count(model, include=["0.*"]) == 108


def attached(model, **options):
    return FixedCapacity(**options).attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize(
    ("base", "larger", "density"),
    [  # Timpl et al. 2022 names the families; the densities follow from the weights of convolutions and linear layers
        ({"name": "mlp", "depth": 1, "width": 128}, {"width": 512}, 0.25),
        ({"name": "mlp", "depth": 1, "width": 128}, {"width": 1024}, 0.125),
        ({"name": "mlp", "depth": 1}, {"depth": 2}, 0.8575),
        ({"name": "mlp", "depth": 1}, {"depth": 4}, 0.6674),
        ({"name": "mlp", "depth": 1}, {"depth": 8}, 0.4623),
        ({"name": "vgg11", "width": 16, "head": 0}, {"width": 32}, 0.2504),
        ({"name": "vgg11", "width": 16, "head": 0}, {"width": 64}, 0.0626),
        ({"name": "vgg11", "head": 0}, {"name": "vgg16"}, 0.6267),
        ({"name": "resnet18", "width": 16}, {"width": 64}, 0.0626),
    ],
)
def test_as_many_weights_as_the_base(base, larger, density):
    model = build(**{**base, **larger}, classes=10)
    sparse = attached(model, base=base)
    assert sparse.masks.nonzero == prunable_count(build(**base, classes=10))
    assert 1 - sparse.sparsity == pytest.approx(density, abs=5e-5)
    sparse.masks.check(model)


@quiet
@pytest.mark.parametrize("form", ["water-filling", "proportional"])
def test_the_number_holds_through_training(form):
    model = build("mlp", width=40, **SMALL)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    sparse = FixedCapacity(base={"name": "mlp", "width": 10, "depth": 1}, form=form, seed=3).attach(model, optimizer)
    counts_before = sparse.masks.counts
    # 48 x 10 + 10 x 4 = 520 of 48 x 40 + 40 x 4
    assert list(counts_before.values()) == ([360, 160] if form == "water-filling" else [480, 40])
    for step in range(5):
        images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), torch.arange(8) % 4).backward()
        optimizer.step()
        sparse.masks.check(model)
    assert sparse.masks.counts == counts_before
    assert sum(int((p != 0).sum()) for p in sw.prunable(model).values()) == 520


@quiet
def test_own_rule_and_dense_patterns():
    model = build("mlp", width=40, **SMALL)
    sparse = attached(model, capacity=520, form="sinewy.allocation:uniform")
    assert list(sparse.masks.counts.values()) == [480, 40]
    sparse = attached(build("mlp", width=40, **SMALL), capacity=520, form="proportional", dense=["3.*"])
    assert list(sparse.masks.counts.values()) == [360, 160]


def test_equal_capacity_stays_dense_with_its_own_weights():
    model, same = (build("mlp", width=20, **SMALL) for _ in range(2))
    sparse = attached(model, base={"name": "mlp", "width": 20, "depth": 1})
    assert sparse.sparsity == 0
    assert all(torch.equal(model.state_dict()[key], value) for key, value in same.state_dict().items())


def test_classes_and_image_size_come_from_the_model_unless_said():
    wide = build("mlp", classes=7, image_size=28, width=64)
    assert attached(wide, base={"name": "mlp", "width": 32}).masks.nonzero == 2352 * 32 + 32 * 32 + 32 * 7
    wide = build("mlp", classes=7, image_size=28, width=64)
    told = attached(wide, base={"name": "mlp", "width": 32, "image_size": 20, "classes": 3})
    assert told.masks.nonzero == 1200 * 32 + 32 * 32 + 32 * 3
    wide = build("resnet20", classes=5)
    assert attached(wide, base="convnet").masks.nonzero == 93_664 - 5 * 64
    wide = build("vgg11", classes=5, width=16)
    with pytest.raises(sw.InputError, match="image_size of base lenet5; give it there"):
        attached(wide, base="lenet5")
    assert attached(wide, base={"name": "lenet5", "image_size": 32}).masks.nonzero == 450 + 2400 + 48_000 + 10_080 + 420


def test_include_and_exclude_count_in_both_networks():
    model = build("resnet18", classes=10, width=16)
    sparse = attached(model, base={"name": "resnet18", "width": 8}, exclude=["conv1.*", "fc.*"])
    assert sparse.masks.nonzero == prunable_count(build("resnet18", classes=10, width=8), exclude=["conv1.*", "fc.*"])
    with pytest.raises(sw.InputError, match=r"base mlp: no weight matches 'layer4.\*'.*Or give its weights"):
        attached(build("resnet18", classes=10, width=16), base={"name": "mlp", "image_size": 8}, exclude=["layer4.*"])


def weights_of(model, name):
    return dict(model.named_parameters())[name].detach()


def test_connectivity_init_is_uniform_within_the_bound_of_the_kept_inputs():
    model, dense = (build("mlp", width=400, **SMALL) for _ in range(2))
    sparse = attached(model, capacity=4800 + 1600, seed=1)  # a quarter of the first layer, all of the second
    bound = 1 / math.sqrt(48 * 0.25)
    assert sparse.masks.counts == {"1.weight": 4800, "3.weight": 1600}
    kept = weights_of(model, "1.weight")[sparse.masks["1.weight"]]
    assert kstest(kept.numpy(), "uniform", (-bound, 2 * bound)).pvalue > 0.01
    bias = weights_of(model, "1.bias")
    assert kstest(bias.numpy(), "uniform", (-bound, 2 * bound)).pvalue > 0.01
    for name in ("3.weight", "3.bias"):
        assert torch.equal(weights_of(model, name), weights_of(dense, name))


def test_connectivity_init_of_a_convolution_counts_the_kernel():
    model = nn.Sequential(nn.Conv2d(8, 64, 3, groups=2), nn.Flatten(), nn.Linear(64, 2))
    sparse = attached(model, capacity=1152 + 128)  # half of 64 x 4 x 9
    kept = weights_of(model, "0.weight")[sparse.masks["0.weight"]]
    bound = 1 / math.sqrt(4 * 9 * 0.5)
    assert kstest(kept.numpy(), "uniform", (-bound, 2 * bound)).pvalue > 0.01


def test_ntk_init_is_normal_in_every_layer():
    model = build("mlp", width=400, **SMALL)
    sparse = attached(model, capacity=6400, init="ntk", seed=2)
    for name, density in (("1.weight", 0.25), ("3.weight", 1.0)):
        kept = weights_of(model, name)[sparse.masks[name]]
        scale = 1 / math.sqrt(weights_of(model, name).shape[1] * density)
        assert kstest(kept.numpy(), "norm", (0, scale)).pvalue > 0.01
    sparse.masks.check(model)


def test_init_none_and_given_masks_leave_the_weights():
    dense = build("mlp", width=400, **SMALL)
    for masks in (
        None,
        sw.Masks.random({"1.weight": (400, 48), "3.weight": (4, 400)}, {"1.weight": 4800, "3.weight": 1600}, seed=5),
    ):
        model = build("mlp", width=400, **SMALL)
        method = FixedCapacity(capacity=6400, init="connectivity" if masks else None)
        sparse = method.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), masks=masks)
        assert torch.equal(weights_of(model, "1.weight"), weights_of(dense, "1.weight") * sparse.masks["1.weight"])
        assert torch.equal(weights_of(model, "1.bias"), weights_of(dense, "1.bias"))
        assert sparse.target == pytest.approx(1 - 6400 / 20_800)


def test_masks_and_weights_depend_on_the_seed_only():
    def state(seed):
        model = build("mlp", width=400, **SMALL)
        torch.rand(3)
        attached(model, capacity=6400, seed=seed)
        return model.state_dict()["1.weight"]

    random_state = torch.random.get_rng_state()
    first = state(1)
    torch.random.set_rng_state(random_state)
    torch.rand(11)
    assert torch.equal(first, state(1))
    other = state(2)
    assert not torch.equal(first, other)
    assert not torch.equal(first != 0, other != 0)


def test_drawn_weights_differ_between_seeds_and_layers():
    values = []
    for seed in (0, 1):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        attached(model, capacity=32, init="ntk", seed=seed)
        values += [model[0].weight.detach(), model[1].weight.detach()]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(values, 2))


def test_channels_last_weights_get_the_same_values():
    plain, last = (build("vgg11", classes=3, width=8) for _ in range(2))
    last = last.to(memory_format=torch.channels_last)
    attached(plain, base={"name": "vgg11", "width": 4})
    attached(last, base={"name": "vgg11", "width": 4})
    assert all(torch.equal(plain.state_dict()[key], value) for key, value in last.state_dict().items())


def test_state_goes_on_and_another_base_is_refused():
    sparse = attached(build("mlp", width=40, **SMALL), base={"name": "mlp", "width": 10, "depth": 1}, seed=4)
    file = io.BytesIO()
    torch.save(sparse.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = attached(build("mlp", width=40, **SMALL), base={"depth": 1, "width": 10, "name": "mlp"}, seed=4)
    again.load_state_dict(state)
    assert again.masks.hash == sparse.masks.hash
    other = attached(build("mlp", width=40, **SMALL), base={"name": "mlp", "width": 11, "depth": 1}, seed=4)
    with pytest.raises(sw.InputError, match="the state was saved with"):
        other.load_state_dict(state)


def test_attaching_twice_leaves_the_first_as_it_was():
    sparse = attached(build("mlp", width=40, **SMALL), capacity=520)
    other = build("mlp", width=80, **SMALL)
    before = sparse.target
    with pytest.raises(sw.InputError, match="attached already"):
        sparse.attach(other, torch.optim.SGD(other.parameters(), lr=0.1))
    assert sparse.target == before == pytest.approx(1 - 520 / 2080)


def test_in_a_recipe():
    recipe = parse(
        Recipe,
        {
            "model": {"name": "mlp", "depth": 1},
            "data": "digits",
            "sparsifier": {"name": PATH, "base": {"name": "mlp", "width": 100, "depth": 1}},
            "grid": {"model.width": [100, 200, 400]},
        },
        "the test",
    )
    reached = []
    for cell in recipe.cells():
        if cell.sparsifier.name == PATH:
            model = build(cell.model.name, classes=10, **cell.model.options)
            method = make_sparsifier(cell.sparsifier.name, seed=cell.seed, **cell.sparsifier.options)
            sparse = method.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
            reached.append((round(sparse.sparsity, 6), sparse.masks.nonzero))
    assert reached == [(0, 308_200), (0.5, 308_200), (0.75, 308_200)]


def test_learns_the_digits_at_an_eighth_of_the_weights():
    model = build("mlp", classes=10, width=128, depth=1)
    trained = sw.fit(model, "digits", FixedCapacity(base={"name": "mlp", "width": 16, "depth": 1}), epochs=2, batch=32)
    assert trained.masks.nonzero == 16 * (3072 + 10)
    trained.masks.check(trained.model)
    assert trained.history[-1].train_accuracy > 0.9


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "one of the two"),
        ({"capacity": 5, "base": "mlp"}, "one of the two"),
        ({"sparsity": 0.9, "capacity": 5}, "follows from capacity or base"),
        ({"capacity": 0}, "at least 1; got 0"),
        ({"capacity": 5.5}, "got 5.5"),
        ({"capacity": True}, "got True"),
        ({"capacity": 5, "form": "water-fall"}, "Did you mean 'water-filling'"),
        ({"capacity": 5, "init": "kaiming"}, "'connectivity', 'ntk' or None; got 'kaiming'"),
        ({"base": {"width": 3}}, "base names a network"),
        ({"base": 268_336}, "base names a network"),
        ({"base": "mpl"}, "Did you mean 'mlp'"),
    ],
)
def test_refused_when_made(options, says):
    with pytest.raises(sw.InputError, match=says):
        FixedCapacity(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"capacity": 2081}, "2,080 prunable weights, fewer than the capacity of 2,081"),
        ({"base": {"name": "mlp", "width": 41, "depth": 1}}, "2,080 prunable weights.*capacity of 2,132"),
        ({"base": {"name": "mlp", "widht": 4}}, "widht"),
        ({"capacity": 1}, "each tensor keeps at least one weight"),
    ],
)
def test_refused_when_attached(options, says):
    model = build("mlp", width=40, **SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(sw.InputError, match=says):
        attached(model, **options)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_ntk_is_for_fully_connected_networks():
    with pytest.raises(sw.InputError, match="fully connected"):
        attached(build("vgg11", classes=3, width=4), capacity=1000, init="ntk")


def test_neurons_that_the_masks_cut_off_are_told_once():
    model = build("mlp", width=400, **SMALL)
    with pytest.warns(UserWarning, match=r"1: \d+ of 400 neurons have no incoming weight") as caught:
        attached(model, capacity=300)
    assert len(caught) == 1
    assert caught[0].filename == __file__
