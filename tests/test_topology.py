"""The graph of a layer: link scores as their definition counts them, initial graphs of exact size, no dead ends."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.select import count
from sinewy.topology import INITIAL_GRAPHS, LINK_SCORES
from sinewy.topology.chains import remove_chains
from sinewy.topology.initial import (
    correlated,
    correlation,
    from_correlation,
    random_graph,
    scale_free,
    small_world,
)
from sinewy.topology.link_scores import link_scores

KINDS = sorted(LINK_SCORES)
FORMS = ("matrix", "path")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_mask(shape: tuple[int, ...], density: float, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed)) < density


@st.composite
def small_masks(draw: st.DrawFn) -> torch.Tensor:
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 6)))
    return random_mask(shape, draw(st.sampled_from([0.2, 0.4, 0.7, 0.9])), draw(st.integers(0, 999)))


# Link scores


def by_definition(mask: torch.Tensor, kind: str, form: str) -> torch.Tensor:
    """Walk every path of length 3 between every two neurons without a link; count each neuron's links by community."""
    outputs, inputs = mask.shape
    graph = nx.Graph()
    graph.add_nodes_from([("out", u) for u in range(outputs)] + [("in", v) for v in range(inputs)])
    graph.add_edges_from((("out", u), ("in", v)) for u, v in mask.nonzero().tolist())
    scores = torch.zeros(mask.shape, dtype=torch.float64)
    for u, v in (~mask).nonzero().tolist():
        ends = {("out", u), ("in", v)}
        paths = [path[1:3] for path in nx.all_simple_paths(graph, *sorted(ends), cutoff=3) if len(path) == 4]
        community = {neuron for path in paths for neuron in path}

        def weight(neuron, community=community, ends=ends):
            near = set(graph[neuron])
            internal, external = len(near & community), len(near - community - ends)
            return {
                "CH3-L3": 1 / (1 + external),
                "CH2-L3": (1 + internal) / (1 + external),
                "RA-L3": 1 / len(near),
            }[kind]

        if form == "matrix":
            scores[u, v] = sum(weight(neuron) for neuron in community)
        else:
            scores[u, v] = sum(math.sqrt(weight(z1) * weight(z2)) for z1, z2 in paths)
    return scores


def by_published_matrices(mask: torch.Tensor, kind: str) -> torch.Tensor:
    """The node-based matrix form as the CHTs code states it, in float64."""

    def half(a: torch.Tensor) -> torch.Tensor:
        common = a @ a.T
        linked = (common != 0).double()
        external = ((a.sum(1) - common).clamp(min=1) - 1) * linked
        weight = linked if kind == "CH3-L3" else common + linked
        return (weight / (1 + external)) @ a

    a = mask.double()
    return (half(a) + half(a.T).T) * (1 - a)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@settings(derandomize=True, max_examples=60, deadline=None)
@given(mask=small_masks())
def test_scores_are_those_of_the_definition(kind, form, mask):
    scores = link_scores(mask, kind, form)
    assert scores.dtype is torch.float32
    torch.testing.assert_close(scores.double(), by_definition(mask, kind, form), rtol=1e-5, atol=1e-6)


def test_worked_example():
    # out0 - in0, out1 - in0, in1, in2: out0 could gain in1 by in0 and out1, and in2 likewise.
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]], dtype=torch.bool)
    # in0 has degree 2: out0 itself and the internal link. out1 has degree 3: the end, the internal link, one outside.
    expected = {
        ("CH3-L3", "path"): 1 / math.sqrt(1 * 2),
        ("CH2-L3", "path"): math.sqrt(2 * 2 / (1 * 2)),
        ("RA-L3", "path"): 1 / math.sqrt(2 * 3),
        ("CH3-L3", "matrix"): 1 / 1 + 1 / 2,
        ("CH2-L3", "matrix"): 2 / 1 + 2 / 2,
        ("RA-L3", "matrix"): 1 / 2 + 1 / 3,
    }
    for (kind, form), score in expected.items():
        scores = torch.tensor([[0, score, score], [0, 0, 0]])
        torch.testing.assert_close(link_scores(mask, kind, form), scores)


