"""Writing at row-major positions must hit the same weights in every memory format."""

from __future__ import annotations

import pytest
import torch

from sinewy.sparsify.optimizer_state import assign

FORMATS = {
    "contiguous": (torch.zeros(6, 5, 3, 2), lambda t: t),
    "channels_last": (torch.zeros(6, 5, 3, 2), lambda t: t.to(memory_format=torch.channels_last)),
    "channels_last of one channel": (torch.zeros(6, 1, 3, 2), lambda t: t.to(memory_format=torch.channels_last)),
    "channels_last of one pixel": (torch.zeros(6, 5, 1, 1), lambda t: t.to(memory_format=torch.channels_last)),
    "channels_last_3d": (torch.zeros(3, 4, 2, 3, 2), lambda t: t.to(memory_format=torch.channels_last_3d)),
    "transposed": (torch.zeros(7, 4), lambda t: t.t().contiguous().t()),
    "every second column": (torch.zeros(7, 4), lambda t: torch.zeros(7, 8)[:, ::2]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_assign_writes_at_row_major_positions(name):
    plain, convert = FORMATS[name]
    where = (
        torch.randperm(plain.numel(), generator=torch.Generator().manual_seed(0))[: plain.numel() // 2].sort().values
    )
    values = torch.arange(1.0, len(where) + 1)
    expected = plain.clone()
    expected.view(-1)[where] = values
    first, second = convert(plain.clone()), convert(plain.clone())
    contiguous = plain.clone()
    assign(where, [(first, values), (contiguous, values), (second, 3.0)])
    assert torch.equal(first, expected)
    assert torch.equal(contiguous, expected)
    assert torch.equal(second, 3.0 * (expected != 0))
