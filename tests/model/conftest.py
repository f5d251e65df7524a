"""Settings of the tests of model/: one thread for torch, as other tests run beside, and idle threads that spin would starve them."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