@pytest.mark.parametrize("density", [0.03, 0.08, 0.3, 0.8])
@pytest.mark.parametrize("shape", [(70, 110), (110, 70)])
def test_sparse_and_dense_layers_of_any_shape(shape, density):
    """Products over links and dense ones, and the loop over inputs and over outputs, give the same."""
    mask = random_mask(shape, density)
    for kind in ("CH2-L3", "CH3-L3"):
        torch.testing.assert_close(
            link_scores(mask, kind).double(), by_published_matrices(mask, kind), rtol=1e-5, atol=1e-6
        )
    a = mask.double()
    allocated = (a / a.sum(0).clamp(min=1).sqrt()) @ (a.T / a.sum(1).clamp(min=1).sqrt()) @ a
    torch.testing.assert_close(
        link_scores(mask, "RA-L3", "path").double(), allocated.masked_fill(mask, 0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_follow_the_graph_only(kind, form):
    mask = random_mask((30, 50), 0.1)
    scores = link_scores(mask, kind, form)
    rows, columns = torch.randperm(30, generator=seeded(1)), torch.randperm(50, generator=seeded(2))
    torch.testing.assert_close(link_scores(mask[rows][:, columns], kind, form), scores[rows][:, columns])
    torch.testing.assert_close(link_scores(mask.T, kind, form), scores.T)  # also: a mask that is not contiguous
    apart = torch.block_diag(mask.int(), mask.int()).bool()  # two layers side by side do not know of each other
    zero = torch.zeros_like(scores)
    torch.testing.assert_close(
        link_scores(apart, kind, form), torch.cat([torch.cat([scores, zero]), torch.cat([zero, scores])], dim=1)
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_only_absent_links_on_a_path_score(kind, form):
    mask = random_mask((40, 40), 0.04)
    a = mask.int()
    reachable = (a @ a.T @ a > 0) & ~mask
    assert reachable.any()
    assert not reachable.all()
    assert torch.equal(link_scores(mask, kind, form) > 0, reachable)


@pytest.mark.parametrize("form", FORMS)
def test_full_and_empty_layers_score_nothing(form):
    for mask in (torch.ones(5, 3, dtype=torch.bool), torch.zeros(5, 3, dtype=torch.bool)):
        assert torch.equal(link_scores(mask, form=form), torch.zeros(5, 3))


@pytest.mark.parametrize("form", FORMS)
def test_autocast_does_not_make_the_counts_coarse(form):
    mask = random_mask((20, 2000), 0.4)
    expected = link_scores(mask, form=form)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(link_scores(mask, form=form), expected)


def test_weights_of_ones_own():
    """Under i + e, which is the degree less 1, each path counts the geometric mean of two degrees."""
    mask = random_mask((20, 30), 0.2)
    a = mask.double()
    expected = (a * (a.sum(0) - 1).clamp(min=0).sqrt()) @ (a.T * (a.sum(1) - 1).clamp(min=0).sqrt()) @ a
    scores = link_scores(mask, "torch:add", "path")
    torch.testing.assert_close(scores.double(), expected.masked_fill(mask, 0), rtol=1e-5, atol=1e-6)


def test_link_scores_refuse():
    with pytest.raises(InputError, match=r"bool mask of shape \(out, in\); got torch.float32 of \(3, 3\)"):
        link_scores(torch.ones(3, 3))
    with pytest.raises(InputError, match=r"got torch.bool of \(3, 3, 1, 1\)"):
        link_scores(torch.ones(3, 3, 1, 1, dtype=torch.bool))
    with pytest.raises(InputError, match="unknown link score 'CH3'. Did you mean 'CH3-L3'"):
        link_scores(torch.ones(3, 3, dtype=torch.bool), "CH3")
    with pytest.raises(InputError, match="unknown form of link scores 'paths'. Did you mean 'path'"):
        link_scores(torch.ones(3, 3, dtype=torch.bool), form="paths")


# Initial graphs


def test_every_name_stands_for_a_function():
    for family in (INITIAL_GRAPHS, LINK_SCORES):
        assert all(callable(resolve("graph", name, family)) for name in family)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 99), st.data())
def test_graphs_hold_exactly_the_links_asked_for(outputs, inputs, beta, seed, data):
    shape = (outputs, inputs)
    links = data.draw(st.integers(0, outputs * inputs))
    features = torch.randint(256, (9, 5), dtype=torch.uint8, generator=seeded(seed))
    for draw in (
        lambda generator: random_graph(shape, links, generator),
        lambda generator: small_world(shape, links, beta, generator),
        lambda generator: scale_free(shape, links, generator),
        lambda _: correlated(features, shape, links),
    ):
        mask = draw(seeded(seed))
        assert mask.dtype is torch.bool
        assert mask.shape == shape
        assert mask.is_contiguous()
        assert count(mask) == links
        assert torch.equal(mask, draw(seeded(seed)))


def test_graphs_refuse():
    for draw in (random_graph, scale_free, lambda shape, links, generator: small_world(shape, links, 0.5, generator)):
        with pytest.raises(InputError, match="a 3 x 4 layer holds 0 to 12 links; got 13"):
            draw((3, 4), 13, seeded(0))
        with pytest.raises(InputError, match="both at least 1; got \\(3, 0\\)"):
            draw((3, 0), 0, seeded(0))
    with pytest.raises(InputError, match="beta must be in \\[0, 1\\], the share of links that are rewired; got 1.5"):
        small_world((3, 4), 5, 1.5, seeded(0))
    with pytest.raises(InputError, match="holds 0 to 12 links; got -1"):
        from_correlation(torch.eye(2), (3, 4), -1)


def test_lattice_worked_example():
    lattice = small_world((4, 4), 8, 0, seeded(0))
    assert lattice.int().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    # 6 inputs share 9 links of 3 outputs: degrees 1, 2, 1, 2, ... from row i / 2 - degree / 2 on, rounded down.
    lattice = small_world((3, 6), 9, 0, seeded(0))
    assert [column.nonzero().flatten().tolist() for column in lattice.T] == [[2], [0, 2], [0], [0, 1], [1], [1, 2]]
    assert torch.equal(small_world((6, 3), 9, 0, seeded(0)), lattice.T)


@pytest.mark.parametrize(("shape", "links"), [((50, 80), 700), ((80, 50), 701), ((64, 64), 640), ((784, 1568), 61465)])
def test_lattice_is_an_even_band(shape, links):
    lattice = small_world(shape, links, 0.0, seeded(0))
    by_column = lattice if shape[0] <= shape[1] else lattice.T
    degrees = by_column.sum(0)
    assert degrees.max() - degrees.min() <= 1
    assert by_column.sum(1).max() - by_column.sum(1).min() <= 3
    breaks = by_column.int().diff(dim=0, append=by_column[:1].int()).abs().sum(0)
    assert (breaks == 2).all()  # each column is one run of links, going round


def test_rewiring_moves_the_share_beta():
    shape, links = (300, 400), 6000
    lattice = small_world(shape, links, 0, seeded(0))
    for beta in (0.1, 0.5, 1.0):
        stayed = count(small_world(shape, links, beta, seeded(1)) & lattice)
        back = beta * links * beta * links / (lattice.numel() - (1 - beta) * links)
        expected = (1 - beta) * links + back
        assert stayed == pytest.approx(expected, abs=5 * math.sqrt(links * beta * (1 - beta) + back))


def test_order_falls_from_lattice_to_random():
    def squares(mask: torch.Tensor) -> float:
        common = (mask.double() @ mask.double().T).fill_diagonal_(0)
        return float((common * (common - 1)).sum())

    ordered = [squares(small_world((200, 200), 4000, beta, seeded(3))) for beta in (0, 0.1, 0.3, 1)]
    chance = squares(random_graph((200, 200), 4000, seeded(4)))
    assert ordered == sorted(ordered, reverse=True)
    assert ordered[1] > 3 * ordered[3]
    assert ordered[3] == pytest.approx(chance, rel=0.1)


@pytest.mark.parametrize("draw", [random_graph, lambda *about: small_world(about[0], about[1], 1.0, about[2])])
def test_random_graphs_are_equally_likely(draw):
    generator, draws = seeded(0), 6000
    seen: dict[tuple[bool, ...], int] = {}
    for _ in range(draws):
        mask = tuple(draw((2, 2), 2, generator).flatten().tolist())
        seen[mask] = seen.get(mask, 0) + 1
    assert len(seen) == 6
    assert sum((n - draws / 6) ** 2 / (draws / 6) for n in seen.values()) < 20.5  # 1 in 1000, 5 degrees of freedom


def test_scale_free_degrees_fall_as_a_power_law():
    """Of n neurons, and n' of the other side, each bringing m links: x**-((n + n') / n') have a degree above x * m.

    A degree grows as dk / k = n' / (n + n') dt / t, by the m n' links that the other side brings on average.
    """
    outputs, inputs, brought = 2000, 1500, 8
    mask = scale_free((outputs, inputs), brought * (outputs + inputs), seeded(0))
    for degrees, other in ((mask.sum(0), outputs), (mask.sum(1), inputs)):
        assert degrees.min() >= brought - 1
        for times in (2, 3, 4):
            expected = times ** -((outputs + inputs) / other)
            assert (degrees > times * brought).float().mean() == pytest.approx(expected, rel=0.25)
    chance = random_graph((outputs, inputs), brought * (outputs + inputs), seeded(0))
    assert 4 * chance.sum(0).max() < mask.sum(0).max()


def test_scale_free_hubs_are_anywhere():
    hubs = [int(scale_free((30, 40), 150, seeded(seed)).sum(1).argmax()) for seed in range(12)]
    assert len(set(hubs)) > 4


# Correlated initial graphs


def pixels(examples: int, features: int, seed: int = 0) -> torch.Tensor:
    """Features that correlate: sums of a few common causes."""
    causes = torch.randn(examples, 4, generator=seeded(seed)) @ torch.randn(4, features, generator=seeded(seed + 1))
    noise = torch.randn(examples, features, generator=seeded(seed + 2))
    return (128 + 30 * causes + 10 * noise).clamp(0, 255).to(torch.uint8)


def by_numpy(features: torch.Tensor) -> np.ndarray:
    with np.errstate(all="ignore"):
        expected = np.corrcoef(features.double().numpy(), rowvar=False)
    constant = np.ptp(features.double().numpy(), axis=0) == 0
    expected[constant] = expected[:, constant] = 0  # where the mean is rounded, not always NaN
    np.fill_diagonal(expected, 0)
    return expected


@pytest.mark.parametrize("examples", [2, 3, 1024, 1025, 5000])
def test_correlation_is_pearsons(examples):
    features = pixels(examples, 20)
    features[:, 3] = 7
    exact = correlation(features)
    assert exact.dtype is torch.float64
    assert torch.equal(exact, exact.T)
    assert not exact[3].any()
    for given_as in (features, features.float() / 255, features.double() / 255, features.half()):
        np.testing.assert_allclose(correlation(given_as), by_numpy(given_as), atol=1e-12)


def test_sums_of_uint8_are_exact():
    """Black pixels, some of them 1: products about as large as they can be, deviations as small."""
    features = (torch.rand(20_000, 8, generator=seeded(0)) < 0.01).to(torch.uint8)
    np.testing.assert_allclose(correlation(features), by_numpy(features), atol=1e-12)


def test_correlation_far_from_zero():
    features = 1e6 + torch.randn(3000, 6, generator=seeded(0), dtype=torch.float64)
    features[:, 2] = 0.9  # its mean is rounded
    np.testing.assert_allclose(correlation(features), by_numpy(features), atol=1e-9)
    assert not correlation(features)[2].any()


def test_correlation_of_next_to_nothing():
    tiny = torch.tensor([[0.0, 1.0], [1e-200, 2.0], [0.0, 4.0]], dtype=torch.float64)  # its square is 0
    assert not correlation(tiny).any()


def test_correlation_refuses():
    with pytest.raises(InputError, match="at least 2 examples of shape \\(examples, features\\); got \\(1, 5\\)"):
        correlation(torch.ones(1, 5))
    with pytest.raises(InputError, match="Flatten images first"):
        correlation(torch.ones(9, 1, 5, 5))
    features = torch.ones(9, 5)
    features[2, 3] = torch.nan
    with pytest.raises(InputError, match="feature 3 is not finite in every example"):
        correlation(features)
    with pytest.raises(InputError, match="must be a square matrix; got shape \\(2, 3\\)"):
        from_correlation(torch.ones(2, 3), (3, 3), 1)


def test_correlated_worked_example():
    correlations = torch.tensor([[0, 0.5, -0.9], [0.5, 0, 0.1], [-0.9, 0.1, 0]])
    assert from_correlation(correlations, (3, 3), 2).int().tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    # Repeated to 4 x 5, |-0.9| is at (0, 2), (2, 0), (2, 3), (3, 2); then 0.5 from the lowest position on.
    wide = from_correlation(correlations, (4, 5), 6)
    assert wide.int().tolist() == [[0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 1, 0, 0]]


def test_correlated_links_are_those_above_a_threshold():
    features = pixels(500, 12)
    correlations = np.abs(np.tile(by_numpy(features), (2, 2)))[:20, :24]
    largest = np.unique(correlations.round(9))[::-1]
    for threshold in largest[[3, 10, 40]]:
        expected = torch.from_numpy(correlations > threshold - 1e-6)
        assert torch.equal(correlated(features, (20, 24), count(expected)), expected)


# Chains


def test_chains_worked_example():
    first = torch.tensor([[1, 1], [1, 0], [0, 0]], dtype=torch.bool)  # neuron 2 receives nothing
    second = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.bool)  # neuron 1 sends nothing
    third = torch.tensor([[1, 1]], dtype=torch.bool)
    kept = remove_chains([first, second, third])
    assert kept[0].int().tolist() == [[1, 1], [0, 0], [0, 0]]
    assert kept[1].int().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert kept[2].int().tolist() == [[1, 0]]  # neuron 1 of the second layer fell silent with neuron 2 of the first
    assert count(first) == 3  # the masks given are not changed


