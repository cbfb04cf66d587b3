"""What holds for all tests of the search."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a slot; threads that wait for each other on busy cores take many times as long."""
    import torch  # loads only here: tests of plain parts share this file

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
