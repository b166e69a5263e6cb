"""Masks: which tensors, exact counts, packing, and files that can be trusted."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import sinewy as sw


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))


def random_masks(model: nn.Module, density: float = 0.3) -> sw.Masks:
    generator = torch.Generator().manual_seed(1)
    return sw.Masks({n: torch.rand(p.shape, generator=generator) < density for n, p in sw.prunable(model).items()})


class TestPrunable:
    def test_weights_of_matrices_and_convolutions_only(self):
        model = nn.ModuleDict(
            {
                "embed": nn.Embedding(5, 8),
                "conv1": nn.Conv1d(8, 8, 3),
                "conv3": nn.Conv3d(2, 2, 3),
                "up": nn.ConvTranspose2d(2, 2, 3),
                "norm": nn.LayerNorm(8),
                "attention": nn.MultiheadAttention(8, 2),
                "cross": nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
                "head": nn.Linear(8, 2),
            }
        )
        names = list(sw.prunable(model))
        assert names == [
            "conv1.weight",
            "conv3.weight",
            "up.weight",
            "attention.in_proj_weight",
            "attention.out_proj.weight",
            "cross.q_proj_weight",
            "cross.k_proj_weight",
            "cross.v_proj_weight",
            "cross.out_proj.weight",
            "head.weight",
        ]

    def test_include_and_exclude_by_name_and_type(self):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2), nn.Embedding(3, 4))
        assert list(sw.prunable(model, exclude=["0.*", nn.Linear])) == ["1.weight"]
        assert list(sw.prunable(model, include=[nn.Embedding, "2.*"])) == ["2.weight", "3.weight"]
        with pytest.raises(sw.InputError, match=r"no weight matches 'layer9\.\*'; the model's weights are: 0\.weight"):
            sw.prunable(model, exclude=["layer9.*"])

    def test_a_shared_weight_counts_once(self):
        model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
        model[1].weight = model[0].weight
        assert list(sw.prunable(model)) == ["0.weight"]

    def test_wrappers_are_looked_through(self):
        model = small_model()
        average = torch.optim.swa_utils.AveragedModel(model)
        assert list(sw.prunable(average)) == list(sw.prunable(nn.DataParallel(model))) == ["0.weight", "4.weight"]

    def test_nothing_to_prune_says_so(self):
        with pytest.raises(sw.InputError, match="BatchNorm1d has no prunable weight"):
            sw.prunable(nn.BatchNorm1d(3))


class TestMasks:
    def test_counts_and_application(self):
        model, masks = small_model(), sw.Masks({"4.weight": torch.zeros(5, 144, dtype=torch.bool)})
        masks["4.weight"][0, :7] = True
        masks.apply_(model)
        assert (masks.nonzero, masks.total, masks.counts) == (7, 720, {"4.weight": 7})
        assert masks.sparsity == pytest.approx(1 - 7 / 720)
        assert int((model[4].weight != 0).sum()) == 7
        masks.check(model)

    def test_a_revived_weight_is_found(self):
        model = small_model()
        masks = random_masks(model)
        with pytest.raises(sw.CorruptFileError, match=r"0\.weight: \d+ pruned weights are not zero"):
            masks.check(model)

    def test_masks_of_another_model_are_refused(self):
        masks = sw.Masks({"4.weight": torch.ones(5, 3, dtype=torch.bool)})
        with pytest.raises(sw.InputError, match=r"of shape \(5, 3\) does not fit the model, which has \(5, 144\)"):
            masks.apply_(small_model())
        with pytest.raises(sw.InputError, match=r"dtype torch\.float32"):
            sw.Masks({"a": torch.ones(3)})

    def test_hash_tells_masks_apart_but_not_their_order(self):
        masks = random_masks(small_model())
        reversed_order = sw.Masks(dict(reversed(list(masks.items()))))
        other = sw.Masks({name: mask.clone() for name, mask in masks.items()})
        other["0.weight"][0, 0, 0, 0] ^= True
        assert masks.hash == reversed_order.hash != other.hash
        assert masks.distance(other) == 1

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(rows=st.integers(1, 20), columns=st.integers(1, 20), seed=st.integers(0, 99))
    def test_packing_is_lossless(self, rows, columns, seed):
        mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.5
        packed = sw.Masks({"w": mask}).pack()
        assert packed["w"].numel() == -(-rows * columns // 8)
        assert torch.equal(sw.Masks.unpack(packed, {"w": mask.shape})["w"], mask)

    def test_random_masks_are_exact_and_depend_on_the_seed_only(self):
        shapes, counts = {"a": (30, 4), "b": (1000, 3)}, {"a": 60, "b": 17}
        first, again, other = (sw.Masks.random(shapes, counts, seed=seed) for seed in (3, 3, 4))
        assert first.counts == counts
        assert first.hash == again.hash != other.hash


class TestModelFile:
    def test_round_trip_keeps_plain_keys_and_bits(self, tmp_path):
        model = small_model()
        masks = random_masks(model)
        masks.apply_(model)
        sw.save_model(tmp_path / "m.safetensors", model, masks, {"note": "é"})
        other = copy.deepcopy(model)
        with torch.no_grad():
            other[4].weight.fill_(1)
        loaded = sw.load_model(tmp_path / "m.safetensors", other)
        assert loaded.hash == masks.hash
        assert list(loaded) == list(masks)
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
        )
        assert set(model.state_dict()) <= set(load_file(tmp_path / "m.safetensors"))
        assert sw.read_model(tmp_path / "m.safetensors").about == {"note": "é"}

    def test_masks_take_one_bit_a_weight(self, tmp_path):
        model = nn.Linear(400, 100, bias=False)
        masks = random_masks(model)
        masks.apply_(model)
        sw.save_model(tmp_path / "with", model, masks)
        sw.save_model(tmp_path / "without", model)
        extra = (tmp_path / "with").stat().st_size - (tmp_path / "without").stat().st_size
        assert 40_000 / 8 <= extra <= 40_000 / 8 + 400

    def test_weights_that_are_not_sparse_are_not_saved_as_sparse(self, tmp_path):
        model = small_model()
        with pytest.raises(sw.CorruptFileError, match="not zero"):
            sw.save_model(tmp_path / "m", model, random_masks(model))
        assert not list(tmp_path.iterdir())

    def test_truncated_and_tampered_files(self, tmp_path):
        model, path = small_model(), tmp_path / "m.safetensors"
        masks = random_masks(model)
        masks.apply_(model)
        sw.save_model(path, model, masks)
        whole = path.read_bytes()
        path.write_bytes(whole[:-100])
        with pytest.raises(sw.CorruptFileError, match="not a whole safetensors file"):
            sw.load_model(path, model)
        path.write_bytes(whole)
        tensors = load_file(path)
        tensors["sinewy.mask.0.weight"] = tensors["sinewy.mask.0.weight"] ^ 1
        header = {"masks": masks.hash, "counts": masks.counts}
        save_file(tensors, path, {"sinewy": json.dumps(header)})
        with pytest.raises(sw.CorruptFileError, match="do not hold the number of weights"):
            sw.load_model(path, model)

    def test_equal_models_are_equal_files(self, tmp_path):
        for name in ("a", "b"):
            sw.save_model(tmp_path / name, small_model(), about={"x": 1, "y": 2})
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_another_architecture(self, tmp_path):
        sw.save_model(tmp_path / "m", small_model())
        with pytest.raises(sw.InputError, match="is of another architecture: '0.bias' is in the file only"):
            sw.load_model(tmp_path / "m", nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)))
        with pytest.raises(sw.InputError, match="there is no model file"):
            sw.load_model(tmp_path / "nothing", small_model())
