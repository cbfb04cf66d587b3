"""The same work from Python, in a process of its own: a Ray may already run in this one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = """
import json
from cluster.notebook import load

ROW = {"sepal_length_cm": 5.1, "sepal_width_cm": 3.5, "petal_length_cm": 1.4, "petal_width_cm": 0.2}
experiment = load("flowers.yaml", overrides={"train.epochs": 4, "serve.port": PORT}, num_cpus=2)
run = experiment.run()
table = run.trials()
print(json.dumps({
    "checked": experiment.check()["train"]["epochs"],
    "trials": table.num_rows,
    "columns": table.column_names,
    "metrics": run.metrics,
    "package": str(run.package),
    "report": str(run.report()),
    "state": run.summary.state,
    "answers": run.predict([ROW]),
}))
"""


@pytest.mark.own_cluster
@pytest.mark.slow
def test_load_run_look_and_predict(tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "flowers.yaml").write_text(
        "name: flowers\ndata: {source: 'sklearn:iris', target: target}\n"
        "search: {trials: 2, space: {train.peak_lr: {log: [1e-3, 1e-1]}}}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK.replace("PORT", str(port))],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["checked"], found["trials"], found["state"]) == (4, 2, "finished")
    assert {"trial", "state", "score", "train.peak_lr"} <= set(found["columns"])
    assert found["metrics"]["test/accuracy"] > 0.5
    assert Path(found["package"], "manifest.json").exists()
    assert Path(found["report"]).exists()
    assert set(found["answers"][0]["probabilities"]) == {"setosa", "versicolor", "virginica"}


def test_trials_have_a_column_for_each_searched_key(tmp_path: Path) -> None:
    """A key may be drawn in some trials only, and be a number in one and a word in another."""
    from cluster.notebook import LoadedRun
    from training.config import Experiment
    from training.run_folder import RunFolder

    wanted = Experiment.model_validate(
        {"name": "one", "storage": str(tmp_path), "data": {"source": "sklearn:iris", "target": "target"}}
    )
    folder = RunFolder.of(wanted)
    folder.open(wanted)
    for i, params in enumerate([{"a.b": 1}, {"a.b": "auto", "a.momentum": 0.9}, {"a.b": None, "a.hidden": [8]}]):
        folder.journal.append("trial", trial=f"t{i:04d}", state="complete", params=params, score=0.5)
    table = LoadedRun(folder).trials()
    assert table.column("a.b").to_pylist() == ["1", "auto", None]
    assert table.column("a.momentum").to_pylist() == [None, 0.9, None]
    assert table.column("a.hidden").to_pylist() == [None, None, "[8]"]
    assert table.column("score").to_pylist() == [0.5] * 3
