"""From a table to answers over HTTP, by the commands a newcomer types."""

import io
import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
import tritonclient.http as triton

from tests.journeys.commands import MANTA, PII_KEY, environment, manta

PLANTED = "zaphod-beeblebrox"  # in every personal value, and nowhere else

CONFIG = """
name: flowers
data: {{source: "{source}", target: species, pii: {{owner: hash, phone: drop}}, checks: {{max_bad_fraction: 0.02}}}}
model: {{kind: mlp, hidden: [16]}}
train: {{epochs: 8, global_batch_size: 16, peak_lr: 0.02}}
search:
  trials: 4
  space: {{train.peak_lr: {{log: [0.005, 0.1]}}}}
compress: {{forms: [int8_static], openvino: false, measure_s: 0.1}}
serve: {{port: {port}, replicas: {{min: 1, max: 1}}}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Journey:
    """One finished `manta run`, which the tests below look at."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.table, self.config = folder / "flowers.csv", folder / "flowers.yaml"
        write_flowers(self.table)
        with self.table.open("a") as file:  # a row with two fields too many
            file.write(f"1.0,2.0,white,{PLANTED}-ragged@example.org,{PLANTED}-phone,more,{PLANTED}-more,aster\n")
        self.config.write_text(CONFIG.format(source=self.table, port=self.port))
        self.result = manta("run", self.config, cwd=folder)
        self.run = folder / "runs" / "flowers"