def on_a_path(masks: list[torch.Tensor]) -> list[torch.Tensor]:
    """Keep the links that lie on a path from some input to some output; masks are matrices."""
    graph = nx.DiGraph()
    for depth, mask in enumerate(masks):
        graph.add_edges_from(((depth, j), (depth + 1, i)) for i, j in mask.nonzero().tolist())
    ends = {"source": [(0, j) for j in range(masks[0].shape[1])]}
    graph.add_edges_from(("source", neuron) for neuron in ends["source"])
    graph.add_edges_from(((len(masks), i), "sink") for i in range(len(masks[-1])))
    alive = nx.descendants(graph, "source") & nx.ancestors(graph, "sink")
    kept = [torch.zeros_like(mask) for mask in masks]
    for depth, mask in enumerate(masks):
        for i, j in mask.nonzero().tolist():
            kept[depth][i, j] = (depth, j) in alive and (depth + 1, i) in alive
    return kept


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.sampled_from([0.1, 0.2, 0.4]), st.integers(0, 999))
def test_what_remains_lies_on_paths_from_input_to_output(sizes, density, seed):
    shapes = list(zip(sizes[1:], sizes, strict=False))
    masks = [random_mask(shape, density, seed + depth) for depth, shape in enumerate(shapes)]
    kept = remove_chains(masks)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kept, on_a_path(masks), strict=True))
    assert all(torch.equal(once, twice) for once, twice in zip(kept, remove_chains(kept), strict=True))


