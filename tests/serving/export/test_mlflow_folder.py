"""MLflow's pyfunc flavour: saved and loaded by MLflow itself, also where Manta is not installed."""

import json
import subprocess
import sys
from importlib.metadata import requires, version
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.export.mlflow_folder import NEEDED, export_mlflow, golden_frame
from tests.packages import write_table_package
from training.package.exported import NotExported
from training.package.read import load_package

V2 = Path(__file__).parents[2] / "training" / "package" / "written_by_v2"
# Warnings of MLflow's own imports are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


HAS_MLFLOW = find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not HAS_MLFLOW, reason="needs manta[mlflow]")


@pytest.mark.skipif(HAS_MLFLOW, reason="MLflow is here")
def test_without_mlflow_the_extra_is_named(tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    with pytest.raises(NotExported, match="MLflow is not installed") as caught:
        export_mlflow(tmp_path / "package", tmp_path / "out")
    assert "manta[mlflow]" in caught.value.hint
    assert not (tmp_path / "out").exists()


@needs_mlflow
@pytest.mark.parametrize("name", ["table", "homes", "notes", "image"])
def test_every_kind_of_input_goes_through_mlflows_types(name: str, tmp_path: Path) -> None:
    """`export_mlflow` compares with the golden rows; a second call shows that nothing of the first is left."""
    before = list(sys.path)
    folder = export_mlflow(V2 / name, tmp_path / "out")
    assert (folder / "MLmodel").is_file()
    assert sys.path == before
    export_mlflow(V2 / name, tmp_path / "out", "int8", force=True)
    settings = json.loads((folder / "data" / "manta" / "settings.json").read_text())
    assert settings == {"variant": "int8"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def contradictions(pinned: dict[str, str]) -> list[str]:
    """Where what is pinned of one library is not what another one of them takes, optional parts left out."""
    needs = [(name, Requirement(text)) for name in pinned for text in requires(name) or ()]
    return [
        f"{name} needs {need}, pinned is {pinned[canonicalize_name(need.name)]}"
        for name, need in needs
        if (need.marker is None or need.marker.evaluate({"extra": ""}))
        and canonicalize_name(need.name) in pinned
        and not need.specifier.contains(pinned[canonicalize_name(need.name)], prereleases=True)
    ]


def test_of_mlflow_only_what_loads_models_is_needed() -> None:
    assert NEEDED[0] == "mlflow-skinny"
    assert "mlflow" not in NEEDED
    assert contradictions({name: version(name) for name in NEEDED[1:]}) == []
    assert contradictions({"pandas": version("pandas"), "numpy": "1.0"})[0].startswith("pandas needs numpy>=")


@needs_mlflow
def test_pip_can_install_what_the_model_needs(tmp_path: Path) -> None:
    folder = export_mlflow(V2 / "table", tmp_path / "out")
    lines = (folder / "requirements.txt").read_text().split()
    needed = [Requirement(line) for line in lines]
    pinned = {canonicalize_name(need.name): str(need.specifier).removeprefix("==") for need in needed}
    assert pinned == {name: version(name) for name in NEEDED}
    assert contradictions(pinned) == []
    (*_, of_pip) = yaml.safe_load((folder / "conda.yaml").read_text())["dependencies"]
    assert of_pip == {"pip": lines}


ELSEWHERE = """
import sys
sys.path = [path for path in sys.path if "__editable__" not in path]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
answers = model.predict(pd.read_parquet(sys.argv[2]))
import training
assert training.__file__.startswith(sys.argv[1]), training.__file__
assert "torch" not in sys.modules and "ray" not in sys.modules
print(answers["label"].tolist())
"""


@needs_mlflow
def test_it_answers_where_manta_is_not_installed(tmp_path: Path) -> None:
    export_mlflow(V2 / "table", tmp_path / "out")
    package = load_package(V2 / "table")
    golden_frame(package).to_parquet(tmp_path / "rows.parquet")
    command = [
        sys.executable,
        "-P",
        "-W",
        "ignore",
        "-c",
        ELSEWHERE,
        str(tmp_path / "out"),
        str(tmp_path / "rows.parquet"),
    ]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(package.golden.outputs["fp32"]["label"])


@needs_mlflow
def test_an_altered_export_does_not_load(tmp_path: Path) -> None:
    import mlflow.pyfunc

    folder = export_mlflow(V2 / "table", tmp_path / "out")
    (folder / "data" / "manta" / "package" / "golden.json").write_bytes(b"{}")
    with pytest.raises(Exception, match=r"golden\.json is not as it was written"):
        mlflow.pyfunc.load_model(str(folder))
