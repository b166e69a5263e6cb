"""Two ranks over gloo train what one process trains on the whole batch, and say so together when they cannot."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import sinewy as sw
from sinewy.sparsify import SPARSIFIERS
from test_sparsify import STEPS, batch, make, small_model

pytestmark = pytest.mark.filterwarnings("ignore:the masks leave parts unconnected")
RANKS = 2
DEADLINE = 200
"""Seconds until both processes are killed; they need about ten."""

OTHER_GROWTH = {
    "set": "gradient",
    "set-original": "gradient",
    "rigl": "random",
    "mest": "gradient",
    "mest-original": "gradient",
    "granet": "random",
    "granet-original": "random",
}
VARIANTS = {name: (name, {}) for name in SPARSIFIERS} | {
    f"{name} by {grow}": (name, {"grow": grow}) for name, grow in OTHER_GROWTH.items()
}
AFTER, BEFORE, APART = "attached after wrapping", "attached before wrapping", "accumulating without synchronising"
RUNS = [
    *((label, AFTER) for label in VARIANTS),
    *((name, BEFORE) for name in ("rigl", "fixed-capacity", "acdc", "cht", "topkast")),
    *((name, APART) for name in ("rigl", "snfs", "topkast")),
]


def exact_model(seed: int = 0) -> nn.Module:
    """Without batch statistics and in float64, so that the mean of two halves is the whole but for rounding."""
    return small_model(seed).double().eval()


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)


def backward(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, share: float = 1.0) -> None:
    (share * F.cross_entropy(model(images.double()), labels)).backward()


def outcome(model: nn.Module, sparse: sw.Sparsifier) -> dict[str, dict[str, torch.Tensor]]:
    return {"masks": dict(sparse.masks), "weights": dict(model.state_dict())}


def alone(name: str, options: dict[str, str]) -> dict[str, dict[str, torch.Tensor]]:
    """One process, the whole batch."""
    model = exact_model()
    optimizer = momentum(model)
    sparse = make(name, **options).attach(model, optimizer, steps=STEPS)
    for step in range(STEPS):
        optimizer.zero_grad()
        backward(model, *batch(step))
        optimizer.step()
    return outcome(model, sparse)


def shared(rank: int, name: str, options: dict[str, str], way: str) -> dict[str, dict[str, torch.Tensor]]:
    """One of two ranks, half of the batch each; where it is wrapped first, DDP gives rank 1 the weights of rank 0."""
    before = way == BEFORE
    model = exact_model(seed=0 if before else rank)
    optimizer, sparse = momentum(model), make(name, **options)
    if before:
        sparse.attach(model, optimizer, steps=STEPS)
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=before)
    if not before:
        sparse.attach(wrapped, optimizer, steps=STEPS)
    for step in range(STEPS):
        optimizer.zero_grad()
        images, labels = (part.chunk(RANKS)[rank] for part in batch(step))
        if way == APART:
            with wrapped.no_sync():
                backward(wrapped, images[:3], labels[:3], 0.5)
            backward(wrapped, images[3:], labels[3:], 0.5)
        else:
            backward(wrapped, images, labels)
        optimizer.step()
    return outcome(model, sparse)


def shared_or_told(rank: int, *run: Any) -> dict[str, dict[str, torch.Tensor]] | str:
    """The run, or what both ranks are told where it fails, so that one method's fault is not all methods'."""
    try:
        return shared(rank, *run)
    except sw.InputError as error:
        return str(error)


def misled(rank: int, name: str, *, seed: int = 0, weights: int = 0, masks: bool = False) -> str:
    """Train without averaging gradients, rank 1 with another seed or weights; return what it was told, and when."""
    model = exact_model(seed=weights * rank)
    optimizer, sparse = momentum(model), make(name, seed=seed * rank)
    other = exact_model()
    begin = make("static").attach(other, momentum(other)).masks if masks else None
    try:
        sparse.attach(model, optimizer, steps=STEPS, masks=begin)
        for step in range(STEPS):
            optimizer.zero_grad()
            backward(model, *batch(step))
            optimizer.step()
    except sw.InputError as error:
        return f"step {sparse.step}: {error}"
    return "nothing"


def scored(rank: int, *, wrapped: bool) -> str:
    """Prune by SNIP on every second example, as a distributed sampler deals them out; return the masks' hash."""
    model, (images, labels) = exact_model(), batch(100)
    parts = DistributedDataParallel(model) if wrapped else model
    sparse = sw.SNIP(0.5).attach(parts, momentum(model), data=(images[rank::RANKS].double(), labels[rank::RANKS]))
    return sparse.masks.hash


