"""A run trained again and compared: what differs beforehand, the new run, the verdict."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.place import Place
from training import pipeline
from training.config import Experiment
from training.config_file import load_experiment
from training.cross_validation.refit import RefitPlan, refit
from training.errors import ConfigError, StorageError
from training.fit import best_of_checkpoint
from training.metric_names import METRIC_MODES
from training.package.shapes import StoredModel
from training.pipeline import Work, working
from training.progress import Progress
from training.provenance import Provenance, provenance_of
from training.reproduce import Comparison, Difference, Outcome, compare, differences_of, likely_causes
from training.run_folder import WITHOUT_EFFECT, RunFolder
from training.run_record import RunRecord
from training.search.result import SearchResult

ENDING = "-reproduced"
MAX_NAME = 63
MAX_TRIES = 100


class Reproduction(StoredModel):
    """What `manta reproduce --json` prints."""

    run: str
    folder: str
    again: str  # folder of the new run, whether it was kept or not
    is_kept: bool
    differences: tuple[Difference, ...]
    comparison: Comparison


@dataclass(frozen=True)
class Original:
    """A finished training, read from its run's folder."""

    record: RunRecord

    @cached_property
    def fit(self) -> Mapping[str, Any]:
        """The event of the newest training. Raises StorageError where there is none."""
        if not (found := self.record.last("fit")):
            raise StorageError(
                f"{self.record.folder} holds no finished training; there is nothing to compare with",
                "finish it first: manta train, or manta run",
            )
        return found

    @cached_property
    def started(self) -> Mapping[str, Any]:
        """How the execution began that made it."""
        before = [e for e in self.record.events if e["event"] == "started" and e["time"] <= self.fit["time"]]
        return before[-1] if before else {}

    @property
    def provenance(self) -> Provenance | None:
        """None for a run of an older version, which recorded none."""
        found = self.started.get("provenance")
        return Provenance.model_validate(found) if found else None

    @property
    def fingerprint(self) -> str:
        """Of the data that it was trained on."""
        before = [e for e in self.record.events if e["event"] == "data" and e["time"] <= self.fit["time"]]
        return str(before[-1]["fingerprint"]) if before else ""

    def experiment(self, overrides: Sequence[str] = ()) -> Experiment:
        """As it was resolved. Raises ConfigError where this version of Manta reads other keys."""
        return load_experiment(self.record.folder / "experiment.yaml", overrides)

    def outcome(self) -> Outcome:
        """Weights and epochs. Raises StorageError where there is none, or the checkpoint is gone."""
        return outcome_of(self.record, self.fit)


def outcome_of(record: RunRecord, fit: Mapping[str, Any]) -> Outcome:
    """What the training of this event left in a run. Raises StorageError where its checkpoint is gone."""
    try:
        best = best_of_checkpoint(fit["checkpoint"], fit["metrics"], fit["num_workers"])
    except OSError as error:
        raise StorageError(
            f"the checkpoint of {record.name} cannot be read: {fit['checkpoint']} ({type(error).__name__})",
            "a run can only be compared while its checkpoints are there",
        ) from error
    return Outcome(int(fit["best_epoch"]), best.weights, record.epochs)


