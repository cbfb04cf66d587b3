"""Random numbers by place: spread as they should be, and the same however they are asked for."""

import math

import pytest
import torch

from training.draws import LARGEST, Place, Use, bits, normal, poisson_1, stream_key, uniform

IDS = torch.arange(50_000)


def test_known_bits() -> None:
    """SplitMix64 of its own reference: seed 0 begins with these numbers. A change here changes every run."""
    golden = 0x9E3779B97F4A7C15 - (1 << 64)
    first = bits(golden, torch.arange(3))
    assert [number & ((1 << 64) - 1) for number in first.tolist()] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_uniform_numbers_fill_the_unit_evenly() -> None:
    numbers = uniform(stream_key(3, 1), IDS, 2).double()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers[:, 0], 20, 0, 1)
    assert ((counts - 2500) ** 2 / 2500).sum() < 45  # chi-square of 19 degrees, one in a thousand
    assert abs(torch.corrcoef(numbers.T)[0, 1]) < 0.02
    assert abs(torch.corrcoef(torch.stack([numbers[1:, 0], numbers[:-1, 0]]))[0, 1]) < 0.02


def test_normal_numbers_are_normal_and_finite() -> None:
    numbers = normal(stream_key(3, 2), IDS, 3).double()
    assert torch.isfinite(numbers).all()
    assert numbers.mean(dim=0).abs().max() < 0.02
    assert (numbers.std(dim=0) - 1).abs().max() < 0.02
    assert ((numbers.abs() > 1.96).double().mean() - 0.05).abs() < 0.003
    assert torch.corrcoef(numbers.T).fill_diagonal_(0).abs().max() < 0.02


def test_bootstrap_weights_are_poisson_of_mean_1() -> None:
    weights = poisson_1(stream_key(9), IDS, 2)
    for k in range(4):
        assert (weights == k).float().mean() == pytest.approx(math.exp(-1) / math.factorial(k), abs=0.01)
    assert abs(torch.corrcoef(weights.T)[0, 1]) < 0.02


def test_numbers_depend_on_their_place_alone() -> None:
    key = stream_key(5, 2)
    order = torch.randperm(1000)
    assert torch.equal(normal(key, IDS[:1000], 7)[order], normal(key, order, 7))
    assert torch.equal(uniform(key, IDS[:10], 9)[:, :4], uniform(key, IDS[:10], 4))


def test_every_part_of_a_key_tells_streams_apart() -> None:
    keys = [stream_key(*parts) for parts in [(0,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 0, 0), (0, 1, 0)]]
    assert len(set(keys)) == len(keys)
    place = Place(seed=1, epoch=2, ids_B=IDS[:5])
    drawn = [place.uniform(use, 1) for use in Use] + [place.uniform(Use.NOISE, 1, part=1)]
    drawn.append(Place(1, 3, IDS[:5]).uniform(Use.NOISE, 1))
    drawn.append(Place(1, 2, IDS[:5], is_partner=True).uniform(Use.NOISE, 1))
    assert len({tuple(numbers.flatten().tolist()) for numbers in drawn}) == len(drawn)


def test_bits_as_a_number_from_0_on() -> None:
    numbers = bits(stream_key(1), IDS) & LARGEST
    assert numbers.min() >= 0
    counts = torch.bincount(numbers % 7, minlength=7).double()
    assert (counts / len(IDS) - 1 / 7).abs().max() < 0.006
