"""A run from table to package: prepare, search, fit, compress, package. It starts at the first unfinished stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from torch import Tensor

from training.compress_config import CompressConfig
from training.config import Experiment
from training.config_file import apply_overrides
from training.data.changes import files_changed
from training.data.fingerprint import differences
from training.data.folds import read_folds
from training.data.prepare import prepare
from training.data.prepared import Facts, Prepared
from training.errors import ConfigError, StorageError
from training.event_text import counted
from training.fit import FitResult, best_of_checkpoint, fit, require_workers
from training.kept_training import KeptTraining, NewEpochs
from training.metric_names import METRIC_MODES, default_metric, metrics_of
from training.package.errors import UserError
from training.package.machine import describe_machine
from training.package.manifest import Lineage, Manifest
from training.package.read import load_package
from training.package.signature import signing_key
from training.packing import Contents, build_package, pick_golden_rows
from training.progress import Progress
from training.provenance import FILE as PROVENANCE_FILE
from training.provenance import Provenance, provenance_of, versions
from training.run_folder import RunFolder
from training.run_record import BY_HAND
from training.search.extend import no_more_than_there_are
from training.search.result import SearchResult
from training.search_config import SearchConfig
from training.suitable import require_defined, require_suitable
from training.task_settings import WORDS
from training.tracking.tracker import tracking

if TYPE_CHECKING:
    from training.compress.job import CompressResult

MAX_HELD_OUT_ROWS = 1000  # kept with the run, to be sent over HTTP
SAME_SCORE = 1e-6  # what is nearer is no difference
SEARCHING = ("tune", "compress", "run")  # commands that search
OWN = "own"  # names the training of the experiment's own settings, beside those of trials


@dataclass(frozen=True)
class Work:
    """One execution of an experiment, and what its stages share."""

    experiment: Experiment
    run: RunFolder
    progress: Progress
    code_path: str = ""  # folder that custom model classes are imported from
    accepts_changed_data: bool = False
    started_at: float = field(default_factory=time.time)

    @property
    def must_read(self) -> bool:
        """Whether the data is to be read before anything else: it was not yet, or its files are not those of before."""
        earlier = self.run.journal.last("data")
        return earlier is None or files_changed(earlier.get("sources", []), self.experiment.data)

    @cached_property
    def provenance(self) -> Provenance:
        """What this execution depends on beside experiment and data; asked for once, as git and the driver answer."""
        return provenance_of(self.experiment, self.code_path)

    @cached_property
    def prepared(self) -> Prepared:
        """The data, read once a process; recorded, and compared with what the run began on."""
        config = self.experiment.data
        self.progress.stage("data", config.source)
        prepared = prepare(config, quarantine=self.run.quarantine, code_path=self.code_path)
        for note in prepared.notes:
            self.progress.note(note)
        require_suitable(self.experiment.train, prepared.facts, prepared.validation.target)
        earlier = list(self.run.journal.events("data"))
        is_other = bool(earlier) and earlier[-1]["fingerprint"] != prepared.facts.fingerprint
        if is_other:
            self._judge_change(earlier[-1], prepared)
        if (
            is_other or self.must_read
        ):  # the same rows may have been written again, and are then known by their new files
            record_data(self.run, prepared)
        return prepared.accepting(event["fingerprint"] for event in earlier)

    def _judge_change(self, earlier: dict[str, Any], prepared: Prepared) -> None:
        changes = differences(earlier.get("sources", []), [asdict(source) for source in prepared.sources])
        listed = "\n  ".join([f"the data of {self.experiment.data.source} changed since this run began", *changes])
        if not self.accepts_changed_data:
            raise StorageError(
                listed,
                f"bring the old data back, give the new data a run of its own (--set name={self.experiment.name}-2), "
                "or go on with what is there: --accept-changed-data",
            )
        self.progress.note(f"{listed}\n  accepted: what is not done yet goes on with the new data")

    @cached_property
    def all_rows(self) -> Prepared:
        """The rows of training and validation together, none that judge: what a model after a cross-validation has."""
        folds = read_folds(self.experiment.data, 1, code_path=self.code_path)
        return folds.all_rows().accepting(self.prepared.facts.accepts)

    @property
    def refit(self) -> dict[str, Any]:
        """What a cross-validation left, where the run's newest fit is the model that follows it; else empty."""
        return (self.run.journal.last("fit") or {}).get("refit") or {}

    @cached_property
    def metric(self) -> str:
        """The score that decides, without its prefix."""
        metric = deciding_metric(self.experiment, self.prepared.facts)
        require_defined(metric, self.prepared.facts, self.prepared.validation.target)
        return metric