MISTAKES = {
    "another seed, static": (partial(misled, name="static", seed=1), 0),
    "another seed, rigl": (partial(misled, name="rigl", seed=1), 0),
    "another seed, the same masks to begin with": (partial(misled, name="set", seed=1, masks=True), 4),
    "other weights, masks of the largest": (partial(misled, name="topkast", weights=1), 0),
    "other weights, gradients not averaged": (partial(misled, name="rigl", weights=1), 4),
}
"""What goes wrong on rank 1, and the step at which both ranks are to stop."""


def rank_main(rank: int, folder: str) -> None:
    """What one process does; a rank that fails alone leaves the other waiting until the group's own time limit."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS, timeout=timedelta(seconds=60))
    said = {name: mistake(rank) for name, (mistake, _) in MISTAKES.items()}
    runs = {(label, way): shared_or_told(rank, *VARIANTS[label], way) for label, way in RUNS}
    torch.save((said, runs, scored(rank, wrapped=True)), Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank saw and reached; the processes are ended at the deadline, whatever they wait for."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = [mp.get_context("spawn").Process(target=rank_main, args=(rank, str(folder))) for rank in range(RANKS)]
    for process in processes:
        process.start()
    until = time.monotonic() + DEADLINE
    for process in processes:
        process.join(max(0, until - time.monotonic()))
    exits = [process.exitcode for process in processes]  # None: it hangs
    for process in processes:
        process.kill()
        process.join()
    assert exits == [0] * RANKS, f"the ranks ended with {exits}"
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(RANKS)]


@pytest.fixture(scope="module")
def single():
    """The runs of one process, each trained once."""
    return {label: alone(*variant) for label, variant in VARIANTS.items()}


@pytest.mark.parametrize(("label", "way"), RUNS)
def test_two_ranks_train_as_one_process(ranks, single, label, way):
    first, second = (runs[label, way] for _, runs, _ in ranks)
    assert isinstance(first, dict), first
    for kind in ("masks", "weights"):
        for name, value in first[kind].items():
            assert torch.equal(value, second[kind][name]), f"{name}: the ranks differ"
    assert list(first["masks"]) == list(single[label]["masks"])
    for name, mask in single[label]["masks"].items():
        assert torch.equal(first["masks"][name], mask), name
    for name, weight in single[label]["weights"].items():
        torch.testing.assert_close(first["weights"][name], weight, rtol=1e-9, atol=1e-9, msg=f"{name} differs")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_both_ranks_say_what_differs(ranks, mistake):
    step = MISTAKES[mistake][1]
    heard = [said[mistake] for said, _, _ in ranks]
    assert heard[0] == heard[1]
    assert heard[0].startswith(f"step {step}: the ranks hold different masks for '0.weight' at step {step};")
    assert "start them from the same weights and seed" in heard[0]
    assert "let it average the gradients" in heard[0]


def test_each_rank_may_hold_its_own_share_of_the_data(ranks):
    """The first rank's share is what is scored, and its masks are everyone's."""
    first, second = (masks for _, _, masks in ranks)
    assert first == second == scored(0, wrapped=False) != scored(1, wrapped=False)