def reproduce(
    folder: Path, progress: Progress, place: Place, *, code_folder: Path | None = None,
    overrides: Sequence[str] = (), keep: bool = False,
) -> Reproduction:  # fmt: skip
    """Train a run's newest fit again, in a run beside it, and compare.

    The new run is removed where the outcome is equal, unless `keep` is set.

    Args:
        folder: of the run.
        progress: told what differs, and how training goes.
        place: where to train.
        code_folder: own modules are imported from here; where the run had them by default.
        overrides: texts like "train.device=cpu", of keys that say where to train and do not decide what comes out.
        keep: leave the new run there.

    Raises:
        StorageError: the run has no finished training, or its checkpoint is gone.
        ConfigError: its experiment cannot be read any more, or an override would train something else.
    """
    original = Original(RunRecord.read(folder))
    earlier = original.outcome()  # now: without it there is nothing to compare with
    experiment = _settings(original, folder, overrides)
    code_path = code_path_of(original.started, code_folder, progress)
    differences = differences_of(original.provenance, provenance_of(experiment, code_path))
    _tell(progress, differences)
    with working(experiment, progress, "reproduce", code_path) as work:
        if work.prepared.facts.fingerprint != original.fingerprint:
            now = work.prepared.facts.fingerprint
            changed = Difference(kind="data", what="data fingerprint", then=original.fingerprint, now=now)
            differences = [changed, *differences]
            _tell(progress, [changed])
        with place.session():
            _train(work, original)
        pipeline.finish(work)
    again = RunRecord.read(work.run.path)
    then, now_workers = original.fit["num_workers"], again.last("fit")["num_workers"]
    if then != now_workers:
        differences.append(Difference(kind="workers", what="workers", then=str(then), now=str(now_workers)))
    found = compare(earlier, outcome_of(again, again.last("fit")))
    if found.verdict != "bit-equal":
        is_gpu = bool(original.provenance and original.provenance.machine.gpus)
        causes = likely_causes(differences, deterministic=experiment.train.deterministic, on_gpu=is_gpu)
        found = found.model_copy(update={"causes": causes})
    is_kept = keep or found.verdict == "different"
    if not is_kept:
        shutil.rmtree(work.run.path)
    return Reproduction(
        run=original.record.name, folder=str(folder), again=str(work.run.path), is_kept=is_kept,
        differences=tuple(differences), comparison=found,
    )  # fmt: skip


def _settings(original: Original, folder: Path, overrides: Sequence[str]) -> Experiment:
    """The run's experiment under a name of its own, beside it."""
    experiment = original.experiment(overrides)
    _refuse_other(original.experiment(), experiment)
    for number in range(1, MAX_TRIES):
        ending = ENDING if number == 1 else f"{ENDING}-{number}"
        name = experiment.name[: MAX_NAME - len(ending)] + ending
        named = experiment.model_copy(update={"name": name, "storage": str(folder.resolve().parent)})
        if RunFolder.of(named).journal.last("fit") is None:  # one that was interrupted is gone on with
            return named
    raise StorageError(f"{folder} was reproduced {MAX_TRIES} times", f"remove some of {folder}{ENDING}-*")


def _refuse_other(experiment: Experiment, changed: Experiment) -> None:
    allowed = WITHOUT_EFFECT["train"]
    same = changed.train.model_copy(update={key: getattr(experiment.train, key) for key in allowed})
    if changed.model_copy(update={"train": same}) != experiment:
        raise ConfigError(
            "a reproduction trains with the run's own settings; --set takes only what says where to train",
            f"there are: {', '.join(f'train.{key}' for key in allowed)}",
        )


def code_path_of(started: Mapping[str, Any], code_folder: Path | None, progress: Progress) -> str:
    """Folder that the run's own modules are imported from."""
    recorded = Path(started.get("code_path") or ".")
    if code_folder is not None:
        return str(code_folder.resolve())
    if not recorded.is_dir():
        progress.note(f"own modules came from {recorded}, which is gone; they are looked for in {Path.cwd()}")
        return str(Path.cwd())
    return str(recorded)


def _tell(progress: Progress, differences: Sequence[Difference]) -> None:
    for each in differences:
        progress.note(f"differs: {each}")


def _train(work: Work, original: Original) -> None:
    """The same training again: of the experiment's own settings, of a trial, or of all rows after folds."""
    fit = original.fit
    if again := fit.get("refit"):
        plan = RefitPlan(int(again["epochs"]), again.get("threshold"))
        refit(work, work.all_rows, plan, {key: again[key] for key in ("num_folds", "num_seeds", "data_key")})
        return
    pipeline.train(work, _found(original) if fit["trial"] != pipeline.OWN else None)


def _found(original: Original) -> SearchResult:
    searched, fit = original.record.last("searched"), original.fit
    mode = METRIC_MODES[original.record.metric.removeprefix("validation/")]
    score = searched.get("best_score", float("-inf") if mode == "max" else float("inf"))
    complete, pruned, failed = (int(searched.get(f"num_{state}", 0)) for state in ("complete", "pruned", "failed"))
    return SearchResult(fit["trial"], fit["params"], score, complete, pruned, failed)
