"""The tiny packages behind the protocol, and behind a real endpoint."""

from pathlib import Path

import pytest

from tests.packages import write_image_package, write_regression_package, write_table_package
from tests.serving.asking import Model


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Two numeric columns and a categorical one."""
    folder = tmp_path_factory.mktemp("table") / "package"
    write_table_package(folder)
    return Model(folder)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A 1x4x4 image."""
    folder: Path = tmp_path_factory.mktemp("image") / "package"
    write_image_package(folder)
    return Model(folder, "digits")


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Two numeric columns to a number."""
    folder = tmp_path_factory.mktemp("regression") / "package"
    write_regression_package(folder)
    return Model(folder, "diabetes")