def test_chains_through_convolutions_and_a_flatten():
    first = torch.zeros(3, 2, 3, 3, dtype=torch.bool)
    first[0, 1, 2, 2] = first[1, 0, 0, 1] = True  # channels 0 and 1 are reached, 2 is not
    second = torch.zeros(4, 6, dtype=torch.bool)  # each channel is flattened to two columns
    second[0, 1] = second[3, 4] = True  # out of channel 0; out of channel 2
    kept = remove_chains([first, second])
    assert kept[0].nonzero().tolist() == [[0, 1, 2, 2]]
    assert kept[1].nonzero().tolist() == [[0, 1]]


def test_chains_of_few_layers():
    mask = random_mask((3, 4), 0.3)
    assert remove_chains([]) == []
    assert torch.equal(remove_chains([mask])[0], mask)
    cut = remove_chains([mask, torch.zeros(2, 3, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)])
    assert not any(layer.any() for layer in cut)


def test_chains_refuse():
    mask = torch.ones(3, 4, dtype=torch.bool)
    with pytest.raises(InputError, match="a layer of 3 x 4 cannot be followed by one of 3 x 4"):
        remove_chains([mask, mask])
    with pytest.raises(InputError, match="chains need bool masks of shape .*; got torch.float32 of 3 x 4"):
        remove_chains([mask.float()])
