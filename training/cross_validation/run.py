"""A cross-validation from a run's data to its record: folds, what they say together, and one model of all rows."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from training.cross_validation.folds import train_folds
from training.cross_validation.kept import KeptFolds
from training.cross_validation.one_fold import fixed_threshold
from training.cross_validation.out_of_fold import OutOfFold, save, tuned_threshold
from training.cross_validation.record import (
    RECORD_FILE,
    CrossValidation,
    FoldsPlan,
    Job,
    Refit,
    refit_epochs,
    spreads,
)
from training.cross_validation.refit import RefitPlan, refit, require_refit
from training.data.folds import Folds, read_folds
from training.data.prepared import Part, Prepared
from training.data.stream.choose import should_stream
from training.errors import ConfigError, DataError
from training.metric_names import METRIC_MODES
from training.pipeline import Work

RaySession = Callable[[], AbstractContextManager[Any]]


def require_plan(work: Work, *, with_refit: bool) -> None:
    """Refuse, before anything is read, what folds cannot be made of.

    Raises:
        ConfigError: settings that do not go with folds.
        DataError: a stream.
    """
    experiment = work.experiment
    if experiment.data.split.folds is not None:
        raise ConfigError(
            "data.split.folds names one fold by itself, and --folds makes all of them",
            "--set data.split.folds=null leaves it to --folds",
        )
    if experiment.train.parallel == "fsdp":
        raise ConfigError(
            "train.parallel=fsdp is for models that one worker cannot hold, and each fold trains with one worker",
            "--set train.parallel=ddp where the model fits, or make the folds one by one with data.split.folds",
        )
    if should_stream(experiment.data):
        raise DataError(
            "a cross-validation divides rows in memory, and these are streamed",
            "data.loading=memory reads all of them, data.sample=0.1 a tenth; data.split.folds streams one fold a run",
        )
    if with_refit:
        require_refit(experiment)


def cross_validate(work: Work, plan: FoldsPlan, session: RaySession, *, with_refit: bool = True) -> CrossValidation:
    """Make what is missing of a cross-validation, and put it together.

    Args:
        work: the run.
        plan: how many folds and seeds.
        session: gives a Ray for the length of a `with` block; asked only where something must be trained.
        with_refit: whether a model of all rows follows.

    Raises:
        ConfigError: settings that do not go with folds.
        DataError: a stream, or rows too few for so many folds.
        TrainingFailed: some trainings failed; the others are kept.
    """
    require_plan(work, with_refit=with_refit)
    prepared = work.prepared
    if not isinstance(prepared.train, Part) or prepared.facts.task == "language_modelling":
        raise DataError(
            "a cross-validation needs rows with a target each, and a language model learns from running text",
            "train once: leave --folds away",
        )
    kept = KeptFolds.of(work.run.path, plan.num_folds, _data_key(prepared))
    about = {"num_folds": plan.num_folds, "num_seeds": plan.num_seeds, "data_key": kept.data_key}
    jobs = [Job(fold, seed) for seed in range(plan.num_seeds) for fold in range(plan.num_folds)]
    missing = [job for job in jobs if kept.result(job) is None]
    earlier = None if missing else _earlier_refit(work, about)
    if not missing and (earlier is not None or not with_refit):
        work.progress.note(f"all {len(jobs)} trainings of {plan.num_folds} folds are done")
        return _recorded(work, plan, kept, jobs, earlier)
    folds = read_folds(work.experiment.data, plan.num_folds, code_path=work.code_path)  # an error here needs no Ray
    with session():
        if missing:
            _announce(work, plan, jobs, missing)
            train_folds(work, folds, missing, kept)
        record = _recorded(work, plan, kept, jobs, None)
        return _with_refit(work, folds, kept, jobs, about, record) if with_refit else record


def _data_key(prepared: Prepared) -> str:
    """Of the rows in their order: a fold of other rows, or of rows numbered otherwise, is none of this division."""
    text = "\n".join(f"{source.name} {source.digest} {source.order}" for source in prepared.sources)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _earlier_refit(work: Work, about: dict[str, Any]) -> Refit | None:
    """The refit that the run's newest fit is, where it followed these folds."""
    found = (work.run.journal.last("fit") or {}).get("refit") or {}
    return Refit.model_validate(found) if all(found.get(key) == value for key, value in about.items()) else None


def _announce(work: Work, plan: FoldsPlan, jobs: list[Job], missing: list[Job]) -> None:
    train = work.experiment.train
    done = f", {len(jobs) - len(missing)} are done" if len(missing) < len(jobs) else ""
    work.progress.stage("folds", f"{len(jobs)} trainings: {plan.num_folds} folds, {plan.num_seeds} seed(s){done}")
    if work.experiment.search is not None:
        work.progress.note("the experiment's own settings are trained, not those of its search's best trial")
    if train.max_workers > 1:
        work.progress.note(f"each fold trains with one worker, on batches of {train.global_batch_size} as ever")


def _recorded(work: Work, plan: FoldsPlan, kept: KeptFolds, jobs: list[Job], refitted: Refit | None) -> CrossValidation:
    """Put the finished folds together, and write what they say."""
    results = [result for job in sorted(jobs) if (result := kept.result(job)) is not None]
    predicted = {job: kept.predicted(job) for job in jobs}
    mean, facts = OutOfFold.of(predicted), work.prepared.facts
    threshold = fixed_threshold(work.experiment.train.imbalance)
    save(work.run.path, predicted, mean, facts, threshold)
    split = work.experiment.data.split
    record = CrossValidation(
        name=work.experiment.name, metric=work.metric, mode=METRIC_MODES[work.metric], task=facts.task,
        kind=split.kind, by=split.by, fingerprint=facts.fingerprint, num_folds=plan.num_folds,
        num_seeds=plan.num_seeds, folds=tuple(results), scores=spreads(results),
        out_of_fold=mean.scored(facts, threshold, work.experiment.train.loss.judged_quantile),
        num_out_of_fold_rows=len(mean.rows_N),
        num_rows=len(work.prepared.train) + len(work.prepared.validation), refit=refitted,
    )  # fmt: skip
    work.run.write_json(RECORD_FILE, record.model_dump(mode="json"))
    return record


def _with_refit(
    work: Work, folds: Folds, kept: KeptFolds, jobs: list[Job], about: dict[str, Any], record: CrossValidation
) -> CrossValidation:
    mean = OutOfFold.of({job: kept.predicted(job) for job in jobs})
    imbalance = work.experiment.train.imbalance
    plan = RefitPlan(refit_epochs(record.folds), tuned_threshold(imbalance, mean))
    everything = folds.all_rows().accepting(work.prepared.facts.accepts)
    record = record.model_copy(update={"refit": refit(work, everything, plan, about)})
    work.run.write_json(RECORD_FILE, record.model_dump(mode="json"))
    return record
