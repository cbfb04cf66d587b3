"""Packages that format 1 wrote, kept byte by byte: they must load and answer as they did."""

from pathlib import Path

import pytest

from serving.predictor import Predictor
from training.package.manifest import FORMAT_VERSION
from training.package.read import load_package

FOLDER = Path(__file__).parent / "written_by_v1"


@pytest.mark.parametrize("name", ["table", "image"])
def test_a_package_of_format_1_still_answers(name: str) -> None:
    package = load_package(FOLDER / name)
    assert package.manifest.format_version == 1 < FORMAT_VERSION
    for variant in package.manifest.variants:
        Predictor.load(FOLDER / name, variant.name).self_test()


def test_its_transforms_mean_what_they_meant() -> None:
    transforms = load_package(FOLDER / "table").transforms
    assert transforms.num_numeric == 2
    assert [column.encode for column in transforms.embedded] == ["embedding"]
    answers = Predictor.load(FOLDER / "table").predict_records(
        [{"age": 25, "hours": 40, "city": "Rome"}, {"age": None, "hours": 12.5, "city": "Oslo"}]
    )
    assert [answer["probabilities"]["yes"] for answer in answers] == pytest.approx([0.579205334186554, 0.4332909882])
