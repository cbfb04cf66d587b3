"""A training as a run on an MLflow server. The journal is the truth: what the server missed is sent later from it."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from training.config import Experiment
from training.journal import Event
from training.progress import Live
from training.redact import without_secrets
from training.run_folder import RunFolder
from training.run_record import standing
from training.tracking.mlflow_server import MAX_METRICS, MlflowServer, Refused, Unreachable, in_ms

TRACKED = "tracked"  # the journal's event: which MLflow run is ours
SEND_EVERY_S = 2.0
RETRY_S = (2.0, 60.0)  # first wait for a server that does not answer, doubled up to the second
STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
FILES = ("report.html", "package/manifest.json")  # of a run's folder, those that are there
EXPERIMENT = "manta"  # where MLFLOW_EXPERIMENT_NAME names no other


class MlflowRun:
    """One training's, continued by whoever resumes it.

    Args:
        uri: of the server.
        experiment: its settings become params.
        run: its folder, with the journal.
        training: name of the training inside the run.
        note: told once that the server does not answer, and once that it does again.
    """

    def __init__(
        self, uri: str, experiment: Experiment, run: RunFolder, training: str, note: Callable[[str], None]
    ) -> None:
        self._uri, self._experiment, self._run, self._training, self._note = uri, experiment, run, training, note
        self._server = MlflowServer(uri)
        self._is_open = self._is_told_missing = self._is_off = False
        self._next_at, self._wait_s = 0.0, RETRY_S[0]
        known = known_run(run, uri, training)
        self._id, self._artifacts = str(known.get("run_id", "")), str(known.get("artifact_uri", ""))
        self._told_until = 0  # ms, by the journal's clock
        self._sync()

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Sent from the journal, with what was not sent before it."""
        self._sync()

    def live(self, live: Live) -> None:
        """A moment to send what waits."""
        self._sync()

    def event(self, event: Event) -> None:
        """MLflow has no place for it."""

    def close(self, outcome: str) -> None:
        """The rest, a last attempt included, and how it ended."""
        self._next_at = 0.0
        self._sync(STATUS[outcome])
        missing = len(self._missing())
        if missing and not self._is_off:
            self._note(f"MLflow at {self._uri} was not told {missing} epochs; the run's journal and report have them")

    def _sync(self, status: str = "") -> None:
        if self._is_off or time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + SEND_EVERY_S
        try:
            self._open()
            self._send()
            if status:
                self._server.put_files(self._artifacts, _settings(self._experiment))
                self._server.set_status(self._id, status, time.time())
        except Unreachable as error:
            self._wait(str(error))
        except Refused as error:
            self._is_off = True
            self._note(f"MLflow at {self._uri} takes no numbers: {error}")
        else:
            if self._is_told_missing:
                self._note(f"MLflow at {self._uri} answers again, and has all numbers")
            self._is_told_missing, self._wait_s = False, RETRY_S[0]

    def _wait(self, reason: str) -> None:
        self._next_at = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, RETRY_S[1])
        if not self._is_told_missing:
            self._is_told_missing = True
            self._note(f"MLflow at {self._uri} cannot be reached ({reason}); training goes on, it is told later")

    def _open(self) -> None:
        """Once an execution: the run of before, or a new one."""
        if self._is_open:
            return
        until = self._server.told_until(self._id) if self._id else None
        if until is None:
            self._create()
        else:
            self._told_until = until
            self._server.set_status(self._id, "RUNNING")
        self._is_open = True

    def _create(self) -> None:
        journal, name = self._run.journal, self._experiment.name
        started, data = next(journal.events("started"), {}), journal.last("data") or {}
        tags = {
            "mlflow.source.name": "manta", "manta.run": name, "manta.training": self._training,
            "manta.folder": str(self._run.path), "manta.data_fingerprint": str(data.get("fingerprint", "")),
            **{f"manta.version.{library}": str(found) for library, found in started.get("versions", {}).items()},
        }  # fmt: skip
        place = self._server.experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
        info = self._server.create_run(place, name, started.get("time", time.time()), tags)
        self._id, self._artifacts, self._told_until = info["run_id"], info.get("artifact_uri", ""), 0
        self._server.log_params(self._id, flattened(_shown(self._experiment)))
        self._keep()

    def _missing(self) -> list[Event]:
        epochs = standing(self._run.journal.events("epoch"), self._training)
        return [event for event in epochs if in_ms(event["time"]) > self._told_until]

    def _send(self) -> None:
        """Whole epochs at a time: what a server has of one tells that it has all of it."""
        epochs = self._missing()
        most = max((len(event["metrics"]) for event in epochs), default=1)
        a_call = max(1, MAX_METRICS // most)
        for some in (epochs[start : start + a_call] for start in range(0, len(epochs), a_call)):
            self._server.log_metrics(self._id, [each for event in some for each in _metrics(event)])
            self._told_until = max(in_ms(event["time"]) for event in some)

    def _keep(self) -> None:
        self._run.journal.append(
            TRACKED, to="mlflow", uri=self._uri, training=self._training, run_id=self._id,
            artifact_uri=self._artifacts,
        )  # fmt: skip


def known_run(run: RunFolder, uri: str, training: str | None = None) -> Event:
    """The journal's newest word of this server's run, of one training or the newest; empty where there is none."""
    found: Event = {}
    for event in run.journal.events(TRACKED):
        if event.get("uri") == uri and training in (None, event.get("training")):
            found = event
    return found


def send_files(experiment: Experiment, run: RunFolder, note: Callable[[str], None]) -> None:
    """What a finished run has to show, into the artifacts of its MLflow run, where it is tracked by one."""
    uri = experiment.track.mlflow
    known = known_run(run, uri) if uri is not None else {}
    if uri is None or not known:
        return
    paths = [run.path / name for name in FILES]
    try:
        files = {path.name: path.read_bytes() for path in paths if path.exists()}
        if not MlflowServer(uri).put_files(known["artifact_uri"], files):
            note(f"MLflow at {uri} keeps files in {known['artifact_uri']}, which Manta does not write to: numbers only")
    except (Unreachable, Refused) as error:
        note(f"MLflow at {uri} was not sent the report: {error}")


def _metrics(epoch: Event) -> list[tuple[str, float, int, float]]:
    known = [(name, value) for name, value in epoch["metrics"].items() if value is not None]
    return [(name, float(value), int(epoch["epoch"]), float(epoch["time"])) for name, value in known]


def _settings(experiment: Experiment) -> dict[str, bytes]:
    return {"experiment.yaml": yaml.safe_dump(_shown(experiment), sort_keys=False).encode()}


def _shown(experiment: Experiment) -> dict[str, Any]:
    """Without passwords: a server has more readers than a run's folder."""
    return dict(without_secrets(experiment.model_dump(mode="json")))


def flattened(value: Any, key: str = "") -> dict[str, str]:
    """Leaves by their dotted key, as text; what is not set is left out."""
    if isinstance(value, Mapping) and value:
        return {name: text for part, item in value.items() for name, text in flattened(item, f"{key}.{part}").items()}
    return {} if value is None else {key.lstrip("."): str(value)}
