"""One small table for all tests of learned forms, and a model that has learned it."""

import pytest

from tests.training.compress.learned.made import around, trained
from training.compress.learned.around import Around, Base
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Prepared


@pytest.fixture(scope="session")
def digits() -> Prepared:
    """Pictures of digits as a table of 64 numbers."""
    return prepare(DataConfig(source="sklearn:digits", target="target"))


@pytest.fixture(scope="session")
def small(digits: Prepared) -> Around:
    """An MLP of two hidden layers, and how to train it."""
    return around(digits, {"hidden": (64, 64)})


@pytest.fixture(scope="session")
def learned(small: Around) -> Base:
    """That MLP, trained; right on more than nine rows in ten."""
    base = trained(small)
    assert base.validation_score is not None
    assert base.validation_score > 0.9
    return base
