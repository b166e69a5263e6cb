"""Products with banded matrices: the dense product, whatever is left out."""

from __future__ import annotations

import pytest
import torch

from sinewy.shifts.banded import _tiles, filter_columns, filter_rows
from sinewy.shifts.filters import gaussian_matrix


@pytest.mark.parametrize(("height", "width", "sigma"), [(224, 224, 1.0), (224, 150, 6.0), (33, 97, 2.0), (32, 32, 0.5)])
def test_filters_are_the_dense_product(height: int, width: int, sigma: float) -> None:
    images = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = gaussian_matrix(height, sigma), gaussian_matrix(width, sigma)
    torch.testing.assert_close(filter_rows(images, columns), images @ columns.mT)
    torch.testing.assert_close(filter_columns(rows, images), rows @ images)
    torch.testing.assert_close(filter_columns(rows, images[0, 0]), rows @ images[0, 0])


def test_matrices_that_are_not_square_and_rows_of_zeros() -> None:
    matrix = torch.zeros(100, 200)
    matrix[torch.arange(40), 2 * torch.arange(40)] = 3.0  # rows 40 to 99 stay empty
    images = torch.rand(2, 200, 200, generator=torch.Generator().manual_seed(0))
    assert len(_tiles(matrix)) == 5
    torch.testing.assert_close(filter_rows(images, matrix), images @ matrix.mT)
    torch.testing.assert_close(filter_columns(matrix, images), matrix @ images)


def test_a_dense_matrix_is_one_tile() -> None:
    assert len(_tiles(torch.ones(100, 100))) == 1
