"""Recipes: what a cell means, how a grid unfolds, and how a mistake reads."""

from __future__ import annotations

import pytest

from sinewy.errors import InputError
from sinewy.recipe import CellSpec, Recipe, builtin_recipes, parse, read_recipe

BASE = {"model": "convnet", "data": "digits"}


def cell(**changes) -> CellSpec:
    return parse(CellSpec, BASE | changes, "test")


def test_a_cell_is_named_by_what_it_means():
    assert cell().id == cell(train={"epochs": 160}, sparsifier="dense").id  # spelling out a default changes nothing
    ids = {
        cell().id,
        cell(seed=1).id,
        cell(train={"lr": 0.2}).id,
        cell(sparsifier={"name": "rigl", "sparsity": 0.5}).id,
    }
    assert len(ids) == 4
    assert all(len(name) == 12 and int(name, 16) >= 0 for name in ids)


def test_names_do_not_change_between_versions():
    """An id written by version 0.1.0; if this fails, old studies are lost."""
    known = parse(CellSpec, BASE | {"sparsifier": {"name": "rigl", "sparsity": 0.9, "every": 10}, "seed": 2}, "test")
    assert known.id == "0e4af2be4ff1"


def test_dense_ignores_sparsity_so_a_grid_has_it_once():
    grid = {"sparsifier.name": ["dense", "set", "rigl"], "sparsifier.sparsity": [0.5, 0.9], "seed": [0, 1]}
    cells = parse(Recipe, BASE | {"grid": grid}, "test").cells()
    names = [(c.sparsifier.name, c.sparsifier.sparsity, c.seed) for c in cells]
    assert len(names) == 2 + 2 * 2 * 2
    assert names[:2] == [("dense", 0.0, 0), ("dense", 0.0, 1)]


def test_every_sparse_cell_has_its_dense_reference():
    grid = {"sparsifier": [{"name": "rigl", "sparsity": 0.9}], "train.lr": [0.1, 0.2]}
    cells = parse(Recipe, BASE | {"grid": grid}, "test").cells()
    assert [(c.sparsifier.name, c.train.lr) for c in cells] == [
        ("dense", 0.1),
        ("dense", 0.2),
        ("rigl", 0.1),
        ("rigl", 0.2),
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sparsifer": "rigl"}, "test: unknown field 'sparsifer'. Did you mean 'sparsifier'"),
        ({"train": {"epoch": 3}}, "test: unknown field 'epoch'. Did you mean 'epochs'"),
        ({"sparsifier": "rigel"}, "sparsifier: unknown sparsifier 'rigel'. Did you mean 'rigl'"),
        (
            {"sparsifier": {"name": "rigl", "sparsity": 1.0}},
            "sparsifier.sparsity: input should be less than 1; got 1.0",
        ),
        ({"model": "resnet2"}, "unknown model 'resnet2'. Did you mean"),
        ({"data": "cifar11"}, "unknown data set 'cifar11'. Did you mean 'cifar10'"),
        ({"audit": {"kinds": ["fogg"]}}, "unknown corruption 'fogg'. Did you mean 'fog'"),
        ({"audit": {"preset": "cifra"}}, "unknown preset 'cifra'. Did you mean 'cifar'"),
        ({"audit": {"severities": [6]}}, "audit.severities.0: input should be less than or equal to 5; got 6"),
        ({"train": {"lr": float("nan")}}, "train.lr"),
        ({"model": None}, "model"),
    ],
)
def test_mistakes_read_well(changes, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        parse(Recipe, BASE | changes, "test")
    assert "\n" not in str(caught.value)


def test_a_grid_over_something_that_is_no_field():
    with pytest.raises(InputError, match="the grid: unknown field 'lrr'. Did you mean 'lr'"):
        parse(Recipe, BASE | {"grid": {"train.lrr": [1]}}, "test").cells()


def test_files_and_overrides(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: s\nmodel: convnet\ndata: digits\nsparsifier: rigl\n")
    recipe = read_recipe(path, ["sparsifier.sparsity=0.5", "grid.seed=[0, 1]", "train.schedule=step"])
    assert recipe.sparsifier.options == {"sparsity": 0.5}
    assert len(recipe.cells()) == 4
    assert recipe.train.schedule == "step"
    with pytest.raises(InputError, match="Did you mean 'sparsifier'"):
        read_recipe(path, ["sparsifer.sparsity=0.5"])
    with pytest.raises(InputError, match="an override reads field=value"):
        read_recipe(path, ["epochs"])
    path.write_text("model: [convnet\n")
    with pytest.raises(InputError, match="not valid YAML"):
        read_recipe(path)
    path.write_text("just words")
    with pytest.raises(InputError, match="must be a mapping"):
        read_recipe(path)
    with pytest.raises(InputError, match="there is no recipe file nothing; built-in recipes: demo"):
        read_recipe("nothing")


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_are_valid(name):
    recipe = read_recipe(name)
    assert recipe.title
    assert len(recipe.cells()) == len(recipe.grid["sparsifier"]) * len(recipe.grid["seed"])


def test_corruptions_of_training_are_kept_apart_from_those_of_the_audit():
    raw = {"model": "lenet5", "data": "digits", "train": {"corruptions": ["shot_noise", "snow"]}}
    with pytest.raises(InputError, match=r"shot_noise, snow would be both trained with .* and tested on"):
        parse(Recipe, raw, "recipe").cells()
    apart = raw | {"audit": {"kinds": ["gaussian_noise", "fog"]}}
    assert len(parse(Recipe, apart, "recipe").cells()) == 1
    both = raw | {"audit": {"include_trained": True}}
    assert len(parse(Recipe, both, "recipe").cells()) == 1
    with pytest.raises(InputError, match="unknown corruption 'snows'"):
        parse(Recipe, raw | {"train": {"corruptions": ["snows"]}}, "recipe")


def test_objectives_by_name_and_options():
    raw = {"model": "lenet5", "data": "digits", "train": {"objective": {"name": "adversarial", "weight": 3}}}
    recipe = parse(Recipe, raw, "recipe")
    assert recipe.train.objective.options == {"weight": 3}
    plain = parse(Recipe, raw | {"train": {"objective": "cross-entropy"}}, "recipe")
    assert plain.cells()[0].id == parse(Recipe, raw | {"train": {}}, "recipe").cells()[0].id
    with pytest.raises(InputError, match="unknown objective 'adversary'"):
        parse(Recipe, raw | {"train": {"objective": "adversary"}}, "recipe")