def deciding_metric(experiment: Experiment, facts: Facts) -> str:
    """The score that decides, without its prefix. Raises ConfigError for one that these data do not have."""
    config = experiment.search
    of_quantile = experiment.train.loss.judged_quantile is not None
    name = (config.metric if config else None) or f"validation/{default_metric(facts.task, of_quantile=of_quantile)}"
    allowed = metrics_of(facts.task, len(facts.labels), of_quantile=of_quantile)
    if (metric := name.removeprefix("validation/")) not in allowed:
        raise ConfigError(
            f"search.metric {name} does not exist for {WORDS[facts.task]}{_of_classes(facts)}",
            f"there are: {', '.join(f'validation/{known}' for known in allowed)}",
        )
    return metric


def _of_classes(facts: Facts) -> str:
    return f" with {len(facts.labels)} {'labels' if facts.task == 'multilabel' else 'classes'}" if facts.labels else ""


@contextmanager
def working(
    experiment: Experiment, progress: Progress, command: str, code_path: str = "", accepts_changed_data: bool = False
) -> Iterator[Work]:
    """Open the run's folder, alone, and keep its record of beginning and failure."""
    if command in SEARCHING and experiment.search is not None and experiment.search.from_:
        from training.search.sampling.warm_start import require_earlier  # noqa: PLC0415  # Optuna

        require_earlier(experiment)  # a folder that was opened with a wrong name would hold on to it
    run = RunFolder.of(experiment)
    with run.alone(told=progress.note):
        run.open(experiment)
        work = Work(experiment, run, progress, code_path, accepts_changed_data)
        provenance = work.provenance.model_dump(mode="json")
        run.write_json(PROVENANCE_FILE, provenance)
        run.journal.append(
            "started", command=command, versions=provenance["versions"], machine=describe_machine(),
            code_path=code_path, provenance=provenance,
        )  # fmt: skip
        try:
            yield work
        except UserError as error:
            run.journal.append("failed", stage=command, message=str(error))
            raise
        except KeyboardInterrupt:
            run.journal.append("failed", stage=command, message=BY_HAND)
            raise
        except Exception as error:
            run.journal.append("failed", stage=command, message=f"{type(error).__name__}: {error}")
            raise


def require_search(experiment: Experiment) -> SearchConfig:
    """What to search. Raises ConfigError where the experiment has no search."""
    if experiment.search is None:
        raise ConfigError(f"{experiment.name} has no search section", "add search.space, or use `manta train`")
    return experiment.search


def tune(work: Work) -> SearchResult:
    """Search, unless it is done. Raises ConfigError where the experiment has no search."""
    config = no_more_than_there_are(require_search(work.experiment), work.experiment)
    earlier = work.run.journal.last("searched")
    if earlier and _num_trials(earlier) >= config.trials:
        work.progress.note(f"the search is done: {earlier['best_trial']} is best of {_num_trials(earlier)} trials")
        return SearchResult(
            earlier["best_trial"], earlier["params"], earlier["best_score"],
            earlier["num_complete"], earlier["num_pruned"], earlier["num_failed"], earlier.get("ended", ""),
            tuple(earlier.get("front", ())), earlier.get("ledger", {}),
        )  # fmt: skip
    prepared = work.prepared
    work.progress.stage("search", f"{counted(config.trials, 'trial')} over {', '.join(config.space)}")
    if goes_on := _goes_on(work, config):
        work.progress.note(goes_on)
    began = time.time()
    from training.search.search import search  # noqa: PLC0415  # loads Ray Tune, which a training need not wait for

    found = search(
        work.experiment, prepared, work.run, metric=work.metric, progress=work.progress, code_path=work.code_path
    )
    work.run.journal.append(
        "searched", best_trial=found.trial, params=found.params, best_score=found.score,
        metric=f"validation/{work.metric}",
        mode=METRIC_MODES[work.metric], num_complete=found.num_complete, num_pruned=found.num_pruned,
        num_failed=found.num_failed, seconds=time.time() - began, ended=found.ended, front=found.front,
        ledger=found.ledger,
    )  # fmt: skip
    return found


def _goes_on(work: Work, config: SearchConfig) -> str:
    """Where a search stands that was begun before; empty of a new one."""
    newest = [event["event"] for event in work.run.journal.events("search", "searched")]
    if not newest:
        return ""
    num_ended = len({event["trial"] for event in work.run.journal.events("trial")})
    left = f"{max(0, config.trials - num_ended)} of {counted(config.trials, 'trial')} left"
    broken_off = "; those that were broken off go on where they were saved" if newest[-1] == "search" else ""
    return f"the search goes on: {num_ended} ended before, {left}{broken_off}"


