"""`manta data`: what a table is, in the terminal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.cli import app
from cluster.data_text import description_json, description_text
from training.config_file import load_experiment
from training.data.config import DataConfig
from training.data.describe import describe, read_checked

ROOT = Path(__file__).resolve().parents[2]


def manta(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cluster", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, env={"PYTHONPATH": str(ROOT)})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i % 50},{('red', 'blue', '')[i % 3]},{'yes' if i % 4 else 'no'}" for i in range(200)]
    (tmp_path / "t.csv").write_text("size,colour,bought\n" + "\n".join(rows) + "\n")
    (tmp_path / "t.yaml").write_text("name: t\ndata:\n  source: t.csv\n  target: bought\n")
    return tmp_path


def said(*arguments: str) -> str:
    """What a command that succeeds prints, run in this process: a new one takes seconds to import."""
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_table_is_described_on_stdout(folder: Path) -> None:
    lines = said("data", "t.yaml").splitlines()
    assert lines[0].startswith("source    ")
    assert "t.csv: 200 rows, 3 columns, 1 file of 2." in lines[0]
    assert lines[1] == "rows      200 read, 0 bad, 25 equal to an earlier one, 200 kept"
    assert "target    bought: 2 classes, no 25.0%, yes 75.0%" in lines
    assert "size    numeric      -        50        0 .. 24 .. 49" in lines
    assert "colour  categorical  33.00%   2         red 33.5%, blue 33.5%" in lines


def test_inferred_checks_can_be_pasted_and_hold(folder: Path) -> None:
    checks = said("data", "t.yaml", "--checks")
    assert "      size: {type: integer, min: 0, max: 49, nullable: false}\n" in checks
    config = folder / "t.yaml"
    config.write_text(config.read_text() + checks)
    assert load_experiment(config).data.checks.columns["colour"].allowed == ("blue", "red")
    assert json.loads(said("data", "t.yaml", "--json"))["counts"]["main"]["bad"] == 0


def test_what_would_stop_a_run_is_an_error_after_the_description(folder: Path) -> None:
    (folder / "t.csv").write_text((folder / "t.csv").read_text() + "-5,red,yes\n")
    found = manta("data", "t.yaml", "--set", "data.checks.columns.size.min=0", cwd=folder)
    assert found.returncode == 2
    assert "1     size: is below 0" in found.stdout
    assert "error: 1 of 201 rows are bad" in found.stderr
    assert "t.csv row 200, size: '-5' is below 0" in found.stderr


def test_neither_torch_nor_ray_is_loaded(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cluster.commands.data import data;"
        "data(Path('t.yaml'), talk=False);"
        "print([m for m in ('torch', 'ray') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert found.stdout.splitlines()[-1] == "[]"


def test_wide_tables_and_many_classes_are_cut(tmp_path: Path) -> None:
    head = ",".join([*(f"c{i}" for i in range(210)), "y"])
    rows = "\n".join(",".join([*("1" if (i + j) % 7 else "0" for j in range(210)), f"k{i % 12}"]) for i in range(60))
    (tmp_path / "wide.csv").write_text(f"{head}\n{rows}\n")
    data = DataConfig(source=str(tmp_path / "wide.csv"), target="y")
    found = describe(read_checked(data), data)
    text = description_text(found)
    assert "and 11 more columns; --json lists all" in text
    assert "12 classes, k0 8.3%," in text
    assert "and 4 more" in text
    assert len(description_json(found)["columns"]) == 211
