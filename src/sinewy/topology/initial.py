"""What links a sparse layer begins with: graphs of exactly as many links as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.errors import InputError
from sinewy.select import largest_mask, positions, random_free, sample_mask

Shape = tuple[int, int]
"""(output neurons, input neurons)."""

Matrix = NDArray[np.float64]

_BLOCK = 1024
"""Examples taken at a time. So many products of two integers up to 128 add up exactly in float32: 2**10 * 2**14."""


def random_graph(shape: Shape, links: int, generator: torch.Generator) -> Tensor:
    """Return a bool (out, in) mask with `links` True, all such masks being equally likely (Erdos-Renyi).

    `generator` lives on the CPU, as does the mask. Raises InputError if the layer cannot hold `links` links.
    """
    _check(shape, links)
    return _add_at_random(torch.zeros(shape, dtype=torch.bool), links, generator)


def small_world(shape: Shape, links: int, beta: float, generator: torch.Generator) -> Tensor:
    """Return a bipartite small world: a banded lattice of `links` links, of which the share `beta` is rewired.

    In the lattice each neuron i of the larger side, of n, is linked to consecutive neurons of the smaller side, of m,
    around i * m / n, cyclically; the degrees differ by at most 1, evenly spread. Then each link is cut with probability
    `beta`, and as many are added at random where there is none, which may be where one was cut: beta 0 is the lattice
    (the generator is not read), beta 1 is `random_graph` (Watts and Strogatz 1998; bipartite as in the CHTs code).
    Returns bool (out, in) on the CPU with exactly `links` True. Raises InputError if the layer cannot hold `links`
    links, and for beta outside [0, 1].
    """
    _check(shape, links)
    if not 0 <= beta <= 1:
        raise InputError(f"beta must be in [0, 1], the share of links that are rewired; got {beta!r}.")
    mask = _lattice(min(shape), max(shape), links)
    mask = mask if shape[0] <= shape[1] else mask.T.contiguous()
    if beta == 0:
        return mask
    cut = positions(mask)[torch.rand(links, generator=generator) < beta]
    mask.view(-1)[cut] = False
    return _add_at_random(mask, len(cut), generator)


def scale_free(shape: Shape, links: int, generator: torch.Generator) -> Tensor:
    """Return a bipartite graph grown by preferential attachment: few neurons of many links, many of few.

    The neurons of both sides arrive one by one, evenly interleaved. Each brings an equal share of the links, to neurons
    of the other side that are there already, drawn without replacement with probability proportional to their present
    degree plus 1; what it cannot place because too few are there is left to the next. So the first density * out and
    density * in neurons become fully linked among each other. At last the neurons of each side are shuffled, because
    the oldest are the hubs. Of equal sides, the share of neurons with more than k links falls as k**-2. (Barabasi and
    Albert 1999, bipartite. The CHTs code instead grows a graph of neurons of one kind, and moves the links that fall
    within a side.)

    Returns bool (out, in) on the CPU with exactly `links` True. Raises InputError if the layer cannot hold them.
    """
    _check(shape, links)
    mask = torch.zeros(shape, dtype=torch.bool)
    sides = (mask, mask.T)
    degrees = [torch.ones(size, dtype=torch.float64) for size in shape]  # plus 1
    present, placed = [0, 0], 0
    for arrived, side in enumerate(_arrivals(shape), start=1):
        other, newcomer = 1 - side, present[side]
        # With a and b neurons there, a * b / (a + b) only grows: the last arrivals always find room for what is left.
        brought = min(arrived * links // sum(shape) - placed, present[other])
        partners = sample_mask(degrees[other][: present[other]], brought, generator)
        sides[side][newcomer, : present[other]] = partners
        degrees[other][: present[other]] += partners
        degrees[side][newcomer] += brought
        present[side] += 1
        placed += brought
    rows, columns = (torch.randperm(size, generator=generator) for size in shape)
    return mask[rows][:, columns].contiguous()


def correlated(features: Tensor, shape: Shape, links: int) -> Tensor:
    """Return the correlated sparse topological initialisation (CSTI): links where input features correlate most.

    The same as `from_correlation(correlation(features), shape, links)`; use these two for several layers.
    """
    return from_correlation(correlation(features), shape, links)


def from_correlation(correlations: Tensor, shape: Shape, links: int) -> Tensor:
    """Return the mask of the `links` largest |correlation|, the (d, d) matrix being repeated to fill the layer.

    Output neuron i and input neuron j stand for the features i mod d and j mod d, so that wider or narrower layers
    repeat or crop the matrix; among ties the lowest row-major positions win (Zhang et al. 2024). Returns bool (out, in)
    with exactly `links` True. Raises InputError if `correlations` is not square, or the layer cannot hold the links.
    """
    _check(shape, links)
    if correlations.ndim != 2 or correlations.shape[0] != correlations.shape[1] or not len(correlations):
        raise InputError(f"correlations must be a square matrix; got shape {tuple(correlations.shape)}.")
    rows, columns = (torch.arange(size) % len(correlations) for size in shape)
    return largest_mask(correlations.abs()[rows[:, None], columns], links)


def correlation(features: Tensor) -> Tensor:
    """Return the Pearson correlation of every two features over all examples, and 0 of a feature with itself.

    `features` is (examples, d), uint8 or floating; correlations do not depend on the scale, so raw pixels will do.
    Returns float64 (d, d) on the CPU, symmetric, in [-1, 1]; 0 where a feature is constant. Sums are exact for uint8
    and in float64 about the mean otherwise; memory beyond `features` is a few d * d. Raises InputError for fewer than
    two examples, another number of dimensions, and values that are not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise InputError(
            f"correlation needs at least 2 examples of shape (examples, features); got {tuple(features.shape)}."
            " Flatten images first."
        )
    exact = features.dtype is torch.uint8
    centre = np.float32(128) if exact else _mean(features)
    count, size = features.shape
    products, sums = np.zeros((size, size)), np.zeros(size)
    varies = np.zeros(size, dtype=bool)
    for block in torch.split(features.detach(), _BLOCK):
        varies |= (block != features[0]).any(dim=0).cpu().numpy()
        x: NDArray[Any] = (block.float() if exact else block.double()).cpu().numpy() - centre
        products += x.T @ x  # of a matrix with itself: NumPy does half the work, and the result is symmetric
        sums += x.sum(axis=0, dtype=np.float64)
    covariance = count * products - np.outer(sums, sums)  # times count**2: a division would round
    return torch.from_numpy(_normalised(covariance, varies))


