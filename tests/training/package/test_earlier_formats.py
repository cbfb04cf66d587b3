"""Packages that earlier formats wrote, kept byte by byte: they must load and answer as they did."""

from pathlib import Path

import pytest

from serving.predictor import Predictor
from training.package.manifest import FORMAT_VERSION
from training.package.read import load_package, reference_of

HERE = Path(__file__).parent
OF_1 = ["table", "image"]
OF_2 = ["table", "homes", "notes", "image"]
KEPT = [*((1, HERE / "written_by_v1" / name) for name in OF_1), *((2, HERE / "written_by_v2" / name) for name in OF_2)]


@pytest.mark.parametrize(("version", "folder"), KEPT, ids=[f"{folder.parent.name}/{folder.name}" for _, folder in KEPT])
def test_a_package_of_an_earlier_format_still_answers(version: int, folder: Path) -> None:
    package = load_package(folder)
    assert package.manifest.format_version == version < FORMAT_VERSION
    for variant in package.manifest.variants:
        Predictor.load(folder, variant.name).self_test()


def test_transforms_of_format_1_mean_what_they_meant() -> None:
    folder = HERE / "written_by_v1" / "table"
    transforms = load_package(folder).transforms
    assert transforms.num_numeric == 2
    assert [column.encode for column in transforms.embedded] == ["embedding"]
    answers = Predictor.load(folder).predict_records(
        [{"age": 25, "hours": 40, "city": "Rome"}, {"age": None, "hours": 12.5, "city": "Oslo"}]
    )
    assert [answer["probabilities"]["yes"] for answer in answers] == pytest.approx([0.579205334186554, 0.4332909882])


def test_the_reference_of_format_2_is_read() -> None:
    reference = reference_of(load_package(HERE / "written_by_v2" / "table"))
    assert reference is not None
    assert {sketch.input for sketch in reference.inputs} == {"age", "joined", "city"}
