"""Where a new link belongs in a sparse layer, by the layer's topology alone (Cannistraci-Hebb theory).

The layer is a bipartite graph: output neuron u and input neuron v are linked where mask[u, v] is True. An absent link
(u, v) is judged by the paths u - z1 - z2 - v of length 3, z1 an input neuron linked to u and z2 an output neuron linked
to v. Their inner neurons are the local community of (u, v). A neuron z of it has an internal degree i, its links to
neurons of the community, and an external degree e, its links to neither the community nor u or v.

No path need be walked to know these. A neighbour z2 of v lies in the community if it shares an input with u, and every
input it shares with u does too: i(z2) is the number of inputs shared by u and z2, whatever v is, and e(z2) is the
degree of z2, less 1 (the link to v), less i(z2). The same holds for z1, in terms of v and z1. So two tables, (output,
output) and (input, input), hold every degree of every community.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.sparse import csr_array
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve
from sinewy.select import count
from sinewy.topology import LINK_SCORES

NeuronWeight = Callable[[Tensor, Tensor], Tensor]
"""(internal degree, external degree) -> weight, elementwise on float32 tensors; the degree is their sum plus 1."""

_SPARSE_BELOW = 0.12
"""Density under which a product with a mask is cheaper over its links than dense, on a CPU."""


@torch.no_grad()
def link_scores(mask: Tensor, kind: str = "CH3-L3", form: str = "matrix") -> Tensor:
    """Return how much each absent link of a layer is called for by the links that exist; 0 for existing ones.

    `mask` is bool (out, in); returns float32 of the same shape and device, never negative, and 0 where no path of
    length 3 leads from the one neuron to the other. `kind` weighs a neuron of the local community by its internal
    degree i and external degree e: "CH3-L3" by 1 / (1 + e), "CH2-L3" by (1 + i) / (1 + e), "RA-L3" by 1 / degree, or a
    "package.module:function" of (i, e). `form` combines the weights:

    - "matrix": their sum over the neurons of the community, the node-based CH2-L3n and CH3-L3n of the CHTs code (for
      RA-L3 the same rule, which that code does not have). Four products of the mask with a square table: O(links (out
      + in)) on a CPU, O(out in (out + in)) on other devices and for dense masks.
    - "path": the sum over paths of the geometric mean of the two weights, the exact CHx-L3p (Muscoloni et al. 2020;
      Zhang et al. 2024). One dense product per neuron, O(n sum of squared degrees) over the n neurons of the cheaper
      side, so about density**2 out in**2.

    Raises InputError for a mask that is not a bool matrix, and for an unknown kind or form.
    """
    if mask.dtype is not torch.bool or mask.ndim != 2:
        raise InputError(f"link scores need a bool mask of shape (out, in); got {mask.dtype} of {tuple(mask.shape)}.")
    weigh: NeuronWeight = resolve("link score", kind, LINK_SCORES)
    if form not in _FORMS:
        raise unknown_name("form of link scores", form, _FORMS)
    with torch.autocast(mask.device.type, enabled=False):  # bfloat16 cannot count beyond 256
        return _FORMS[form](mask.contiguous(), weigh).masked_fill_(mask, 0)


def ch3(internal: Tensor, external: Tensor) -> Tensor:
    """Return 1 / (1 + e): few links out of the community are wanted."""
    del internal
    return (1 + external).reciprocal_()


def ch2(internal: Tensor, external: Tensor) -> Tensor:
    """Return (1 + i) / (1 + e): many links within the community are wanted, few out of it."""
    return (1 + internal).div_(1 + external)


def ra(internal: Tensor, external: Tensor) -> Tensor:
    """Return 1 / degree: resource allocation, which knows no community (Zhou et al. 2009)."""
    return (1 + internal + external).reciprocal_()


def _matrix(mask: Tensor, weigh: NeuronWeight) -> Tensor:
    outputs, inputs = _side(mask), _side(mask.T)
    of_outputs = outputs.weights(weigh).mul_(outputs.shared > 0)
    of_inputs = inputs.weights(weigh).mul_(inputs.shared > 0)
    return outputs.times(of_inputs).add_(inputs.times(of_outputs).T)


def _path(mask: Tensor, weigh: NeuronWeight) -> Tensor:
    outputs, inputs = _side(mask), _side(mask.T)
    by_input, by_output = (float(side.degree.square().sum()) * len(side.degree) for side in (inputs, outputs))
    of_outputs, of_inputs = outputs.weights(weigh).sqrt_(), inputs.weights(weigh).sqrt_()
    if by_input <= by_output:
        return _over_paths(mask, of_outputs, of_inputs)
    return _over_paths(mask.T.contiguous(), of_inputs, of_outputs).T.contiguous()


def _over_paths(mask: Tensor, of_outputs: Tensor, of_inputs: Tensor) -> Tensor:
    """Return the sum over z1 and z2 of of_outputs[z2, u] * of_inputs[z1, v], for every (u, v), one z1 after another."""
    links = mask.float()
    scores = torch.zeros_like(links)
    neighbours = torch.split(mask.T.nonzero()[:, 1].contiguous(), mask.sum(0).tolist())
    for z1, near in enumerate(neighbours):
        onward = of_outputs[near[:, None], near].T @ links[near]  # for u and z2 in `near`: the sum over z2, for any v
        scores.index_add_(0, near, onward.mul_(of_inputs[z1]))
    return scores


_FORMS: dict[str, Callable[[Tensor, NeuronWeight], Tensor]] = {"matrix": _matrix, "path": _path}


class _Side(NamedTuple):
    """What the neurons of one side have in common."""

    times: Callable[[Tensor], Tensor]
    """x -> (this side, other side) links @ x."""
    shared: Tensor
    """(n, n): neighbours shared by each two; the internal degree of a neuron (row) in the communities of another."""
    degree: Tensor

    def weights(self, weigh: NeuronWeight) -> Tensor:
        """Return the weight of each neuron (row) in the communities of each neuron of its own side (column)."""
        # Less than 0 can only be met where u and v are linked already: then the score is not wanted.
        external = (self.degree[:, None] - 1 - self.shared).clamp_(min=0)
        return weigh(self.shared, external)


def _side(mask: Tensor) -> _Side:
    links = mask.float()
    times = _multiplier(mask)
    return _Side(times, times(links.T), links.sum(1))


def _multiplier(mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function x -> mask @ x for float32 matrices x."""
    if mask.device.type != "cpu" or count(mask) > _SPARSE_BELOW * mask.numel():
        return mask.float().matmul
    columns = mask.nonzero()[:, 1].numpy()
    starts = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0)).numpy()
    matrix = csr_array((torch.ones(len(columns)).numpy(), columns, starts), shape=tuple(mask.shape))
    return lambda x: torch.from_numpy(matrix @ x.numpy())
