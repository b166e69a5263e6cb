"""What removing a channel removes elsewhere, from torch-pruning's dependency graph of a traced model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sinewy.criteria.running import reason
from sinewy.errors import InputError, MissingExtraError
from sinewy.structured.joining import Joined
from sinewy.structured.removal import HEADS, head_readers
from sinewy.structured.sides import WHOLE, Sides

MIXES, OUTPUT = "mixes", "output"
"""Marks: passes a norm over all channels; reaches an output of the network. Any other is a reason to leave alone."""


def trace(model: nn.Module, example_input: Any) -> Joined:
    """Return what leaves together in `model`, a private copy of which is run once on `example_input` (eval mode).

    Raises MissingExtraError without torch-pruning, InputError where the model cannot be run or traced.
    """
    graph = _graph(model, example_input)
    joined = Joined(tuple(name for name, _ in (*model.named_parameters(), *model.named_buffers())))
    sides = Sides(model, joined)
    covered: set[tuple[int, int]] = set()
    for module in list(graph.module2node):
        if not isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            continue
        channels = module.out_channels if isinstance(module, nn.modules.conv._ConvNd) else module.out_features
        if not all((id(module), index) in covered for index in range(channels)):
            _follow(graph, module, channels, sides, covered)
    _join_heads(model, joined, sides)
    return joined


def run(model: nn.Module, example_input: Any) -> Any:
    """Return the model's outputs on a tensor, a tuple of arguments, or a mapping of named ones."""
    if isinstance(example_input, Mapping):
        return model(**example_input)
    return model(*example_input) if isinstance(example_input, (tuple, list)) else model(example_input)


