"""Numbers on an MLflow server: all of them in the end, whatever the server does meanwhile, and no secret."""

import json
import time
from collections.abc import Callable

import pytest

from tests.training.tracking.conftest import SECRET, add_epoch
from tests.training.tracking.mlflow_fake import MlflowFake
from training.config import Experiment
from training.progress import Live, Silent
from training.run_folder import RunFolder
from training.tracking import mlflow as module
from training.tracking import tracker as tracker_module
from training.tracking.mlflow import MlflowRun, send_files
from training.tracking.tracker import tracking

LIVE = Live(1, 2, 1, 20, 100.0, 0.0, 1)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_EVERY_S", 0.0)
    monkeypatch.setattr(module, "RETRY_S", (0.0, 0.0))


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def opened(mlflow: MlflowFake, experiment: Experiment, run: RunFolder, notes: list[str]) -> Callable[[], MlflowRun]:
    return lambda: MlflowRun(mlflow.url, experiment, run, "own", notes.append)


def epochs_told(fake: MlflowFake, run_id: str = "r0") -> list[int]:
    told = [each for each in fake.runs[run_id]["metrics"] if each["key"] == "train/loss"]
    assert len({(each["step"], each["timestamp"]) for each in told}) == len(told)  # nothing twice
    return [each["step"] for each in told]


def test_settings_scores_tags_and_files_arrive(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], experiment: Experiment, run: RunFolder, notes: list[str]
) -> None:
    tracker = opened()
    for epoch in (1, 2):
        tracker.epoch(epoch, add_epoch(run, epoch, None if epoch == 2 else 0.9))
    tracker.close("finished")
    (run.path / "report.html").write_text("<p>fine</p>")
    send_files(
        Experiment.model_validate(experiment.model_dump() | {"track": {"mlflow": mlflow.url}}), run, notes.append
    )
    kept = mlflow.runs["r0"]
    assert mlflow.experiments == {"manta": "7"}
    assert kept["asked"]["run_name"] == "digits"
    assert (kept["params"]["train.epochs"], kept["params"]["model.kind"]) == ("30", "mlp")
    tags = {each["key"]: each["value"] for each in kept["asked"]["tags"]}
    assert (tags["manta.data_fingerprint"], tags["manta.version.torch"]) == ("9f3c", "2.13.0")
    scores = [(each["step"], each["value"]) for each in kept["metrics"] if each["key"] == "validation/accuracy"]
    assert scores == [(1, 0.9)]  # a score that was no number is none
    assert epochs_told(mlflow) == [1, 2]
    assert kept["status"] == ["RUNNING", "FINISHED"]
    assert mlflow.files["7/r0/artifacts/report.html"] == b"<p>fine</p>"
    assert SECRET not in json.dumps(kept) + mlflow.files["7/r0/artifacts/experiment.yaml"].decode()
    assert notes == []


def test_a_resumed_training_goes_on_in_its_run(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], run: RunFolder
) -> None:
    first = opened()
    first.epoch(1, add_epoch(run, 1))
    add_epoch(run, 2)  # told by nobody: the driver is killed, and closes nothing
    second = opened()
    second.epoch(3, add_epoch(run, 3))
    second.close("finished")
    assert epochs_told(mlflow) == [1, 2, 3]
    assert mlflow.runs["r0"]["status"] == ["RUNNING", "RUNNING", "FINISHED"]
    mlflow.runs["r0"]["info"]["lifecycle_stage"] = "deleted"  # by a person
    opened().close("finished")
    assert epochs_told(mlflow, "r1") == [1, 2, 3]


def test_a_server_that_goes_and_comes_back_has_all_numbers(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], run: RunFolder, notes: list[str]
) -> None:
    tracker = opened()
    mlflow.stop()
    for epoch in (1, 2):
        tracker.epoch(epoch, add_epoch(run, epoch))
    assert len(notes) == 1
    assert "cannot be reached (Connection refused)" in notes[0]
    mlflow.refuse = (503, {})
    mlflow.start()
    tracker.live(LIVE)
    assert len(notes) == 1  # said once
    mlflow.refuse = None
    tracker.live(LIVE)
    assert epochs_told(mlflow) == [1, 2]
    assert notes[1:] == [f"MLflow at {mlflow.url} answers again, and has all numbers"]


def test_more_than_one_call_holds_is_told_in_several(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], run: RunFolder
) -> None:
    add_epoch(run, 1)
    line = json.loads(run.journal.path.read_text().splitlines()[-1])
    lines = [json.dumps(line | {"epoch": epoch, "time": line["time"] + epoch}) for epoch in range(2, 702)]
    with run.journal.path.open("a") as file:
        file.write("\n".join(lines) + "\n")
    opened().close("killed")
    assert epochs_told(mlflow) == list(range(1, 702))
    assert mlflow.runs["r0"]["status"] == ["RUNNING", "KILLED"]


def test_a_server_that_never_answers_costs_a_note(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], run: RunFolder, notes: list[str]
) -> None:
    mlflow.stop()
    tracker = opened()
    tracker.epoch(1, add_epoch(run, 1))
    tracker.close("finished")
    assert len(notes) == 2
    assert "was not told 1 epochs" in notes[1]
    mlflow.start()
    opened().close("finished")  # the next execution tells it
    assert epochs_told(mlflow) == [1]


def test_a_hanging_server_holds_nobody_up(
    mlflow: MlflowFake, experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    monkeypatch.setattr(tracker_module, "CLOSE_S", 0.3)
    mlflow.holds.clear()
    tracked = experiment.model_copy(update={"track": type(experiment.track)(tensorboard=False, mlflow=mlflow.url)})
    began = time.monotonic()
    with tracking(tracked, run, Heard(), "own") as progress:
        for epoch in range(1, 200):
            progress.epoch(epoch, 200, {"train/loss": 1.0})
        assert time.monotonic() - began < 0.25
    assert time.monotonic() - began < 1.0
    assert "MLflow took longer than" in notes[-1]


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, {}, "set MLFLOW_TRACKING_TOKEN"),
        (302, {"Location": "https://other/"}, "redirects to https://other/"),
        (404, {}, "it answered 404"),
    ],
)
def test_what_only_a_person_can_mend_is_said_once(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], run: RunFolder, notes: list[str], status: int,
    headers: dict[str, str], said: str,
) -> None:  # fmt: skip
    mlflow.refuse = (status, headers)
    tracker = opened()
    tracker.epoch(1, add_epoch(run, 1))
    tracker.close("finished")
    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize(
    ("env", "sent"),
    [
        ({"MLFLOW_TRACKING_TOKEN": SECRET}, f"Bearer {SECRET}"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRET}, "Basic bWU6aHVudGVyMg=="),
    ],
)
def test_credentials_are_sent_and_never_told(
    mlflow: MlflowFake, opened: Callable[[], MlflowRun], run: RunFolder, notes: list[str], env: dict[str, str],
    sent: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    opened().close("finished")
    assert set(mlflow.authorizations) == {sent}
    mlflow.refuse = (403, {})
    opened().close("finished")
    mlflow.stop()
    opened().close("finished")
    assert len(notes) == 2
    assert SECRET not in " ".join(notes) + run.journal.path.read_text()


@pytest.mark.parametrize("uri", ["./mlruns", "sqlite:///x.db", "http://", "http://me:pw@host:5000"])
def test_only_servers_without_credentials_are_taken(uri: str, experiment: Experiment) -> None:
    with pytest.raises(ValueError, match=r"mlflow server --backend-store-uri|MLFLOW_TRACKING_USERNAME"):
        type(experiment.track)(mlflow=uri)
