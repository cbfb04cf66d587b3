"""A run from table to package: prepare, search, fit, compress, package. It starts at the first unfinished stage."""

import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from torch import Tensor

from training.compress.compress import compress as compress_model
from training.compress.machine import describe_machine
from training.config import Experiment
from training.config_file import apply_overrides
from training.data.changes import files_changed
from training.data.fingerprint import differences
from training.data.prepare import prepare
from training.data.prepared import Facts, Prepared
from training.errors import ConfigError, StorageError
from training.fit import FitResult, best_of_checkpoint, fit, require_workers
from training.metric_names import METRIC_MODES, default_metric, metrics_of
from training.metrics import held_out_scores
from training.models import ModelInputs, build_model
from training.package.errors import UserError
from training.package.manifest import Lineage, Manifest
from training.package.read import load_package
from training.packing import build_package
from training.progress import Progress
from training.run_folder import RunFolder
from training.search.search import SearchResult, search
from training.suitable import require_suitable
from training.threshold import threshold_of

LIBRARIES = ("manta", "ray", "torch", "torchmetrics", "optuna", "pyarrow", "onnx", "onnxruntime", "numpy")
MAX_HELD_OUT_ROWS = 1000  # kept with the run, to be sent over HTTP
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
    def metric(self) -> str:
        """The score that decides, without its prefix."""
        return deciding_metric(self.experiment, self.prepared.facts)


def deciding_metric(experiment: Experiment, facts: Facts) -> str:
    """The score that decides, without its prefix. Raises ConfigError for one that these data do not have."""
    config = experiment.search
    name = (config.metric if config else None) or f"validation/{default_metric(facts.task)}"
    allowed = metrics_of(facts.task, len(facts.labels))
    if (metric := name.removeprefix("validation/")) not in allowed:
        raise ConfigError(
            f"search.metric {name} does not exist for a {facts.task} with {len(facts.labels)} classes",
            f"there are: {', '.join(f'validation/{known}' for known in allowed)}",
        )
    return metric


@contextmanager
def working(
    experiment: Experiment, progress: Progress, command: str, code_path: str = "", accepts_changed_data: bool = False
) -> Iterator[Work]:
    """Open the run's folder, alone, and keep its record of beginning and failure."""
    run = RunFolder.of(experiment)
    with run.alone():
        run.open(experiment)
        run.journal.append(
            "started", command=command, versions=versions(), machine=describe_machine(), code_path=code_path
        )
        try:
            yield Work(experiment, run, progress, code_path, accepts_changed_data)
        except UserError as error:
            run.journal.append("failed", stage=command, message=str(error))
            raise
        except KeyboardInterrupt:
            run.journal.append("failed", stage=command, message="stopped by hand")
            raise
        except Exception as error:
            run.journal.append("failed", stage=command, message=f"{type(error).__name__}: {error}")
            raise


def tune(work: Work) -> SearchResult:
    """Search, unless it is done. Raises ConfigError where the experiment has no search."""
    config = work.experiment.search
    if config is None:
        raise ConfigError(f"{work.experiment.name} has no search section", "add search.space, or use `manta train`")
    earlier = work.run.journal.last("searched")
    if earlier and _num_trials(earlier) >= config.trials:
        work.progress.note(f"the search is done: {earlier['best_trial']} is best of {_num_trials(earlier)} trials")
        return SearchResult(
            earlier["best_trial"], earlier["params"], earlier["best_score"],
            earlier["num_complete"], earlier["num_pruned"], earlier["num_failed"],
        )  # fmt: skip
    prepared = work.prepared
    work.progress.stage("search", f"{config.trials} trials over {', '.join(config.space)}")
    began = time.time()
    found = search(
        work.experiment, prepared, work.run, metric=work.metric, progress=work.progress, code_path=work.code_path
    )
    work.run.journal.append(
        "searched", best_trial=found.trial, params=found.params, best_score=found.score,
        metric=f"validation/{work.metric}",
        mode=METRIC_MODES[work.metric], num_complete=found.num_complete, num_pruned=found.num_pruned,
        num_failed=found.num_failed, seconds=time.time() - began,
    )  # fmt: skip
    return found


def _num_trials(searched: dict[str, Any]) -> int:
    return int(searched["num_complete"] + searched["num_pruned"] + searched["num_failed"])