def _num_trials(searched: dict[str, Any]) -> int:
    return int(searched["num_complete"] + searched["num_pruned"] + searched["num_failed"])


def train(work: Work, found: SearchResult | None = None) -> FitResult:
    """Train the experiment's own settings, or those of a search's best trial, unless it is done."""
    name = found.trial if found else OWN
    earlier = work.run.journal.last("fit")
    if earlier and earlier["trial"] == name:
        refit = " on all rows, after a cross-validation" if earlier.get("refit") else ""
        work.progress.note(f"training is done{refit}: epoch {earlier['best_epoch']} of {name} is best")
        return best_of_checkpoint(earlier["checkpoint"], earlier["metrics"], earlier["num_workers"])
    experiment = apply_overrides(work.experiment, found.params) if found else work.experiment
    prepared = _prepared_for(work, experiment)
    kept = KeptTraining.read(work.run.checkpoints_of(name), experiment, work.metric)
    is_of_search = found is not None and require_search(work.experiment).replicates == 1
    work.progress.stage("train", kept.words(name, experiment, is_of_search=is_of_search))
    began = time.time()
    with tracking(experiment, work.run, NewEpochs(work.progress, kept), name) as progress:
        result = fit(
            experiment, prepared, work.run, name=name, metric=work.metric, progress=progress, code_path=work.code_path
        )
    work.run.journal.append(
        "fit", trial=name, best_epoch=result.best_epoch, metrics=result.metrics, seconds=time.time() - began,
        num_workers=result.num_workers, checkpoint=result.checkpoint, params=found.params if found else {},
    )  # fmt: skip
    return result


def compress(work: Work, found: SearchResult | None, fitted: FitResult) -> Manifest:
    """Export, quantise, measure, choose, and write the package, unless that is done with the same settings."""
    settings = work.experiment.compress.model_dump(mode="json")
    name = found.trial if found else OWN
    if _is_packaged(work, name, settings):
        work.progress.note(f"the package is written: {work.run.package}")
        return load_package(work.run.package).manifest
    experiment = apply_overrides(work.experiment, found.params) if found else work.experiment
    refit = {} if found else work.refit
    if refit.get("threshold") is not None:  # no row is left to tune it on anew
        experiment = apply_overrides(experiment, {"train.imbalance.threshold": refit["threshold"]})
    prepared = work.all_rows if refit else _prepared_for(work, experiment)
    work.progress.stage("compress", "export, make smaller forms, measure them on the held-out rows")
    _tell_lost_forms(work)
    began = time.time()
    manifest, compressed = _package(work, experiment, prepared, name, fitted.weights)
    chosen = manifest.variant()
    record_compressed(work.run, manifest, compressed, experiment.compress, seconds=time.time() - began)
    work.run.journal.append(
        "packaged", path=str(work.run.package), score=chosen.metrics.get(manifest.metric), metric=manifest.metric,
        settings=settings, trial=name,
    )  # fmt: skip
    return manifest


def _tell_lost_forms(work: Work) -> None:
    """The package is made anew: what `manta compress` added to it by other settings goes."""
    if not work.run.package.exists():
        return
    newest = [event["event"] for event in work.run.journal.events("compressed", "packaged")][-1:]
    if newest == ["compressed"]:  # a run's own package is recorded after what was compressed
        work.progress.note("the package is made anew by the experiment's settings, without the forms added to it")


def record_compressed(
    run: RunFolder, manifest: Manifest, compressed: "CompressResult", config: CompressConfig, *, seconds: float
) -> None:  # fmt: skip
    """What was made and measured, into the run's journal; the report shows it."""
    run.journal.append(
        "compressed", variants=[variant.model_dump(mode="json") for variant in manifest.variants],
        chosen=manifest.chosen, reason=manifest.chosen_reason, metric=manifest.metric, mode=manifest.metric_mode,
        seconds=seconds, comparison=compressed.comparison.model_dump(mode="json"),
        not_made=dict(compressed.not_made), distilled=list(compressed.tried), max_drop=config.max_drop,
        slice_drop=config.slice_drop,
    )  # fmt: skip


def _is_packaged(work: Work, name: str, settings: dict[str, Any]) -> bool:
    """Whether the package is that of the newest fit, with these settings."""
    earlier, fitted = work.run.journal.last("packaged"), work.run.journal.last("fit")
    if earlier is None or (fitted is not None and earlier["time"] < fitted["time"]):
        return False
    return earlier["settings"] == settings and earlier["trial"] == name and work.run.package.exists()


