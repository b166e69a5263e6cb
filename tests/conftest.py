"""What several test files need: threads kept at one, and where the optional development data lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Return the folder of the development data; skips the test where it is absent."""
    folder = Path(os.environ.get("SINEWY_DEV_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the development data is not on this machine (SINEWY_DEV_DATA)")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless browser; skips the test where there is none."""
    from browsing import start_browser

    session = start_browser()
    yield session
    session.quit()