def train(work: Work, found: SearchResult | None = None) -> FitResult:
    """Train the experiment's own settings, or those of a search's best trial, unless it is done."""
    name = found.trial if found else OWN
    earlier = work.run.journal.last("fit")
    if earlier and earlier["trial"] == name:
        work.progress.note(f"training is done: epoch {earlier['best_epoch']} of {name} is best")
        return best_of_checkpoint(earlier["checkpoint"], earlier["metrics"], earlier["num_workers"])
    experiment = apply_overrides(work.experiment, found.params) if found else work.experiment
    prepared = _prepared_for(work, experiment)
    workers = f"{experiment.train.max_workers} worker(s)"
    work.progress.stage("train", f"{name} with {workers}, up to {experiment.train.epochs} epochs")
    began = time.time()
    result = fit(
        experiment, prepared, work.run, name=name, metric=work.metric, progress=work.progress, code_path=work.code_path
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
    earlier = work.run.journal.last("packaged")
    if earlier and earlier["settings"] == settings and earlier["trial"] == name and work.run.package.exists():
        work.progress.note(f"the package is written: {work.run.package}")
        return load_package(work.run.package).manifest
    experiment = apply_overrides(work.experiment, found.params) if found else work.experiment
    prepared = _prepared_for(work, experiment)
    work.progress.stage("compress", "export, quantize, measure on the held-out rows")
    began = time.time()
    manifest = _package(work, experiment, prepared, name, fitted.weights)
    chosen = manifest.variant()
    work.run.journal.append(
        "compressed", variants=[variant.model_dump(mode="json") for variant in manifest.variants],
        chosen=manifest.chosen,
        reason=manifest.chosen_reason, metric=manifest.metric, seconds=time.time() - began,
    )  # fmt: skip
    work.run.journal.append(
        "packaged", path=str(work.run.package), score=chosen.metrics[manifest.metric], metric=manifest.metric,
        settings=settings, trial=name,
    )  # fmt: skip
    return manifest


def run_all(work: Work) -> Manifest:
    """From the table to the package."""
    require_workers(work.experiment)  # now, and not after the whole search
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
    score = fitted.metrics.get(f"validation/{work.metric}", float("nan"))
    same = "the same as" if abs(score - found.score) < 1e-6 else "not quite"
    work.progress.note(
        f"trained again from {found.trial}: validation/{work.metric} {score:.4f}, {same} the trial's {found.score:.4f}"
    )


def _package(
    work: Work, experiment: Experiment, prepared: Prepared, trial: str, weights: dict[str, Tensor]
) -> Manifest:
    facts = prepared.facts
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    model = build_model(experiment.model, inputs, 0, work.code_path, experiment.ensemble)
    model.load_state_dict(weights)
    threshold = threshold_of(experiment.train.imbalance, model, facts, prepared.validation)
    with tempfile.TemporaryDirectory() as workdir:
        compressed = compress_model(
            model, task=facts.task, held_out=prepared.test.tensors, config=experiment.compress, workdir=Path(workdir),
            score=lambda scores: held_out_scores(
                facts.task, scores, prepared.test.target, labels=facts.labels, threshold=threshold
            ),
            metric=work.metric, mode=METRIC_MODES[work.metric],
            target_mean=facts.target_mean, target_scale=facts.target_scale,
        )  # fmt: skip
        return build_package(
            work.run.package, experiment=experiment, task=facts.task, labels=facts.labels, inputs=facts.inputs,
            transforms=facts.transforms, compressed=compressed, held_out=prepared.test_rows, weights=weights,
            train_rows=prepared.reference_rows,
            metric=f"test/{work.metric}", metric_mode=METRIC_MODES[work.metric],
            lineage=_lineage(work, prepared, trial), num_rows=_num_rows(prepared), threshold=threshold,
        )  # fmt: skip


def _lineage(work: Work, prepared: Prepared, trial: str) -> Lineage:
    return Lineage(
        run=work.experiment.name, trial=None if trial == OWN else trial, data_fingerprint=prepared.facts.fingerprint,
        data_sources=tuple(asdict(source) for source in prepared.sources),
        versions=versions(), machine=describe_machine(),
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


def versions() -> dict[str, str]:
    """Of the libraries that decide a result, and of Python."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # only of ourselves, when run from a checkout that is not installed
            found[library] = "not installed"
    return found
