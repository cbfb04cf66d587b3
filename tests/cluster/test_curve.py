"""`manta curve` as it is typed: the table on stdout, the page in the run's folder, nothing trained twice."""

import json
from pathlib import Path

import pytest

from cluster.commands.curve import curve
from tests.cluster.test_cli import manta
from training.errors import DataError


def test_it_prints_a_table_and_leaves_a_page(
    shared_ray: list[str], iris_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, page = tmp_path / "runs", tmp_path / "page.html"
    curve(iris_config, points=2, repeats=1, output=page, storage=str(storage))
    said = capsys.readouterr()
    assert said.out.startswith("iris: accuracy by training rows")
    assert "Gap: on all 105 rows" in said.out
    assert "not those of its search's best trial" in said.err
    assert f"the plot: {page}" in said.err
    folder = storage / "iris"
    assert page.read_text() == (folder / "curve.html").read_text()
    assert {path.name for path in folder.iterdir()} == {".curve.lock", "curve.html", "curve.json"}
    curve(iris_config, points=2, repeats=1, storage=str(storage), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert [point["num_rows"] for point in printed["points"]] == [52, 105]
    assert shared_ray == ["session"], "what is measured needs no Ray"


def test_data_that_cannot_be_used_is_said_before_ray_starts(
    shared_ray: list[str], iris_config: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="there is no bundled set"):
        curve(iris_config, overrides=["data.source=sklearn:irises"], storage=str(tmp_path / "runs"))
    assert shared_ray == []


def test_the_command_line_refuses_what_makes_no_sense(iris_config: Path) -> None:
    bad = manta("curve", str(iris_config), "--points", "0")
    assert bad.returncode == 2
    assert "points" in bad.stderr
