"""Which examples a network is scored on: few, of the training data, and of all classes alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from sinewy.criteria.criterion import Batch, Need
from sinewy.data.batches import normalise
from sinewy.data.images import ImageSet, Splits
from sinewy.errors import InputError
from sinewy.seeds import derive

SIZE = 128
"""Examples in a batch unless told: SNIP's for CIFAR (Lee et al. 2019); GraSP's code takes 10 of each class."""

Index = NDArray[np.intp]


def scoring_batches(
    data: Any,
    *,
    number: int = 1,
    size: int | None = None,
    balanced: bool = True,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> list[Batch]:
    """Return at most `number` batches of training data on `device`: inputs as the model takes them, and labels.

    `data` is an ImageSet, or Splits for their training part (normalised with its mean and std, of type `dtype`), a pair
    (inputs, labels) of tensors, inputs alone (labels come as None), or an iterable of such batches, as a DataLoader is.
    From what can be indexed, number x size examples (128 unless `size` says) are drawn by `seed`, each class alike as
    far as they reach if `balanced` and the labels are class numbers. An iterable gives its first batches as they come;
    torch's, numpy's and Python's random numbers, the loader's own, and an epoch of it that is under way then go on as
    if nothing had been drawn. Raises InputError for an ImageSet of split "test": a mask chosen with test images would
    flatter every figure measured on them.
    """
    if number < 1 or (size is not None and size < 1):
        raise InputError(f"batches={number} and batch_size={size} must be at least 1.")
    if isinstance(data, Splits):
        data = data.train
    if isinstance(data, ImageSet):
        return _of_images(data, number, size or SIZE, balanced, seed, device, dtype)
    if _is_array(data):
        return _of_tensors(data, None, number, size or SIZE, balanced, seed, device)
    if isinstance(data, tuple | list) and len(data) == 2 and all(map(_is_array, data)):
        return _of_tensors(data[0], data[1], number, size or SIZE, balanced, seed, device)
    if not isinstance(data, Iterable):
        raise InputError(
            f"cannot take training batches from {type(data).__name__}; pass a DataLoader, (inputs, labels), inputs, or"
            " a sinewy.data.ImageSet."
        )
    if size is not None:
        raise InputError(f"the batches of a {type(data).__name__} come as they are; set its own batch_size instead.")
    with _undisturbed(data, seed), torch.inference_mode(False):
        batches = [_ready(batch, device) for batch in islice(data, number)]
    if not batches:
        raise InputError("the training data has no batch; is the loader empty, or its iterator used up?")
    return batches


class Scorer(Protocol):
    """What a criterion says of the data it reads."""

    needs: ClassVar[Need]
    batches: ClassVar[int]


def batches_for(
    criterion: Scorer,
    name: str,
    data: Any,
    *,
    number: int | None,
    size: int | None,
    example_input: Any,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> list[Batch]:
    """Return the batches that the criterion called `name` needs, `number` of them or its own number; none if none.

    Where inputs are enough, `example_input` will do without `data`. Raises InputError for data that it lacks.
    """
    if criterion.needs == "nothing":
        return []
    if data is None and criterion.needs in ("shape", "inputs") and example_input is not None:
        return [(_moved(example_input, device), None)]
    if data is None:
        what = "data=(inputs, labels)" if criterion.needs == "labels" else "data=inputs"
        raise InputError(f"'{name}' looks at training data; pass {what}, or a loader of training batches.")
    number = criterion.batches if number is None else number
    found = scoring_batches(data, number=number, size=size, seed=seed, device=device, dtype=dtype)
    if criterion.needs == "labels" and any(labels is None for _, labels in found):
        raise InputError(f"'{name}' needs labels as well; pass data=(inputs, labels).")
    return found


def _of_images(
    data: ImageSet,
    number: int,
    size: int,
    balanced: bool,
    seed: int,
    device: str | torch.device,
    dtype: torch.dtype,
) -> list[Batch]:
    if data.split == "test":
        raise InputError(
            f"{data.name} is marked as test images, which only measure; choose masks with the training part (.train)."
        )
    drawn = _draw(data.labels if balanced else None, len(data), number * size, seed)
    parts = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    pixels = [torch.from_numpy(data.images[part]).to(device) for part in parts]
    inputs = [normalise(part, data.mean, data.std, channels_last=False).to(dtype) for part in pixels]
    return [(x, torch.tensor(data.labels[part], device=device)) for x, part in zip(inputs, parts, strict=True)]


def _of_tensors(
    inputs: Any, labels: Any, number: int, size: int, balanced: bool, seed: int, device: str | torch.device
) -> list[Batch]:
    inputs, labels = _tensor(inputs), None if labels is None else _tensor(labels)
    if inputs.ndim == 0 or not len(inputs):
        raise InputError(f"the training inputs have shape {tuple(inputs.shape)}; pass at least one example.")
    if labels is not None and (labels.ndim == 0 or len(labels) != len(inputs)):
        raise InputError(f"there are {len(inputs)} inputs but labels of shape {tuple(labels.shape)}; pass one each.")
    numbers = labels is not None and labels.ndim == 1 and not labels.is_floating_point()
    classes = labels.cpu().numpy() if balanced and numbers and labels is not None else None
    drawn = _draw(classes, len(inputs), number * size, seed)
    parts = torch.split(torch.from_numpy(drawn), size)
    return [
        _ready((inputs[part.to(inputs.device)], None if labels is None else labels[part.to(labels.device)]), device)
        for part in parts
    ]


def _draw(labels: NDArray[Any] | None, n: int, wanted: int, seed: int) -> Index:
    """Return up to `wanted` of n places in random order; with labels, every class once before any comes twice."""
    # Raw words, unlike numpy's distributions, never change between numpy versions.
    words = np.random.Philox(key=derive("scoring", seed)).random_raw(n)
    if labels is None:
        return words.argsort(kind="stable")[:wanted]
    order = np.lexsort((words, labels))
    sizes = np.unique(labels, return_counts=True)[1]
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.lexsort((words, rank))[:wanted]


def _ready(batch: Any, device: str | torch.device) -> Batch:
    """Return (inputs, labels) on the device, labels of whole numbers as int64."""
    if isinstance(batch, Tensor):
        batch = (batch, None)
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise InputError(
            f"a training batch must be (inputs, labels), got {type(batch).__name__}; wrap the loader in a generator"
            " that yields such pairs."
        )
    inputs, labels = _moved(batch[0], device), _moved(batch[1], device)
    if isinstance(inputs, Tensor) and inputs.dtype is torch.uint8:
        raise InputError("training inputs are uint8; pass them as the model takes them, scaled and normalised.")
    if isinstance(labels, Tensor) and not labels.is_floating_point():
        labels = labels.long()
    return inputs, labels


def _moved(value: Any, device: str | torch.device) -> Any:
    def move(tensor: Tensor) -> Tensor:
        moved = tensor.detach().to(device)
        return moved.clone() if moved.is_inference() else moved  # those of inference mode take no part in gradients

    return mapped(value, move)


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch with `function` applied to every tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        return type(value)(mapped(part, function) for part in value)
    if isinstance(value, dict):
        return {key: mapped(part, function) for key, part in value.items()}
    return value


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value)


@contextmanager
def _undisturbed(data: Any, seed: int) -> Iterator[None]:
    """Read a loader with torch's generator seeded; put back that, every generator that it may have used, its iterator.

    A loader of persistent workers has one iterator only, which reading would take from an epoch that is under way.
    """
    owners = [data, getattr(data, "sampler", None), getattr(getattr(data, "batch_sampler", None), "sampler", None)]
    generators = [g for owner in owners if isinstance(g := getattr(owner, "generator", None), torch.Generator)]
    states = [generator.get_state() for generator in generators]
    iterator = _set_aside(data)
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - its transforms may draw from it
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators too.
        torch.default_generator.manual_seed(derive("loader", seed))
        try:
            yield
        finally:
            _put_back(data, iterator)
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _set_aside(data: Any) -> Any:
    """Take from a loader the iterator that it keeps, if it keeps any, so that the next one is new; return it."""
    if not isinstance(data, DataLoader):
        return None
    iterator, data._iterator = data._iterator, None
    return iterator


def _put_back(data: Any, iterator: Any) -> None:
    """Give a loader its own iterator back, and end the workers of the one that it has made since."""
    if not isinstance(data, DataLoader):
        return
    made, data._iterator = data._iterator, iterator
    if made is not None:
        made._shutdown_workers()  # type: ignore[attr-defined]