def write_flowers(path: Path) -> None:
    """A table with numbers, a category, missing values, personal data and text labels."""
    draw = np.random.default_rng(0)
    lines = ["length,width,colour,owner,phone,species"]
    for i in range(240):
        species = ("aster", "daisy", "tulip")[i % 3]
        length = f"{draw.normal(3 + 2 * (i % 3), 0.4):.3f}" if i % 17 else ""
        colour = ("white", "yellow", "red")[i % 3] if draw.random() < 0.9 else "pink"
        person = f"{PLANTED}-{i % 20}@example.org,{PLANTED}-phone-{i}"
        lines.append(f"{length},{draw.normal(1 + i % 2, 0.3):.3f},{colour if i % 23 else 'NA'},{person},{species}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    done = Journey(tmp_path_factory.mktemp("journey"))
    assert done.result.returncode == 0, done.result.stderr
    return done


def test_the_run_tells_how_it_ended(journey: Journey) -> None:
    for word in ("test/accuracy", "variant", "package", "report", "flowers@1"):
        assert word in journey.result.stdout, journey.result.stdout
    summary = json.loads(manta("report", "flowers", "--json", cwd=journey.folder).stdout)
    assert summary["state"] == "finished"
    assert summary["test_score"] > 0.9
    for file in (
        "experiment.yaml",
        "data.json",
        "split.parquet",
        "journal.jsonl",
        "report.html",
        "package/manifest.json",
    ):
        assert (journey.run / file).exists(), file


def test_every_held_out_answer_over_http_was_the_packages_own(journey: Journey) -> None:
    events = [json.loads(line) for line in (journey.run / "journal.jsonl").read_text().splitlines()]
    served = next(event for event in events if event["event"] == "served")
    assert served["num_rows"] > 20
    assert served["agree_fraction"] == 1.0


def test_the_same_run_again_says_so_and_does_nothing(journey: Journey) -> None:
    before = (journey.run / "journal.jsonl").read_text()
    again = manta("run", journey.config, cwd=journey.folder)
    assert again.returncode == 0
    assert "finished" in again.stderr
    assert (journey.run / "journal.jsonl").read_text() == before


def test_the_package_and_every_checkpoint_say_which_data_they_come_from(journey: Journey) -> None:
    data = json.loads((journey.run / "data.json").read_text())
    lineage = json.loads((journey.run / "package" / "manifest.json").read_text())["lineage"]
    assert lineage["data_fingerprint"] == data["fingerprint"]
    assert lineage["data_sources"] == data["sources"]
    assert data["sources"][0]["files"][0]["path"] == str(journey.table)
    checkpoints = list((journey.run / "checkpoints").glob("*/[0-9]*/checkpoint.pt"))
    assert checkpoints
    for path in checkpoints:
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["data_fingerprint"] == data["fingerprint"]
        assert checkpoint["data_sources"][0]["digest"] == data["sources"][0]["digest"]


def test_no_personal_value_is_left_behind(journey: Journey) -> None:
    """Neither in the run, nor in the release, nor in what was said; the ragged row is told of without its content."""
    files = [path for path in (journey.folder / "runs").rglob("*") if path.is_file()]
    assert {"golden.json", "reference.json", "quarantine.parquet", "held_out.parquet", "report.html"} <= {
        path.name for path in files
    }
    for path in files:
        text = str(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else path.read_bytes()
        assert PLANTED.encode() not in text, path
        assert PII_KEY.encode() not in text, path
    assert PLANTED not in journey.result.stdout + journey.result.stderr
    (bad,) = pq.read_table(journey.run / "quarantine.parquet").to_pylist()
    assert (bad["row"], bad["value"]) == (240, None)
    assert bad["source"].endswith("flowers.csv")
    assert b"pii:" in (journey.run / "held_out.parquet").read_bytes()


def test_a_changed_table_is_refused_with_what_changed(journey: Journey) -> None:
    before = journey.table.read_text()
    journey.table.write_text(before + "3.1,1.2,red,someone@example.org,1,daisy\n")
    try:
        refused = manta("run", journey.config, cwd=journey.folder)  # also where it is finished
        assert refused.returncode == 3
        for word in ("changed since this run began", "240 rows before, 241 now", "--accept-changed-data"):
            assert word in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        journey.table.write_text(before)


@pytest.mark.slow
def test_a_changed_experiment_under_the_same_name_is_refused(journey: Journey) -> None:
    changed = manta("run", journey.config, "--set", "train.epochs=9", cwd=journey.folder)
    assert changed.returncode == 3
    assert "train.epochs: 8 -> 9" in changed.stderr
    assert "Traceback" not in changed.stderr


def test_runs_and_models_list_it(journey: Journey) -> None:
    (run,) = json.loads(manta("runs", "--json", cwd=journey.folder).stdout)
    assert run["name"] == "flowers"
    assert "champion" in manta("models", cwd=journey.folder).stdout


def test_a_deployed_release_gives_the_packages_numbers_by_every_road(journey: Journey) -> None:
    """predict on the package, predict over HTTP, triton with JSON and with binary tensors: the same numbers."""
    rows = (
        pacsv.read_csv(journey.table, parse_options=pacsv.ParseOptions(invalid_row_handler=lambda _: "skip"))
        .slice(0, 20)
        .drop_columns(["phone", "species"])
    )
    pacsv.write_csv(rows, journey.folder / "rows.csv")
    port = free_port()
    deploy = [*MANTA, "deploy", "flowers@champion", "--port", str(port)]
    server = subprocess.Popen(
        deploy, cwd=journey.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        assert str(port) in url, server.stderr.read() if server.stderr else ""
        by_package = manta("predict", "rows.csv", "--package", journey.run / "package", cwd=journey.folder)
        by_http = manta(
            "predict", "rows.csv", "--url", f"http://127.0.0.1:{port}", "--model", "flowers", cwd=journey.folder
        )
        assert by_package.returncode == by_http.returncode == 0, by_package.stderr + by_http.stderr
        assert by_package.stdout == by_http.stdout
        expected = pacsv.read_csv(io.BytesIO(by_package.stdout.encode()))
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("flowers")
        for binary in (True, False):
            probabilities = ask(client, rows, binary)
            for i, label in enumerate(("aster", "daisy", "tulip")):
                theirs = expected.column(f"probability_{label}").to_numpy()
                np.testing.assert_allclose(probabilities[:, i], theirs, atol=1e-6)
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read().decode()
        assert page.startswith("<!doctype html>")
    finally:
        server.terminate()
        server.communicate(timeout=60)


def ask(client: triton.InferenceServerClient, rows: object, binary: bool) -> np.ndarray:
    inputs = []
    for name, datatype in (("length", "FP32"), ("width", "FP32"), ("colour", "BYTES"), ("owner", "BYTES")):
        column = rows.column(name).to_pylist()
        is_text = datatype == "BYTES"
        values = [value if value is not None else ("NA" if is_text else np.nan) for value in column]
        tensor = triton.InferInput(name, [len(values)], datatype)
        array = np.array(values, dtype=object if is_text else np.float32)
        # JSON has no NaN; the client would write it as a bare word.
        tensor.set_data_from_numpy(array, binary_data=binary or name == "length")
        inputs.append(tensor)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)]
    return client.infer("flowers", inputs, outputs=outputs).as_numpy("probabilities")