def run_all(work: Work) -> Manifest:
    """From the table to the package."""
    require_workers(work.experiment)  # now, and not after the whole search
    signing_key()  # likewise
    if work.experiment.compress != CompressConfig() and work.run.journal.last("packaged") is None:
        from training.compress.of_run import require_settings  # noqa: PLC0415  # loads ONNX Runtime

        require_settings(work.experiment, work.prepared, work.metric)
    if work.experiment.search:
        _ = work.prepared  # also where the search is done: what comes after it is of these rows, too
    found = tune(work) if work.experiment.search else None
    fitted = train(work, found)
    if found:
        _compare(work, found, fitted)
    return compress(work, found, fitted)


def finish(work: Work) -> None:
    """The last line of a run's record."""
    work.run.journal.append("finished", seconds=time.time() - work.started_at)


def _prepared_for(work: Work, experiment: Experiment) -> Prepared:
    """The run's data; read anew only where the best trial reads it differently."""
    if experiment.data == work.experiment.data:
        return work.prepared
    return prepare(experiment.data, code_path=work.code_path)


def _compare(work: Work, found: SearchResult, fitted: FitResult) -> None:
    """Say how the model's score differs from the search's."""
    score = fitted.metrics.get(f"validation/{work.metric}", float("nan"))
    replicates = require_search(work.experiment).replicates
    if replicates == 1 and abs(score - found.score) < SAME_SCORE:
        return
    then = f"{found.score:.4f} in the search" + (f", the mean of {replicates} trainings" if replicates > 1 else "")
    work.progress.stage("model", f"one of {found.trial}'s settings: validation/{work.metric} {score:.4f} ({then})")


def _package(
    work: Work, experiment: Experiment, prepared: Prepared, trial: str, weights: dict[str, Tensor]
) -> tuple[Manifest, "CompressResult"]:
    from training.compress.compress import compress as compress_model  # noqa: PLC0415  # loads ONNX Runtime
    from training.compress.of_run import job_of  # noqa: PLC0415

    facts = prepared.facts
    golden_rows = pick_golden_rows(prepared.test_rows, facts.inputs)
    job = job_of(experiment, prepared, weights, metric=work.metric, golden_rows=golden_rows, code_path=work.code_path)
    compressed = compress_model(job, work.progress)
    contents = Contents(
        experiment=experiment, task=facts.task, labels=facts.labels, inputs=facts.inputs,
        transforms=facts.transforms, compressed=compressed, golden_rows=golden_rows, weights=weights,
        train_rows=prepared.reference_rows,
        metric=f"test/{work.metric}", metric_mode=METRIC_MODES[work.metric],
        lineage=_lineage(work, prepared, trial), threshold=job.held_out.threshold,
        target_mean=facts.target_mean, target_scale=facts.target_scale,
    )  # fmt: skip
    return build_package(work.run.package, contents), compressed


def _lineage(work: Work, prepared: Prepared, trial: str) -> Lineage:
    provenance = work.provenance
    return Lineage(
        run=work.experiment.name, trial=None if trial == OWN else trial, data_fingerprint=prepared.facts.fingerprint,
        num_rows=_num_rows(prepared), data_sources=tuple(asdict(source) for source in prepared.sources),
        versions=versions(), machine=describe_machine(), code_digest=provenance.code.digest,
        own_code_digest=provenance.own_code.digest, commit=provenance.code.commit,
    )  # fmt: skip


def _num_rows(prepared: Prepared) -> dict[str, int]:
    return {"train": len(prepared.train), "validation": len(prepared.validation), "test": len(prepared.test)}


def record_data(run: RunFolder, prepared: Prepared) -> None:
    """The split, what the columns are, and some raw held-out rows for later checks."""
    facts, num_rows = prepared.facts, _num_rows(prepared)
    prepared.save_split(run.path / "split.parquet")
    pq.write_table(prepared.test_rows.slice(0, MAX_HELD_OUT_ROWS), run.path / "held_out.parquet")
    known: dict[str, Any] = {
        "fingerprint": facts.fingerprint, "task": facts.task, "labels": facts.labels, "num_rows": num_rows,
        "sources": [asdict(source) for source in prepared.sources], "counts": dict(prepared.counts),
        "notes": list(prepared.notes),
    }  # fmt: skip
    details = {"inputs": [spec.model_dump(mode="json") for spec in facts.inputs], "split_rule": prepared.split_rule}
    run.write_json("data.json", known | details)
    run.journal.append("data", **known, num_features=sum(len(spec.columns) or 1 for spec in facts.inputs))
