"""Masks are those that torch draws by itself, bit for bit."""

import pytest
import torch
import torch.nn.functional as F

from training.search.fused import dropout
from training.search.fused.dropout import MaskDrawer, Site, draws_by_threshold
from training.step import seed_torch

CPU = torch.device("cpu")
SITES = [Site("one", 0.0, (32, 17)), Site("two", 0.0, (32, 3, 5))]
PROBABILITIES = [(0.3, 0.1), (0.0, 0.5), (0.7, 0.0), (0.0, 0.0), (0.1, 0.2), (0.3, 0.1)]
PLACES = [(0, 2, 64, 0)] * 4 + [(1, 2, 64, 0), (0, 3, 64, 0)]


@pytest.mark.parametrize("by_threshold", [True, False])
def test_masks_are_those_of_dropout(by_threshold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_threshold and not draws_by_threshold():
        pytest.skip("this build of torch draws Bernoulli numbers in another way")
    monkeypatch.setattr(dropout, "draws_by_threshold", lambda: by_threshold)
    masks = MaskDrawer(CPU).draw(SITES, PROBABILITIES, PLACES)
    for lane, (probabilities, place) in enumerate(zip(PROBABILITIES, PLACES, strict=True)):
        seed_torch(CPU, *place)
        for site, probability, mask in zip(SITES, probabilities, masks, strict=True):
            assert mask is not None
            assert torch.equal(F.dropout(torch.ones(site.shape), probability), mask[lane])


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    assert MaskDrawer(CPU).draw(SITES, [(0.0, 0.0)] * 2, PLACES[:2]) == [None, None]


def test_lanes_that_all_draw_alike_have_masks_of_their_own() -> None:
    first, _ = MaskDrawer(CPU).draw(SITES, [(0.1, 0.1), (0.6, 0.1), (0.1, 0.1)], PLACES[:3])
    assert first is not None
    assert torch.equal(first[0], first[2])
    assert 0.85 < (first[0] > 0).float().mean() < 0.95
    assert 0.3 < (first[1] > 0).float().mean() < 0.5
    assert bool(((first[1] > 0) <= (first[0] > 0)).all())  # the same numbers, another threshold