def mapped(inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return the inputs of a model with `function` applied to every tensor in them."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {name: mapped(value, function) for name, value in inputs.items()}
    return tuple(mapped(value, function) for value in inputs) if isinstance(inputs, (tuple, list)) else inputs


def flat_outputs(outputs: Any) -> list[Tensor]:
    """Return the tensors in the outputs of a model, which may be nested in tuples, lists and mappings."""
    if isinstance(outputs, Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, (tuple, list)) else ()
    return [tensor for part in parts for tensor in flat_outputs(part)]


def _follow(graph: Any, module: Any, channels: int, sides: Sides, covered: set[tuple[int, int]]) -> None:
    """Join what the graph says leaves with the output channels of one module."""
    root = sides.of(module, out=True)
    if root is None:
        return
    for dependency, indices in _reached(graph, module, channels):
        target, is_out = dependency.target.module, graph.is_out_channel_pruning_fn(dependency.handler)
        entries = np.array([index.idx for index in indices], np.int64)
        roots = root.entries[np.array([index.root_idx for index in indices], np.int64)]
        if is_out:
            covered |= {(id(target), index.idx) for index in indices}
        if type(target).__name__ == "_OutputOp":
            sides.joined.mark(OUTPUT, roots)
        elif isinstance(target, WHOLE):
            sides.joined.mark(f"{type(target).__name__}, whose code fixes its size", roots)
        elif isinstance(target, nn.LayerNorm) or (isinstance(target, nn.GroupNorm) and target.num_groups == 1):
            sides.joined.mark(MIXES, roots)
        side = sides.of(target, out=is_out and not _is_reader(dependency, graph), dim=dependency.target.pruning_dim)
        if side is None:
            continue
        if entries.max() >= len(side.entries):
            sides.joined.mark(f"{type(target).__name__}, whose channels torch-pruning could not follow", roots)
        else:
            sides.joined.join(side.entries[entries], roots)


def _reached(graph: Any, module: Any, channels: int) -> Iterator[tuple[Any, list[Any]]]:
    """Yield every dependency that the outputs of `module` set off, with its indices and those at the root.

    As torch-pruning's `get_pruning_group` walks, which keeps one root per index: of q, k and v that meet, only q.
    """
    from torch_pruning._helpers import _HybridIndex

    node = graph.module2node[module]
    start = [_HybridIndex(idx=index, root_idx=index) for index in range(channels)]
    stack = [(node, graph.get_pruner_of_module(module).prune_out_channels, start)]
    seen: set[tuple[int, Any, tuple[Any, ...]]] = set()
    while stack:
        node, function, indices = stack.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(function):
                continue
            reached = indices
            for mapping in dependency.index_mapping:
                reached = mapping(reached) if mapping is not None else reached
            key = (id(dependency.target), dependency.handler, tuple(sorted(reached)))
            if reached and key not in seen:
                seen.add(key)
                stack.append((dependency.target, dependency.handler, reached))
                yield dependency, reached


def _is_reader(dependency: Any, graph: Any) -> bool:
    """Return whether a dependency takes inputs of its target; layers that make nothing have only one side."""
    pruner = graph.get_pruner_of_module(dependency.target.module)
    return bool(
        dependency.handler == pruner.prune_in_channels and pruner.prune_in_channels != pruner.prune_out_channels
    )


def _join_heads(model: nn.Module, joined: Joined, sides: Sides) -> None:
    """Let the features of an attention head, as its output projection reads them, leave together."""
    for module in model.modules():
        heads = next((n for n in (getattr(module, a, None) for a in HEADS) if isinstance(n, int) and n > 0), 0)
        readers = head_readers(module)
        if not heads or len(readers) < 2:
            continue
        side = sides.known.get((id(readers[-1][1]), False))
        if side is not None and len(side.entries) % heads == 0:
            joined.join_blocks(side.entries, np.arange(len(side.entries)) // (len(side.entries) // heads))


def _graph(model: nn.Module, example_input: Any) -> Any:
    """Return torch-pruning's graph of `model`, taught what it does not know: padded channels, and what is an output."""
    try:
        import torch_pruning
    except ModuleNotFoundError:
        raise MissingExtraError("channel groups need torch-pruning: pip install 'sinewy[structured]'") from None
    model.eval().requires_grad_()
    graph = torch_pruning.DependencyGraph()
    with torch.enable_grad(), warnings.catch_warnings(), last_entered(model) as entered:
        warnings.simplefilter("ignore")  # about parameters outside modules, which the trial decides on
        try:
            outputs = run(model, example_input)
        except Exception as error:
            raise InputError(
                f"{type(model).__name__} does not run on the example input: {entered()} raised {reason(error)}; give"
                " one as the model takes it."
            ) from error
        if not any(tensor.requires_grad for tensor in flat_outputs(outputs)):
            raise InputError(
                f"{type(model).__name__} cannot be traced: no output depends on a parameter by differentiable"
                f" operations; the last module entered was {entered()}."
            )
        try:
            graph.build_dependency(
                model,
                example_input,
                forward_fn=run,
                output_transform=lambda found: [t * 1.0 for t in flat_outputs(found) if t.requires_grad],
                verbose=False,
            )
        except Exception as error:
            raise InputError(
                f"{type(model).__name__} runs, but torch-pruning cannot follow its channels ({reason(error)}): some"
                " operation on them, such as a channel shuffle, is unknown to it."
            ) from error
    for node in graph.module2node.values():
        pad = (
            getattr(node.grad_fn, "_saved_pad", None) if type(node.grad_fn).__name__.startswith("ConstantPad") else None
        )
        if pad is None:
            continue
        shape = node.grad_fn._input_metadata[0].shape
        by = 2 * (len(shape) - 2)  # pairs of (before, after), from the last dimension on; channels are the second
        if 0 <= by < len(pad):
            for before in node.inputs:
                _shift(node, before, int(pad[by]), int(shape[1] - pad[by] - pad[by + 1]))
    return graph


@contextmanager
def last_entered(model: nn.Module) -> Iterator[Any]:
    """Yield a function that names the module that was entered last."""
    names: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: names.append(name))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield lambda: f"module '{names[-1]}'" if names else "the model itself"
    finally:
        for hook in hooks:
            hook.remove()


def _shift(node: Any, before: Any, by: int, size: int) -> None:
    """Teach the graph that channel i of the `size` channels before a padding node comes out as channel i + by."""

    def moved(indices: Any, distance: int, end: int) -> Any:
        targets = [(index.idx + distance, index.root_idx) for index in indices]
        return [type(indices[0])(idx=idx, root_idx=root) for idx, root in targets if 0 <= idx < end]

    for dependency in before.dependencies:
        if dependency.target is node:
            dependency.index_mapping[1] = lambda indices: moved(indices, by, by + size)
    for dependency in node.dependencies:
        if dependency.target is before:
            dependency.index_mapping[1] = lambda indices: moved(indices, -by, size)
