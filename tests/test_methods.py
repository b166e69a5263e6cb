"""Each published method on examples small enough to work by hand, and the numbers that its paper or code prints."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sinewy as sw
from sinewy.schedules import cubic_sparsity, exponential_sparsity, polynomial, wsd
from sinewy.sparsify.momentum import share_out
from sinewy.sparsify.timing import Length, in_steps


def linear(*rows: list[float]) -> nn.Linear:
    """Return a layer without bias whose weights are these rows."""
    weight = torch.tensor(rows)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data.copy_(weight)
    return layer


def stack(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def frozen(model: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer that moves nothing, so that only masks do."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


def step(optimizer: torch.optim.Optimizer, **gradients: list[list[float]]) -> None:
    """Take one optimizer step with these gradients of the model's weights, in order; zeros where none is given."""
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.zeros_like(parameter)
    for parameter, gradient in zip(optimizer.param_groups[0]["params"], gradients.values(), strict=False):
        parameter.grad = torch.tensor(gradient)
    optimizer.step()


def kept(sparse: sw.Sparsifier, name: str = "0.weight") -> list[list[int]]:
    return sparse.masks[name].int().tolist()


def bits(*rows: str) -> dict[str, torch.Tensor]:
    return {"0.weight": torch.tensor([[char == "1" for char in row] for row in rows])}


class TestSchedules:
    def test_the_cubic_of_jaxpruner(self):
        assert cubic_sparsity(0.5, 0.0, 0.5) == 0.4375

    def test_exponential_halves_the_density_by_equal_factors(self):
        assert [1 - exponential_sparsity(p, 0.0, 0.75) for p in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0.25])

    def test_the_polynomial_of_wu2025(self):
        assert polynomial(0.5) == pytest.approx(0.993, abs=5e-4)
        assert polynomial(0.99) == pytest.approx(0.955, abs=5e-4)
        assert polynomial(1.0) == 0

    def test_warmup_stable_decay(self):
        assert [wsd(p) for p in (0.0, 0.9, 0.95, 1.0)] == pytest.approx([1, 1, 0.55, 0.1])

    @pytest.mark.parametrize(
        ("moment", "expected"), [(7, 7), ("3ep", 30), ("2 epochs", 20), ("1ep5it", 15), ("40it", 40), (0.25, 50)]
    )
    def test_moments(self, moment, expected):
        assert in_steps("every", moment, Length(steps=200, epoch_steps=10)) == expected

    @pytest.mark.parametrize("moment", [0, -1, 1.5, 0.0, "", "ep", "5 days", True, "0ep", None])
    def test_moments_that_are_none(self, moment):
        with pytest.raises(sw.InputError, match="every must be a number of optimizer steps"):
            in_steps("every", moment, Length(steps=200, epoch_steps=10))

    def test_epochs_without_their_length(self):
        model = stack(linear([1.0, 2.0]))
        with pytest.raises(sw.InputError, match=r"every='1ep' is counted in epochs: .*epoch_steps=len\(train_loader\)"):
            sw.SET(0.5, every="1ep").attach(model, frozen(model), steps=10)

    def test_a_schedule_without_room_for_an_update(self):
        model = stack(linear([1.0, 2.0]))
        with pytest.raises(sw.InputError, match="no update falls between step 100 and 7 of training"):
            sw.GradualMagnitude(0.5).attach(model, frozen(model), steps=10)