def _normalised(covariance: Matrix, varies: NDArray[np.bool_]) -> Matrix:
    variances = covariance.diagonal()
    # Of a constant feature rounding may leave a little, which must not be divided by itself.
    deviations = np.where(varies & (variances > 0), np.sqrt(np.maximum(variances, 0)), np.inf)
    correlations: Matrix = np.clip(covariance / np.outer(deviations, deviations), -1, 1)
    np.fill_diagonal(correlations, 0)
    return correlations


def _mean(features: Tensor) -> Matrix:
    total = torch.zeros(features.shape[1], dtype=torch.float64)
    for block in torch.split(features.detach(), _BLOCK):
        total += block.double().sum(dim=0).cpu()
    if not total.isfinite().all():
        where = int((~total.isfinite()).nonzero()[0])
        raise InputError(f"feature {where} is not finite in every example; correlations need finite features.")
    mean: Matrix = (total / len(features)).numpy()
    return mean


def _lattice(rows: int, columns: int, links: int) -> Tensor:
    """Return a (rows, columns) mask in which every column holds an equal share of links, on the diagonal band."""
    column = torch.arange(columns)
    degree = (column + 1) * links // columns - column * links // columns
    start = (2 * column * rows - degree * columns) // (2 * columns)
    of_link = column.repeat_interleave(degree)
    rank = torch.arange(links) - (degree.cumsum(0) - degree)[of_link]
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    mask[(start[of_link] + rank) % rows, of_link] = True
    return mask


def _arrivals(shape: Shape) -> list[int]:
    """Return the side, 0 or 1, of each neuron in order of arrival: evenly interleaved."""
    when = torch.cat([(torch.arange(size, dtype=torch.float64) + 0.5) / size for size in shape])
    return (when.argsort(stable=True) >= shape[0]).int().tolist()


def _add_at_random(mask: Tensor, links: int, generator: torch.Generator) -> Tensor:
    flat = mask.view(-1)
    flat[random_free(flat, links, generator)] = True
    return mask


def _check(shape: Shape, links: int) -> None:
    if len(shape) != 2 or min(shape) < 1:
        raise InputError(f"a graph is for a layer of shape (out, in), both at least 1; got {tuple(shape)}.")
    if not 0 <= links <= shape[0] * shape[1]:
        raise InputError(f"a {shape[0]} x {shape[1]} layer holds 0 to {shape[0] * shape[1]} links; got {links}.")
