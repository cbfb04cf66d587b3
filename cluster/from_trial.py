"""One trial of a search trained again by itself, and its scores compared with those that the search recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cluster.history import find_run
from cluster.place import Place
from cluster.reproduce import Original, code_path_of
from cluster.train import needs_ray
from training import pipeline
from training.config import Experiment
from training.config_file import apply_overrides
from training.data.folds import read_folds
from training.errors import ConfigError, StorageError, TrainingFailed
from training.event_text import counted
from training.fit import uses_gpu
from training.journal import Event
from training.metric_names import METRIC_MODES
from training.package.shapes import StoredModel
from training.pipeline import Work, working
from training.progress import Progress
from training.run_record import RunRecord, number
from training.search.messages import Assignment
from training.search.slot.curve import Curve
from training.search.slot.solo import SoloRun
from training.search.slot.surroundings import FoldRows, Surroundings

MAX_NAME = 63


class FromTrial(StoredModel):
    """What `manta train --from RUN/TRIAL --json` prints."""

    trial: str
    run: str  # folder of the new run
    metric: str
    then: tuple[float | None, ...]  # score of each epoch, or of each fold and seed
    now: tuple[float | None, ...]
    score_then: float | None  # of the trial: its best epoch's, or the mean of its folds and seeds
    score_now: float | None
    is_mean: bool
    is_equal: bool  # to the last bit
    largest_difference: float
    checkpoint: str  # empty where the trial is several trainings
    why: str  # it may differ; empty where it is equal


@dataclass(frozen=True)
class Found:
    """A trial in its run."""

    original: Original
    event: Event
    folder: Path

    @property
    def settings(self) -> Experiment:
        """The experiment as the trial had it, under a name of its own beside its run."""
        base = self.original.experiment()
        name = f"{base.name}-{self.event['trial']}"[-MAX_NAME:].lstrip("._-")
        varied = apply_overrides(base, self.event["params"])
        return varied.model_copy(update={"name": name, "storage": str(self.folder.resolve().parent)})


def find_trial(text: str, storage: str) -> Found:
    """What RUN/TRIAL means. Raises ConfigError where there is none, naming what there is."""
    run, _, trial = text.rstrip("/").rpartition("/")
    if not run or not trial.startswith("t"):
        raise ConfigError(f"{text} names no trial", "write RUN/TRIAL, for example digits/t0007")
    folder = find_run(run, storage)
    record = RunRecord.read(folder)
    event = next((event for event in record.trials if event["trial"] == trial), None)
    if event is None:
        names = [event["trial"] for event in record.trials]
        ended = f"{names[0]} to {max(names)}" if names else "none has ended"
        raise ConfigError(f"{folder} has no ended trial {trial}", f"there are: {ended}")
    if event["state"] == "failed":
        raise ConfigError(f"{trial} failed, so there is no score to make again: {event['cause']}")
    if event.get("lineage"):
        raise ConfigError(
            f"{trial} went on from the weights of {event['lineage'][-1]['from']}: it is no training by itself",
            "its weights are kept in the run where it was the best one",
        )
    return Found(Original(record), event, folder)


def train_from(text: str, progress: Progress, place: Place, storage: str) -> FromTrial:
    """Train a trial again.

    Raises:
        ConfigError: there is no such trial.
        StorageError: the data are no more what they were.
    """
    found = find_trial(text, storage)
    experiment = found.settings
    code_path = code_path_of(found.original.record.last("started"), None, progress)
    searched = found.original.record.last("search")
    with working(experiment, progress, "train", code_path) as work:
        _require_same_data(work, found)
        if found.event.get("replicates"):
            now, checkpoint = _replicates(work, found), ""
        else:
            if needs_ray(experiment, place):
                with place.session():
                    fitted = pipeline.train(work)
            else:
                fitted = pipeline.train(work)
            epochs = RunRecord.read(work.run.path).epochs
            now = [number(epoch["metrics"].get(f"validation/{work.metric}")) for epoch in epochs]
            checkpoint = fitted.checkpoint
        pipeline.finish(work)
        then = [number(score) for score in found.event["curve"]]
        metric = work.metric
    return _compared(found, str(work.run.path), metric, then, now[: len(then)], checkpoint, searched)


def _require_same_data(work: Work, found: Found) -> None:
    recorded = str(found.original.record.last("data").get("fingerprint", ""))
    now = work.prepared.facts.fingerprint
    if now != recorded:
        raise StorageError(
            f"the data of {found.original.record.name} changed since its search: fingerprint {recorded}, now {now}",
            "bring the old data back; its sources stand in the run's data.json",
        )


def _replicates(work: Work, found: Found) -> list[float]:
    """Folds and seeds, one after another, by the very code that the search had judge them."""
    experiment = work.experiment
    assert experiment.search is not None
    folds = None
    if experiment.search.folds:
        read = read_folds(experiment.data, experiment.search.folds, code_path=work.code_path)
        folds = FoldRows(read.for_workers(), read.splits)
    prepared = work.prepared
    around = Surroundings(
        experiment, (prepared.facts, prepared.train, prepared.validation), folds, work.metric,
        work.run.checkpoints_of("").rstrip("/"), work.code_path, Path.cwd(),
        torch.device("cuda" if uses_gpu(experiment) else "cpu"),
    )  # fmt: skip
    wanted = len(found.event["replicates"])
    run = SoloRun(Assignment(found.event["trial"], {}, until=wanted), around)
    told = 0
    while run.can_advance:
        run.advance()
        if run.level > told:
            told = run.level
            work.progress.step(told, wanted, f"{told} of {wanted} trainings")
    heard = run.heard()[-1]
    run.close()
    if heard.cause:
        raise TrainingFailed(heard.cause)
    return [part.score for part in heard.parts]


def _score(scores: Sequence[float], metric: str, *, is_mean: bool) -> float | None:
    """Of a trial, from its epochs, or from its folds and seeds; None where it has none."""
    curve = Curve(metric, METRIC_MODES[metric])
    curve.follow([{f"validation/{metric}": score} for score in scores])
    score = sum(scores) / len(scores) if is_mean and scores else [math.nan, *curve.bests][-1]
    return score if math.isfinite(score) else None


def _compared(
    found: Found, run: str, metric: str, then: Sequence[float], now: Sequence[float], checkpoint: str,
    searched: Mapping[str, Any],
) -> FromTrial:  # fmt: skip
    pairs = list(zip(then, now, strict=False))
    apart = [abs(a - b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    same = len(then) == len(now) and all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
    why = ""
    if not same:
        lanes = int(found.event.get("lanes", 1))
        causes = [f"the search trained it in a stack of {lanes}, which adds numbers in another order"] * (lanes > 1)
        causes += ["a GPU adds numbers in an order of its own"] * bool(searched.get("gpus_per_slot"))
        why = "; ".join(causes) or "code, versions or machine differ: `manta reproduce` compares them"
    is_mean = bool(found.event.get("replicates"))
    return FromTrial(
        trial=found.event["trial"], run=run, metric=f"validation/{metric}", then=tuple(then), now=tuple(now),
        score_then=found.event["score"], score_now=_score(now, metric, is_mean=is_mean), is_mean=is_mean, is_equal=same,
        largest_difference=max(apart, default=math.nan if not same else 0.0), checkpoint=checkpoint, why=why,
    )  # fmt: skip


def from_trial_text(found: FromTrial) -> str:
    """For a person."""
    now, then = ("-" if score is None else f"{score:.4f}" for score in (found.score_now, found.score_then))
    num = len(found.now)
    of = f"the mean of {counted(num, 'training')}" if found.is_mean else f"the best of {counted(num, 'epoch')}"
    lines = [f"{found.trial} again: {found.metric} {now} now, {then} in the search ({of})"]
    if found.is_equal:
        lines.append(f"all {counted(num, 'score')} equal to the last bit")
    else:
        lines += [f"scores differ by {found.largest_difference:.2g} at most", f"why: {found.why}"]
    return "\n".join([*lines, *([found.checkpoint] if found.checkpoint else [])])