class TestDropAndGrow:
    def test_set_as_first_published_drops_by_sign(self):
        # Positives 1 2 3 4, negatives -1 -2 -8 -9: a quarter of each sign goes, the 1 and the -1; by magnitude
        # alone the same two would. With -7 for -1, magnitude takes 1 and 2, but the signs still give one each: 1, -2.
        model = stack(linear([1.0, 2, 3, 4, -7, -2, -8, -9, 0, 0]))
        optimizer = frozen(model)
        sparse = sw.SETOriginal(0.2, every=1, fraction=0.25).attach(model, optimizer, steps=9, masks=bits("1111111100"))
        survivors = sparse.survivors(sparse._layers["0.weight"], None, 8)
        assert survivors.int().tolist() == [[0, 1, 1, 1, 1, 0, 1, 1, 0, 0]]
        step(optimizer)
        assert sparse.masks.nonzero == 8

    def test_set_as_first_published_forgets_the_momentum(self):
        model = stack(nn.Linear(10, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        sw.SETOriginal(0.5, every=2).attach(model, optimizer, steps=9)
        for expected in (True, False, True):
            step(optimizer, w=torch.ones(10, 10).tolist())
            assert bool(optimizer.state.get(model[0].weight)) == expected

    def test_mest_comes_down_to_the_target_along_a_cubic(self):
        model = stack(nn.Linear(100, 100, bias=False))
        optimizer = frozen(model)
        sparse = sw.MEST(0.7, every=10, allocation="uniform").attach(model, optimizer, steps=50)
        found = [sparse.masks.nonzero]
        for _ in range(50):
            step(optimizer)
            found.append(sparse.masks.nonzero)
        # 30 % above which 10 %, of which at updates 1..5 the part (1 - k/4)^3 is left
        expected = [3000 + round(300 * (1 - k / 4) ** 3) for k in range(5)]
        assert found[::10] == [3300, *expected]

    def test_mest_as_first_published_weighs_the_gradient(self):
        model = stack(linear([1.0, 1.1, 2.0, 3.0, 0.0]))
        optimizer = frozen(model)
        options = {"every": 1, "fraction": 0.25, "schedule": "constant", "regrow": False}
        sparse = sw.MESTOriginal(0.2, **options).attach(model, optimizer, steps=9, masks=bits("11110"))
        step(optimizer, w=[[20.0, 0, 0, 0, 0]])  # 1 + 0.01 * 20 > 1.1
        assert kept(sparse) == [[1, 0, 1, 1, 1]]

    def test_granet_as_first_published_prunes_over_all_tensors_then_regenerates_each(self):
        model = stack(linear([9.0, 8, 7, 6, 5, 4], [3.5, 0, 0, 0, 0, 0]), linear([3.0, 2], [1, 0.5]))
        optimizer = frozen(model)
        sparse = sw.GraNetOriginal(0.5, every=1, fraction=0.2, schedule="constant", initial=0.0, sparsity_stop=0.1)
        sparse.attach(model, optimizer, steps=10)
        gradient = [[0.0] * 6, [0, 0, 0, 7, 0, 0]]
        step(optimizer, first=gradient, second=[[0.0, 0], [0, 1]])
        # The only update within a tenth of training: 8 of 16 stay, all in the first tensor but the 3: 9 8 7 6 5 4 3.5.
        # Then ceil(7 / 5) = 2 are dropped there (3.5, 4) and grown where the gradient is (7, then the first free).
        # In the second, ceil(1 / 5) = 1 of 1 goes, and grows where its gradient is.
        assert kept(sparse) == [[1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0]]
        assert kept(sparse, "1.weight") == [[0, 0], [0, 1]]

    def test_granet_of_wu2025_ends_at_half_of_training(self):
        model = stack(nn.Linear(50, 40))
        optimizer = frozen(model)
        sparse = sw.GraNet(0.7, every=5).attach(model, optimizer, steps=100)
        assert sparse.sparsity == pytest.approx(0.2)
        for _ in range(50):
            step(optimizer)
        assert sparse.masks.nonzero == 600
        moved = sparse.moved
        for _ in range(45):
            step(optimizer, w=torch.randn(40, 50).tolist())
        assert sparse.masks.nonzero == 600
        assert sparse.moved > moved

    def test_the_training_factors_of_rigl(self):
        """README of the RigL code, ResNet-50: 0.42x, 0.25x and 0.13x with label smoothing; 0.4157 is computed."""
        sparse = sw.RigL(0.8, every=100)
        sparse.length = Length(steps=1000)
        sparse.prepare()
        assert sparse.training_flops(0.4138, 1.0) / 3 == pytest.approx(0.4157, abs=1e-4)
        assert sparse.training_flops(0.2418, 1.0) / 3 == pytest.approx(0.2443, abs=1e-4)
        assert sparse.training_flops(0.1217, 1.0) / 3 == pytest.approx(0.1246, abs=1e-4)


class TestGradual:
    def test_gradual_pruning_keeps_the_largest_of_each_tensor(self):
        model = stack(linear([1.0, -4, 2, 3]), linear([10.0], [20], [30], [40]))
        optimizer = frozen(model)
        sparse = sw.GradualMagnitude(0.5, every=1, until=2).attach(model, optimizer, steps=3)
        step(optimizer)
        assert sparse.sparsity == 0  # the schedule is at its start
        step(optimizer)
        assert kept(sparse) == [[0, 1, 0, 1]]
        assert kept(sparse, "1.weight") == [[0], [0], [1], [1]]

    def test_global_gradual_pruning_ranks_all_together(self):
        model = stack(linear([1.0, -4, 2, 3]), linear([10.0], [20], [30], [40]))
        optimizer = frozen(model)
        sparse = sw.GradualMagnitude(0.375, every=1, until=2, allocation="global").attach(model, optimizer, steps=3)
        for _ in range(2):
            step(optimizer)
        assert kept(sparse) == [[0, 1, 0, 0]]
        assert sparse.masks.counts == {"0.weight": 1, "1.weight": 4}

    def test_what_is_pruned_gradually_never_comes_back(self):
        model = stack(nn.Linear(30, 30))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        sparse = sw.GradualMagnitude(0.9, every=2, sparsity_schedule="exponential").attach(model, optimizer, steps=40)
        before = sparse.masks["0.weight"].clone()
        for _ in range(40):
            step(optimizer, w=torch.randn(30, 30).tolist())
            now = sparse.masks["0.weight"]
            assert not (now & ~before).any()
            before = now.clone()
        assert int(before.sum()) == 90

    def test_the_phases_of_acdc_on_imagenet(self):
        """100 epochs: sparse from 10, 20, ..., 70 and 85, dense from 15, ..., 65 and 75; half of all epochs each."""
        sparse = sw.ACDC(0.9)
        sparse.length = Length(steps=100)
        sparse.prepare()
        sparse_from = [epoch for epoch, turn in sparse._turns.items() if turn]
        assert sparse_from == [10, 20, 30, 40, 50, 60, 70, 85]
        assert sum(sparse.sparsity_at(epoch) > 0 for epoch in range(100)) == 50
        assert sparse.training_flops(0.25, 1.0) == pytest.approx(3 * (0.5 * 0.25 + 0.5))

    def test_acdc_chooses_over_all_tensors_and_lets_everything_train_again(self):
        model = stack(linear([5.0, 1], [2, 3]), linear([4.0, 0.5]))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
        sparse = sw.ACDC(0.5, warmup=1, phase=2, last_dense=5, final=6).attach(model, optimizer, steps=9)
        step(optimizer)
        assert kept(sparse) == [[1, 0], [0, 1]]
        assert kept(sparse, "1.weight") == [[1, 0]]
        for expected in (0.5, 0.0):
            step(optimizer, first=[[0.0, 1], [0, 0]])
            assert sparse.sparsity == expected
        assert not optimizer.state[model[0].weight]  # forgotten at the start of the dense phase
        assert model[0].weight.tolist() == [[5, 0], [0, 3]]
        step(optimizer, first=[[0.0, 1], [0, 0]])
        assert model[0].weight.tolist() == [[5, -1], [0, 3]]

    def test_acdc_phases_that_do_not_fit(self):
        model = stack(linear([1.0, 2.0]))
        with pytest.raises(sw.InputError, match="the phases of AC/DC .* must be at least a step long and in order"):
            sw.ACDC(0.5).attach(model, frozen(model), steps=5)


class TestMomentum:
    def test_weights_move_to_the_tensor_with_the_largest_mean_momentum(self):
        model = stack(linear([5.0, 1, 0, 0]), linear([6.0], [2], [0], [0]))
        optimizer = frozen(model)
        masks = {"0.weight": model[0].weight != 0, "1.weight": model[1].weight != 0}
        sparse = sw.SNFS(0.5, every=1, fraction=0.5, schedule="constant", momentum=0.0)
        sparse.attach(model, optimizer, steps=9, masks=masks)
        # Of 2 + 2 kept, 1 + 1 go. Mean momenta of the kept: (3 + 3) / 2 and (1 + 1) / 2, so 1.5 and 0.5 of 2 to share;
        # the half that is left goes to the first of the two.
        step(optimizer, first=[[3.0, 3, 2, 4]], second=[[1.0], [1], [0], [0]])
        assert kept(sparse) == [[1, 1, 0, 1]]
        assert kept(sparse, "1.weight") == [[1], [0], [0], [0]]

    def test_the_momentum_is_a_running_mean_of_dense_gradients(self):
        model = stack(linear([5.0, 0]))
        optimizer = frozen(model)
        sparse = sw.SNFS(0.5, every=9, momentum=0.5).attach(model, optimizer, steps=9, masks=bits("10"))
        step(optimizer, w=[[2.0, 4]])
        step(optimizer, w=[[0.0, 4]])
        assert sparse._layers["0.weight"].memory["momentum"].tolist() == [[0.5, 3.0]]

    @pytest.mark.parametrize(
        ("amount", "weights", "room", "expected"),
        [
            (4, [3, 1], [9, 9], [3, 1]),
            (2, [3, 1], [9, 9], [2, 0]),
            (10, [3, 1], [2, 9], [2, 8]),
            (3, [0, 0], [9, 9], [2, 1]),
            (0, [1, 2], [0, 0], [0, 0]),
        ],
    )
    def test_sharing_out(self, amount, weights, room, expected):
        names = "ab"
        shares = share_out(amount, dict(zip(names, weights, strict=True)), dict(zip(names, room, strict=True)))
        assert sum(shares.values()) == amount
        assert list(shares.values()) == expected


class TestTopKAST:
    def build(self, **options):
        model = stack(linear([4.0, 3, 2, 1]))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        sparse = sw.TopKAST(0.75, backward_sparsity=0.5, every=2, penalty=0.0, **options)
        return model, optimizer, sparse.attach(model, optimizer, steps=10)

    def test_explored_weights_train_outside_of_the_forward_pass(self):
        model, optimizer, sparse = self.build()
        assert model[0].weight.tolist() == [[4, 0, 0, 0]]
        assert sparse.trained["0.weight"].int().tolist() == [[1, 1, 0, 0]]
        step(optimizer, w=[[1.0, -3, -9, -9]])
        assert model[0].weight.tolist() == [[3, 0, 0, 0]]
        step(optimizer, w=[[0.0, 0, 0, 0]])  # 3 against 6: they change places
        assert model[0].weight.tolist() == [[0, 6, 0, 0]]
        assert sparse.masks.counts == {"0.weight": 1}

    def test_resting_weights_keep_their_value_and_come_back(self):
        model, optimizer, sparse = self.build()
        step(optimizer, w=[[3.5, 2.5, 0, 0]])
        step(optimizer, w=[[0.0, 0, 0, 0]])  # 0.5 0.5 2 1: what rested is now the largest
        assert model[0].weight.tolist() == [[0, 0, 2, 0]]
        assert sparse.trained["0.weight"].int().tolist() == [[0, 0, 1, 1]]

    def test_the_penalty_weighs_more_on_explored_weights(self):
        model = stack(linear([4.0, 3, 2, 1]))
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        sparse = sw.TopKAST(0.75, backward_sparsity=0.5, every=9, penalty=0.01).attach(model, optimizer, steps=10)
        step(optimizer)
        assert model[0].weight[0, 0].item() == pytest.approx(4 - 2 * 0.01 * 4)
        resting = sparse._layers["0.weight"].memory["resting"][0].tolist()
        assert resting == pytest.approx([0, 3 - 2 * 0.01 * 4 * 3, 2, 1])

    def test_without_exploration_the_sets_are_one(self):
        _, optimizer, sparse = self.build(explore_until=2)
        for _ in range(2):
            step(optimizer)
        assert torch.equal(sparse.trained["0.weight"], sparse.masks["0.weight"])


class TestHebbian:
    def mlp(self, width=12, seed=0) -> nn.Module:
        torch.manual_seed(seed)
        return stack(
            nn.Flatten(), nn.Linear(12, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
        )

    def test_the_output_layer_stays_dense_and_does_not_count(self):
        model = self.mlp()
        sparse = sw.CHTs(0.75, every=2).attach(model, frozen(model), steps=10)
        assert list(sparse.masks) == ["1.weight", "3.weight"]
        assert sparse.masks.counts == {"1.weight": 36, "3.weight": 36}

    @pytest.mark.parametrize("method", [sw.CHT, sw.CHTs])
    @pytest.mark.parametrize("topology", ["random", "small-world", "scale-free"])
    def test_links_grow_and_none_leads_nowhere_for_long(self, method, topology):
        model = self.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        sparse = method(0.75, every=1, early_stop=1.0, topology=topology).attach(model, optimizer, steps=30)
        generator = torch.Generator().manual_seed(0)
        for _ in range(29):
            optimizer.zero_grad()
            x, y = torch.randn(8, 12, generator=generator), torch.randint(3, (8,), generator=generator)
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            assert sparse.masks.counts == {"1.weight": 36, "3.weight": 36}
        assert sparse.moved > 0

    def test_one_update_by_hand(self):
        """Output 0 has inputs 0 and 1, output 1 has 1 and 2, output 2 has 3, by a link of magnitude 0.1, which goes.

        The path 0-1-1-2 calls for 0-2, and 1-1-0-0 for 1-0, equally: the first of them grows.
        """
        model = stack(linear([1.0, 2, 0, 0], [0, 3, 4, 0], [0, 0, 0, 0.1]))
        sparse = sw.CHT(0.5, every=1, fraction=0.2, dense_output=False, weights=None, remove_chains=False)
        optimizer = frozen(model)
        sparse.attach(model, optimizer, steps=9, masks={"0.weight": model[0].weight != 0})
        step(optimizer)
        assert kept(sparse) == [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]

    def test_chains_are_found_only_where_one_layer_follows_another(self):
        from sinewy.topology.feedforward import chains

        vgg = sw.models.build("vgg11", classes=4)
        found = chains(vgg, sw.prunable(vgg))
        assert [len(run) for run in found] == [11]
        resnet = sw.models.build("resnet20", classes=4)
        assert chains(resnet, sw.prunable(resnet)) == []

    def test_links_out_of_a_dead_neuron_go(self):
        model = stack(linear([1.0, 1], [0, 0]), nn.ReLU(), linear([1.0, 5], [1, 5]), nn.Linear(2, 2))
        masks = {"0.weight": model[0].weight != 0, "2.weight": torch.tensor([[True, True], [False, True]])}
        optimizer = frozen(model)
        sparse = sw.CHT(0.3, every=1, fraction=0.0, weights=None, regrow="reset")
        sparse.attach(model, optimizer, steps=9, masks=masks)
        step(optimizer)
        # Neuron 1 has no input: both links out of it go, the fives. Of two that grow instead, none has a value yet.
        assert sparse.masks.counts == {"0.weight": 2, "2.weight": 3}
        assert model[2].weight.flatten().sort().values.tolist() == [0, 0, 0, 1]

    def test_a_tensor_that_regrows_what_it_dropped_settles(self):
        model = self.mlp()
        optimizer = frozen(model)
        sparse = sw.CHT(0.1, every=1, fraction=0.02, early_stop=0.4).attach(model, optimizer, steps=50)
        for _ in range(49):
            step(optimizer)
        assert all("settled" in layer.memory for layer in sparse._layers.values())
        moved = sparse.moved
        step(optimizer)
        assert sparse.moved == moved

    def test_sparse_weight_initialisation_keeps_the_variance_of_the_outputs(self):
        torch.manual_seed(0)
        model = stack(nn.Linear(400, 400), nn.Linear(400, 3))
        sparse = sw.CHTs(0.9, every=1).attach(model, frozen(model), steps=5)
        alive = model[0].weight[sparse.masks["0.weight"]]
        assert alive.std().item() == pytest.approx(math.sqrt(2 / (400 * 0.1)), rel=0.02)
        assert alive.mean().item() == pytest.approx(0, abs=0.01)

    def test_the_initial_graph_follows_the_correlation_of_the_inputs(self):
        torch.manual_seed(0)
        base = torch.rand(200, 6)
        images = torch.cat([base, base + 0.01 * torch.rand(200, 6)], 1).reshape(200, 3, 2, 2)
        model = self.mlp()
        sparse = sw.CHTs(11 / 12, every=1, topology="correlated").attach(model, frozen(model), steps=5, data=images)
        pairs = torch.zeros(12, 12, dtype=torch.bool)
        pairs[torch.arange(12), (torch.arange(12) + 6) % 12] = True
        assert torch.equal(sparse.masks["1.weight"], pairs)
        assert torch.equal(sparse.masks["3.weight"], pairs)
        assert model.training

    def test_correlation_needs_inputs_and_linear_layers(self):
        model = self.mlp()
        with pytest.raises(sw.InputError, match=r"needs the training inputs: attach\(model, optimizer, data=images\)"):
            sw.CHTs(0.5, every=1, topology="correlated").attach(model, frozen(model), steps=5)
        conv = stack(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        with pytest.raises(sw.InputError, match="is for linear layers, and 0.weight has shape"):
            sw.CHTs(0.5, every=1, topology="correlated").attach(
                conv, frozen(conv), steps=5, data=torch.rand(9, 3, 3, 3)
            )

    def test_grouped_convolutions_are_refused_by_name(self):
        model = stack(nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 2))
        with pytest.raises(sw.InputError, match=r"0 is a grouped convolution.*exclude=\['0\.weight'\]"):
            sw.CHTs(0.5, every=1).attach(model, frozen(model), steps=5)
