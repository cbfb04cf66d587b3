"""`manta curve` as it is typed: the table on stdout, the page in the run's folder, nothing trained twice."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.commands.curve import curve
from cluster.place import Place
from tests.cluster.test_cli import manta
from training.errors import DataError

CONFIG = """
name: iris
data: {source: "sklearn:iris", target: target}
model: {kind: mlp, hidden: [4]}
train: {epochs: 2, global_batch_size: 32, early_stopping: null}
search: {space: {train.peak_lr: {log: [1.0e-4, 1.0e-1]}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "iris.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def shared_ray(ray_2_cpus: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tests' Ray in place of one of the command's own; notes how often one is asked for."""
    asked: list[str] = []

    @contextlib.contextmanager
    def session(self: Place) -> Iterator[None]:
        asked.append("session")
        yield

    monkeypatch.setattr(Place, "session", session)
    return asked


def test_it_prints_a_table_and_leaves_a_page(
    shared_ray: list[str], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, page = tmp_path / "runs", tmp_path / "page.html"
    curve(config, points=2, repeats=1, output=page, storage=str(storage))
    said = capsys.readouterr()
    assert said.out.startswith("iris: accuracy by training rows")
    assert "Gap: on all 105 rows" in said.out
    assert "not those of its search's best trial" in said.err
    assert f"the plot: {page}" in said.err
    folder = storage / "iris"
    assert page.read_text() == (folder / "curve.html").read_text()
    assert {path.name for path in folder.iterdir()} == {".curve.lock", "curve.html", "curve.json"}
    curve(config, points=2, repeats=1, storage=str(storage), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert [point["num_rows"] for point in printed["points"]] == [52, 105]
    assert shared_ray == ["session"], "what is measured needs no Ray"


def test_data_that_cannot_be_used_is_said_before_ray_starts(
    shared_ray: list[str], config: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="there is no bundled set"):
        curve(config, overrides=["data.source=sklearn:irises"], storage=str(tmp_path / "runs"))
    assert shared_ray == []


def test_the_command_line_refuses_what_makes_no_sense(config: Path) -> None:
    bad = manta("curve", str(config), "--points", "0")
    assert bad.returncode == 2
    assert "points" in bad.stderr
