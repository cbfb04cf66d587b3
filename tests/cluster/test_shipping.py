"""What travels with a job: the code and nothing else."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from cluster.errors import JobError
from cluster.shipping import files_to_ship, own_packages, shipment
from cluster.submit import check_arguments, python_for
from training.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in (
        "a.yaml",
        "model.py",
        "data/table.csv",
        "runs/a/x",
        ".venv/bin/python",
        "training/data/code.py",
        "x.pyc",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("name: a\ndata: {source: data/table.csv, target: y}\n")
    return tmp_path


def test_data_runs_and_environments_stay_behind(project: Path) -> None:
    assert files_to_ship(project) == [Path("a.yaml"), Path("model.py"), Path("training/data/code.py")]


def test_what_git_ignores_stays_behind(project: Path) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    (project / ".gitignore").write_text("model.py\n")
    assert Path("model.py") not in files_to_ship(project)
    assert Path("a.yaml") in files_to_ship(project)


def test_the_same_files_give_the_same_archive(project: Path) -> None:
    contents = []
    for _ in range(2):
        with shipment(project, files_to_ship(project)) as archive:
            contents.append(archive.read_bytes())
            assert zipfile.ZipFile(archive).namelist() == ["a.yaml", "model.py", "training/data/code.py"]
        (project / "a.yaml").touch()
    assert contents[0] == contents[1]


def test_too_much_is_refused_with_the_largest_files(project: Path) -> None:
    with (project / "weights.bin").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    with pytest.raises(JobError, match=r"60 MB to ship, 50 MB at most(.|\n)*60\.0 MB  weights\.bin"):
        shipment(project, files_to_ship(project)).__enter__()


def test_our_packages_travel_unless_the_folder_is_a_checkout(project: Path) -> None:
    assert own_packages(ROOT) == []
    assert [Path(path).name for path in own_packages(project)] == ["training", "serving", "cluster"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no command given"),
        (["rnu", "a.yaml"], "nearest: run"),
        (["run"], "needs a config"),
        (["run", "a.yaml"], "the storage runs is relative"),
        (["run", "a.yaml", "--storage", "/mnt/runs"], "data.source=data/table.csv is relative and does not travel"),
        (["run", "data/../a.yaml", "--storage", "/mnt"], "not among the files that travel"),
    ],
)
def test_what_must_fail_there_is_refused_here(project: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(JobError) as caught:
        check_arguments(arguments, project, set(files_to_ship(project)))
    assert said in str(caught.value)


def test_a_wrong_config_is_refused_here(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs  is 0, must be at least 1 \(from --set\)"):
        check_arguments(["run", "a.yaml", "--set=train.epochs=0"], project, set(files_to_ship(project)))


@pytest.mark.parametrize("source", ["/data/table.csv", "s3://bucket/t.parquet", "sklearn:digits"])
def test_sources_that_the_cluster_can_read_are_fine(project: Path, source: str) -> None:
    arguments = ["run", "a.yaml", "--set", f"data.source={source}", "--storage=/mnt/runs"]
    check_arguments(arguments, project, set(files_to_ship(project)))


def test_a_cluster_elsewhere_uses_its_own_python() -> None:
    assert python_for("http://10.1.2.3:8265") == "python"
    assert python_for("http://127.0.0.1:8265") != "python"
