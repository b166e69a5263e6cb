"""Methods that prune once, early, in rounds or by scores: worked examples, and what a run of `fit` makes of them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sinewy as sw
from sinewy.sparsify.rounds import geometric
from sinewy.sparsify.timing import Length
from sinewy.train import Interrupted
from test_sparsify import batch, loss_of, small_model, train
from test_train import OPTIONS, after, bits, network, stripes

pytestmark = [
    pytest.mark.filterwarnings("ignore:the masks leave parts unconnected"),
    pytest.mark.filterwarnings("ignore:no weight of"),
]
FIT = OPTIONS | {"epochs": 2}
"""Two epochs of eight steps."""


@pytest.fixture(scope="module")
def data():
    return sw.data.Splits(stripes(128, "train", 0), stripes(32, "validation", 1), stripes(40, "test", 2))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def run(sparse: sw.Sparsifier, steps: int, after=lambda step: None, **options) -> nn.Module:
    model = small_model()
    optimizer = sgd(model)
    sparse.attach(model, optimizer, steps=steps, **options)
    train(model, optimizer, range(steps), after)
    return model


class TestIMP:
    def test_each_round_takes_its_share_of_what_is_left(self):
        assert geometric(0.488, 0.2) == pytest.approx((0.2, 0.36, 0.488))
        assert geometric(0.5, 0.2) == pytest.approx((0.2, 0.36, 0.488, 0.5))
        assert geometric(1 - 0.8**3, 0.2) == pytest.approx((0.2, 0.36, 1 - 0.8**3))
        assert geometric(0.1, 0.2) == (0.1,)
        assert geometric(0.0, 0.2) == ()

    def test_counts_level_by_level(self):
        sparse, kept = sw.IMP(0.488, fraction=0.2), []
        run(sparse, 24, lambda step: kept.append(sparse.masks.nonzero))
        total = sparse.masks.total
        levels = [total, *(round(total * 0.8**level) for level in (1, 2)), round(total * 0.512)]
        assert sorted(set(kept), reverse=True) == levels
        assert [kept.index(level) for level in levels] == [0, 5, 11, 17]  # pruned after steps 6, 12 and 18

    def test_positions_of_rounds_that_go_back_to_step_2(self):
        sparse = sw.IMP(0.75, fraction=0.5, rewind=2)
        assert sparse.rounds == 3
        assert sparse.total_steps(Length(6, 3)) == 6 + 4 + 4
        run(sparse, 14)
        assert [sparse.position(step) for step in range(14)] == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4, 5]
        assert [step for step in range(1, 15) if sparse.is_update(step)] == [2, 6, 10]  # at 2 weights are kept

    def test_rewinding_in_epochs_and_shares(self):
        for rewind, expected in ((0, 32), ("1ep", 24), (0.25, 28), ("1ep2it", 22)):
            assert sw.IMP(0.2, rewind=rewind).total_steps(Length(16, 8)) == expected

    def test_weights_go_back_and_the_next_round_is_that_of_a_fresh_optimizer(self):
        """By hand: six steps, keep the larger half of |w|, put back the weights after step 2, train steps 2 to 5."""
        model = small_model()
        optimizer = sgd(model)
        kept_at = {}

        def keep(step):
            if step == 1:
                kept_at["two"] = copy.deepcopy(model.state_dict())

        train(model, optimizer, range(6), keep)
        names = ("0.weight", "4.weight", "6.weight")
        sizes = torch.cat([model.get_parameter(name).detach().abs().flatten() for name in names])
        threshold = sizes.sort(descending=True).values[round(len(sizes) / 2) - 1]
        masks = {name: model.get_parameter(name).detach().abs() >= threshold for name in names}
        model.load_state_dict(kept_at["two"])
        again = sgd(model)
        sw.Static(0.5).attach(model, again, masks=masks)
        train(model, again, range(2, 6))

        ours = small_model()
        optimizer = sgd(ours)
        sparse = sw.IMP(0.5, fraction=0.5, rewind=2).attach(ours, optimizer, steps=10)
        for step in range(10):
            optimizer.zero_grad()
            loss_of(ours, sparse.position(step)).backward()
            optimizer.step()
        assert sparse.masks.distance(masks) == 0
        assert bits(ours) == bits(model)

    def test_learning_rate_rewinding_keeps_the_weights(self):
        seen = {}
        sparse = sw.IMP(0.5, fraction=0.5, restore=False)
        model = small_model()
        optimizer = sgd(model)
        sparse.attach(model, optimizer, steps=12)
        sparse.on_round_end = lambda number: seen.update({number: model[4].weight.detach().clone()})
        train(model, optimizer, range(6))
        mask = sparse.masks["4.weight"]
        assert torch.equal(model[4].weight[mask], seen[0][mask])
        assert not model[4].weight[~mask].any()
        assert not optimizer.state

    def test_a_reference_that_is_retrained_alike(self, data):
        pruned, reference = (sw.PruneRetrain(0.5, levels=[0.3, 0.5], prunes=prunes) for prunes in (True, False))
        runs = [sw.fit(network(), data, method, **FIT) for method in (pruned, reference)]
        assert [len(run.history) for run in runs] == [6, 6]
        assert [row.learning_rate for row in runs[0].history] == [row.learning_rate for row in runs[1].history]
        assert [round(row.sparsity, 2) for row in runs[0].history] == [0, 0.3, 0.3, 0.5, 0.5, 0.5]
        assert runs[1].masks.sparsity == 0

    def test_bad_input(self):
        with pytest.raises(sw.InputError, match=r"rising sparsities above 0 that end with the target 0\.6; got"):
            sw.PruneRetrain(0.6, levels=[0.2, 0.5])
        with pytest.raises(sw.InputError, match=r"fraction is the share .*; got 1\.5"):
            sw.IMP(0.5, fraction=1.5)
        model = small_model()
        with pytest.raises(sw.InputError, match="trains in rounds"):
            sw.IMP(0.5).attach(model, sgd(model))
        with pytest.raises(sw.InputError, match="rewind='5ep' is step 40, but the schedule ends at step 16"):
            sw.IMP(0.5, rewind="5ep").total_steps(Length(16, 8))
        with pytest.raises(sw.InputError, match="9 steps are too few for 5 rounds that go back to step 5"):
            sw.IMP(0.5, rewind=5).attach(model, sgd(model), steps=9)


class TestFit:
    def test_rounds_repeat_data_order_and_learning_rates(self, data, monkeypatch):
        seen = []
        ours = sw.train.loop._Trainer._step

        def spy(self, images, labels):
            seen.append((labels.tolist(), images.sum().item()))
            ours(self, images, labels)

        monkeypatch.setattr("sinewy.train.loop._Trainer._step", spy)
        trained = sw.fit(network(), data, sw.IMP(0.36, rewind="1ep"), **FIT)
        assert len(seen) == 16 + 8 + 8
        assert seen[8:16] == seen[16:24] == seen[24:32] != seen[:8]
        rates = [row.learning_rate for row in trained.history]
        assert rates[1] == rates[2] == rates[3]
        assert trained.masks.sparsity == pytest.approx(0.36, abs=1e-3)

    def test_levels_are_saved_and_can_be_loaded(self, data, tmp_path):
        method = sw.PruneRetrain(0.5, levels=[0.3, 0.5])
        trained = sw.fit(network(), data, method, folder=tmp_path, about={"note": "mine"}, keep_epochs=[2], **FIT)
        files = sorted(path.name for path in (tmp_path / "levels").iterdir())
        assert files == ["00-0.0000.safetensors", "01-0.3001.safetensors"]
        model = network()
        masks = sw.load_model(tmp_path / "levels" / files[1], model)
        assert masks.sparsity == pytest.approx(0.3, abs=1e-3)
        about = sw.read_model(tmp_path / "levels" / files[1]).about
        assert about["round"] == 1
        assert about["note"] == "mine"
        assert about["validation_accuracy"] == trained.history[3].validation_accuracy
        before_pruning, kept = network(), network()
        sw.load_model(tmp_path / "levels" / files[0], before_pruning)
        sw.load_model(tmp_path / "epochs" / "0002.safetensors", kept)
        assert bits(kept) == bits(before_pruning)

    @pytest.mark.parametrize("stop_after", [9, 15, 16, 20, 39])
    @pytest.mark.parametrize(
        "method",
        [
            lambda: sw.IMP(0.36, rewind=3),
            lambda: sw.PruneRetrain(0.3, criterion="snip"),
            lambda: sw.EarlyCroP(0.5, every=4, criterion="snip"),
            lambda: sw.EdgePopup(0.5),
            lambda: sw.EdgePopupAfter(0.5),
            lambda: sw.OneRunIMP(0.8, every=2, restore=True),
        ],
        ids=["imp", "prune-retrain", "earlycrop", "edge-popup", "edge-popup-after", "imp-one-run"],
    )
    def test_stop_and_go_on_is_bit_equal(self, data, tmp_path, method, stop_after):
        whole = sw.fit(network(), data, method(), **FIT)
        try:
            sw.fit(network(), data, method(), folder=tmp_path, should_stop=after(stop_after), **FIT)
        except Interrupted:
            pass
        else:
            assert stop_after >= 16  # a shorter run was over before
        resumed = sw.fit(network(), data, method(), folder=tmp_path, **FIT)
        assert bits(resumed.model) == bits(whole.model)
        assert resumed.cost == whole.cost
        assert [(r.epoch, r.loss, r.validation_accuracy) for r in resumed.history] == [
            (r.epoch, r.loss, r.validation_accuracy) for r in whole.history
        ]

    def test_an_average_starts_anew_with_each_round(self, data):
        """With a decay near 1 an average that went on would still be half of the first round."""
        trained = sw.fit(network(), data, sw.IMP(0.2, rewind=0), ema=0.5, **FIT)
        trained.masks.check(trained.model)
        assert trained.validation_accuracy > 0.6


class TestOneShot:
    def test_before_training_the_masks_are_those_of_prune(self):
        model = small_model()
        expected = sw.prune(copy.deepcopy(model), "snip", sparsity=0.8, data=batch(7))
        sparse = sw.SNIP(0.8).attach(model, sgd(model), data=batch(7))
        assert sparse.masks.hash == expected.hash

    def test_at_the_end_nothing_is_trained_after_the_pruning(self):
        sparse = sw.MagnitudeAfter(0.5)
        model = run(sparse, 6)
        dense = run(sw.Dense(), 6)
        for name, mask in sparse.masks.items():
            assert torch.equal(model.get_parameter(name), dense.get_parameter(name) * mask)
        sizes = torch.cat([dense.get_parameter(name).detach().abs().flatten() for name in sparse.masks])
        kept = torch.cat([mask.flatten() for mask in sparse.masks.values()])
        assert sizes[kept].min() >= sizes[~kept].max()

    def test_snip_after_scores_the_trained_network(self):
        data = batch(7)
        sparse = sw.SNIPAfter(0.5)
        run(sparse, 6, data=data)
        dense = run(sw.Dense(), 6)
        assert sparse.masks.hash == sw.prune(dense, "snip", sparsity=0.5, data=data).hash

    def test_data_are_asked_for(self):
        model = small_model()
        with pytest.raises(sw.InputError, match="'snip' looks at training data"):
            sw.SNIP(0.5).attach(model, sgd(model))

    def test_one_run_halves_the_distance_to_the_target(self):
        sparse, seen = sw.OneRunIMP(0.98, every=2), []
        run(sparse, 16, lambda step: seen.append(sparse.sparsity))
        assert seen[1::2] == pytest.approx([0.5, 0.74, 0.86, 0.92, 0.95, 0.965, 0.98, 0.98], abs=1e-3)

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: sw.OneShot(0.5, criterion="snipp", at="end"), "unknown criterion 'snipp'. Did you mean 'snip'"),
            (lambda: sw.SNIPAfter(0.5, scoring={"x": 1}), "option of snip 'x'|snip has no options"),
            (lambda: sw.PruneRetrain(0.5, criterion="ft", allocation="erk"), "by allocation 'global' or 'uniform'"),
            (lambda: sw.PruneRetrain(0.5, criterion="ft", scoring={"norms": 1}), "unknown option of ft 'norms'"),
        ],
    )
    def test_what_could_never_work_is_refused_at_once(self, make, sentence):
        with pytest.raises(sw.InputError, match=sentence):
            make()

    def test_data_that_are_asked_for_at_the_end_must_be_there_at_the_start(self):
        model = small_model()
        with pytest.raises(sw.InputError, match="'snip' looks at training data; attach with data="):
            sw.SNIPAfter(0.5).attach(model, sgd(model), steps=3)

    def test_local_is_uniform(self):
        for make in (sw.MagnitudeAfter, sw.IMP, sw.EdgePopup):
            model = small_model()
            sparse = make(0.5, allocation="local").attach(model, sgd(model), steps=24)
            assert sparse.allocation == "uniform"

    def test_frozen_weights_are_pruned_and_stay_as_they_are(self):
        model = small_model()
        model[0].weight.requires_grad_(False)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        before = model[0].weight.clone()
        sparse = sw.SNIP(0.5).attach(model, optimizer, data=batch(7))
        train(model, optimizer, range(3))
        assert torch.equal(model[0].weight, before * sparse.masks["0.weight"])


class TestEarlyCroP:
    def test_it_prunes_once_the_drift_settles(self):
        """With the learning rate gone to 0 the weights stop, and the second look at a standstill prunes."""
        model = small_model()
        optimizer = sgd(model)
        sparse = sw.EarlyCroP(0.5, every=2, latest=40, criterion="magnitude").attach(model, optimizer, steps=60)
        start = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
        expected = []
        for step in range(20):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 if step < 6 else 0.0
            train(model, optimizer, [step])
            if step % 2 and sparse.pruned_at is None:
                now = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
                expected.append(float((now - start).norm() / start.norm()))
        assert sparse.pruned_at == 8
        assert sparse.sparsity == pytest.approx(0.5, abs=1e-3)
        assert sparse.drifts[:3] == pytest.approx(expected[:3])
        change, tau = (abs(sparse.drifts[i] - sparse.drifts[i - 1]) for i in (2, 3)), sparse.drifts[0] * 0.5
        before, last = change
        assert before >= tau > last

    def test_it_prunes_in_time_whatever_the_drift(self):
        model = small_model()
        restless = torch.optim.SGD(model.parameters(), lr=5.0)
        sparse = sw.EarlyCroP(0.99, every=3, latest=10, criterion="magnitude").attach(model, restless, steps=20)
        for step in range(12):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 1.0 + step**2)
            restless.step()
        assert sparse.pruned_at == 9

    def test_from_the_first_look_as_the_code_has_it(self):
        sparse = sw.EarlyCroP(0.5, every=2, reference="first", latest=10, criterion="magnitude")
        run(sparse, 4)
        assert len(sparse.drifts) == 1
        with pytest.raises(sw.InputError, match="unknown reference 'last'"):
            sw.EarlyCroP(0.5, reference="last")


class StraightThrough(torch.autograd.Function):
    """The choice of the published code, as an oracle: the k largest |scores|, gradients passed on as they are."""

    @staticmethod
    def forward(ctx, scores, k):
        chosen = torch.zeros(scores.numel(), dtype=scores.dtype)
        chosen[scores.flatten().argsort(descending=True)[:k]] = 1
        return chosen.view(scores.shape)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Popup(nn.Module):
    """The small model with its weights chosen by scores in the forward pass."""

    def __init__(self, model: nn.Module, frozen, scores, kept) -> None:
        super().__init__()
        self.model, self.frozen, self.kept = [model], frozen, kept
        self.scores = nn.ParameterDict({name.replace(".", "_"): nn.Parameter(s.clone()) for name, s in scores.items()})

    def forward(self, images):
        weights = {
            name: StraightThrough.apply(self.scores[name.replace(".", "_")].abs(), self.kept[name]) * frozen
            for name, frozen in self.frozen.items()
        }
        return torch.func.functional_call(self.model[0], weights, images)


class TestEdgePopup:
    @pytest.mark.parametrize("kind", ["momentum", "adam"])
    def test_scores_train_as_by_straight_through_autograd(self, kind):
        def optimizer(parameters):
            if kind == "adam":
                return torch.optim.Adam(parameters, lr=0.05)
            return torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=1e-3)

        model = small_model().double().eval()
        ours = optimizer(model.parameters())
        sparse = sw.EdgePopup(0.5, init="kaiming-normal").attach(model, ours, steps=10)
        layers = sparse._layers
        frozen = {name: layer.memory["frozen"].clone() for name, layer in layers.items()}
        scores = {name: layer.memory["scores"].clone() for name, layer in layers.items()}
        oracle = Popup(copy.deepcopy(model), frozen, scores, sparse.masks.counts)
        theirs = optimizer(oracle.parameters())
        for step in range(10):
            images, labels = batch(step)
            for chooser, steps in ((model, ours), (oracle, theirs)):
                steps.zero_grad()
                F.cross_entropy(chooser(images.double()), labels).backward()
                steps.step()
            for name, layer in layers.items():
                torch.testing.assert_close(layer.memory["scores"], oracle.scores[name.replace(".", "_")].detach())
                assert torch.equal(layer.memory["frozen"], frozen[name])
        assert sum(layer.grown for layer in layers.values()) > 0

    def test_weights_are_frozen_and_so_is_the_rest(self):
        model = small_model()
        before = {
            name: p.detach().clone() for name, p in model.named_parameters() if "weight" not in name or "1." in name
        }
        optimizer = sgd(model)
        sparse = sw.EdgePopup(0.5).attach(model, optimizer, steps=10)
        train(model, optimizer, range(10))
        for name, value in before.items():
            assert torch.equal(model.get_parameter(name), value), name
        deviation = {name: math.sqrt(2 / p[0].numel()) for name, p in sparse.parameters.items()}
        for name, parameter in sparse.parameters.items():
            values = parameter.detach().abs().unique()
            torch.testing.assert_close(values, torch.tensor([0.0, deviation[name]]))

    def test_the_kept_fan_in_scales_the_weights(self):
        model = small_model()
        sparse = sw.EdgePopup(0.75, scale_fan=True).attach(model, sgd(model), steps=10)
        top = float(sparse.parameters["4.weight"].detach().abs().max())
        assert top == pytest.approx(math.sqrt(2 / (128 * 0.25)))

    def test_after_training_the_trained_weights_are_chosen_from(self):
        sparse, seen = sw.EdgePopupAfter(0.5), {}
        model = small_model()
        optimizer = sgd(model)
        sparse.attach(model, optimizer, steps=12)
        sparse.on_round_end = lambda number: seen.update(copy.deepcopy(model.state_dict()))
        train(model, optimizer, range(12))
        for name, mask in sparse.masks.items():
            assert torch.equal(model.get_parameter(name), seen[name] * mask)
        assert sparse.sparsity == pytest.approx(0.5, abs=1e-3)

    def test_an_average_holds_the_frozen_weights(self, data):
        model = network()
        before = copy.deepcopy(model.state_dict())
        trained = sw.fit(model, data, sw.EdgePopup(0.5, init="given"), ema=0.9, **FIT)
        for name, mask in trained.masks.items():
            assert torch.equal(trained.model.get_parameter(name), before[name] * mask)

    def test_bad_input(self):
        with pytest.raises(sw.InputError, match="unknown init 'signed'"):
            sw.EdgePopup(0.5, init="signed")
        with pytest.raises(sw.InputError, match="take init= instead"):
            sw.EdgePopup(0.5, weights="swi")
        model = small_model()
        with pytest.raises(sw.InputError, match="finds its masks by scores"):
            sw.EdgePopup(0.5).attach(model, sgd(model), masks={})


class TestChannels:
    """Structured criteria as sparsifiers: what is pruned can be removed after training, and stays removable."""

    @pytest.mark.parametrize(
        "method",
        [
            lambda: sw.CroPit(0.6, criterion="cropit-structured"),
            lambda: sw.EarlyCroP(0.6, every=4, criterion="crop-structured"),
            lambda: sw.SNIP(0.6, criterion="snip-structured", scoring={"of": "channels"}),
            lambda: sw.PruneRetrain(0.6, levels=[0.3, 0.6], criterion="ft"),
            lambda: sw.PruneRetrain(0.6, levels=[0.3, 0.6], criterion="pfp"),
        ],
        ids=["cropit-s", "earlycrop-s", "snip-s of channels", "ft", "pfp"],
    )
    def test_channels_go_and_can_be_removed_after_training(self, data, method):
        pytest.importorskip("torch_pruning")
        trained = sw.fit(network(0.0), data, method(), **FIT)
        trained.masks.check(trained.model)
        assert 0.55 < trained.masks.sparsity < 0.8  # of weights; of channels it is less
        images = torch.randn(4, 3, 16, 16)
        small = sw.compact(trained.model, images, multiple=None, timed=False)
        kept, whole = (sum(p.numel() for p in model.parameters()) for model in (small, trained.model))
        assert kept < 0.5 * whole
        torch.testing.assert_close(small(images), trained.model(images), rtol=1e-4, atol=1e-5)
