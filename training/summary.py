"""What `manta runs` lists and `manta report --json` prints: a run in a few fields."""

from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from training.cross_validation.record import read_cross_validation
from training.errors import StorageError
from training.package.shapes import StoredModel
from training.run_record import RunRecord, RunState


class FoldsSummary(StoredModel):
    """A cross-validation in a few fields."""

    num_folds: int
    num_seeds: int
    metric: str
    mean: float | None  # over the folds
    low: float | None  # of the 95 % interval
    high: float | None
    interval: str  # how that was made
    out_of_fold: float | None  # of all rows together
    test: float | None  # of the model of all rows


class RunSummary(StoredModel):
    """A run in a few fields. What has not happened yet is null or empty."""

    name: str
    folder: str
    state: RunState
    command: str = ""  # of the newest execution
    started_at: str | None = None  # ISO 8601, UTC; the first execution
    metric: str  # what training optimises, for example "validation/accuracy"
    best_score: float | None = None  # of that metric
    best_trial: str | None = None
    num_trials: dict[str, int] = Field(default_factory=dict)  # by state
    test_metric: str | None = None
    test_score: float | None = None
    cross_validation: FoldsSummary | None = None
    chosen: str | None = None  # the variant to serve
    reason: str | None = None  # why that one
    package: str | None = None
    release: str | None = None  # name@version
    url: str | None = None  # where it was served
    versions: dict[str, str] = Field(default_factory=dict)
    machine: str = ""
    seconds_by_stage: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0  # all executions, pauses left out
    error: str | None = None  # of the newest execution
    report: str | None = None


def summarise(run_folder: Path) -> RunSummary:
    """Read a run folder, finished or not. Raises StorageError for a folder that is not a run."""
    record = RunRecord.read(run_folder)
    started, compressed, packaged = record.last("started"), record.last("compressed"), record.last("packaged")
    registered, report = record.last("registered"), run_folder / "report.html"
    return RunSummary(
        name=record.name,
        folder=str(run_folder),
        state=record.state,
        command=started.get("command", ""),
        started_at=_iso(next((event["time"] for event in record.events if event.get("event") == "started"), None)),
        metric=record.metric,
        best_score=record.best_score,
        best_trial=record.best_trial.get("trial"),
        num_trials=_num_by_state(record),
        test_metric=packaged.get("metric"),
        test_score=packaged.get("score"),
        cross_validation=_folds(run_folder),
        chosen=compressed.get("chosen"),
        reason=compressed.get("reason"),
        package=packaged.get("path"),
        release=f"{registered['name']}@{registered['version']}" if registered else None,
        url=record.last("served").get("url"),
        versions=started.get("versions", {}),
        machine=started.get("machine", ""),
        seconds_by_stage=record.seconds_by_stage,
        seconds=record.seconds,
        error=record.last("failed").get("message") if record.state == "failed" else None,
        report=str(report) if report.exists() else None,
    )


def _folds(run_folder: Path) -> FoldsSummary | None:
    found = read_cross_validation(run_folder)
    if found is None:
        return None
    spread = found.spread
    return FoldsSummary(
        num_folds=found.num_folds, num_seeds=found.num_seeds, metric=found.metric, interval=found.interval,
        mean=spread.mean if spread else None, low=spread.low if spread else None, high=spread.high if spread else None,
        out_of_fold=found.out_of_fold.get(found.metric),
        test=found.refit.scores.get(found.metric) if found.refit else None,
    )  # fmt: skip


def summaries(storage: Path) -> list[RunSummary]:
    """All runs of a storage folder, the newest first. One that is damaged says so, and hides no other."""
    folders = sorted(
        {path.parent for name in ("journal.jsonl", "experiment.yaml") for path in storage.glob(f"*/{name}")}
    )
    return sorted(
        (_whatever_is_there(folder) for folder in folders), key=lambda run: run.started_at or "", reverse=True
    )


def _whatever_is_there(run_folder: Path) -> RunSummary:
    try:
        return summarise(run_folder)
    except StorageError as error:
        return RunSummary(name=run_folder.name, folder=str(run_folder), state="failed", metric="", error=error.message)


def _num_by_state(record: RunRecord) -> dict[str, int]:
    counts: dict[str, int] = {}
    for trial in record.trials:
        counts[trial["state"]] = counts.get(trial["state"], 0) + 1
    return counts


def _iso(time_s: float | None) -> str | None:
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
