"""One model of all training and validation rows, trained as long as the folds found best."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from training.alone import predictions
from training.config import Experiment
from training.config_file import apply_overrides
from training.cross_validation.record import Refit
from training.data.prepared import Prepared
from training.errors import ConfigError
from training.fit import FitResult, fit
from training.metric_names import prefixed
from training.metrics import held_out_scores
from training.models import ModelInputs, build_model
from training.pipeline import OWN, Work


@dataclass(frozen=True)
class RefitPlan:
    """What decides a refit: the same plan gives the same model."""

    epochs: int
    threshold: float | None  # of two classes; tuned already

    def settings(self, experiment: Experiment) -> Experiment:
        """The experiment as the model of all rows is trained: no rows judge it, so no epoch is better than the last."""
        changes: dict[str, Any] = {"train.epochs": self.epochs, "train.early_stopping": None}
        if self.threshold is not None:
            changes["train.imbalance.threshold"] = self.threshold
        return apply_overrides(experiment, changes)


def require_refit(experiment: Experiment) -> None:
    """Raise ConfigError for settings that only rows that judge can steer."""
    if experiment.train.schedule.kind == "plateau":
        raise ConfigError(
            "train.schedule.kind=plateau lowers the rate by the validation score, and the model of all rows that "
            "follows the folds has none",
            "take another schedule (--set train.schedule.kind=cosine), or leave that model out: --no-refit",
        )


def refit(work: Work, everything: Prepared, plan: RefitPlan, about: dict[str, Any]) -> Refit:
    """Train on all rows and score the test part; the run's `fit` event then names this model.

    Args:
        work: the run.
        everything: its rows, none of them in the validation part.
        plan: how long, and which threshold.
        about: kept with the event, to know the refit again.

    Raises:
        CapacityError: the cluster can never hold the workers.
        TrainingFailed: as `fit`.
    """
    began = time.time()
    experiment = plan.settings(work.experiment)
    rows = f"{len(everything.train):,} rows of training and validation"
    work.progress.stage("train", f"all {rows}, {plan.epochs} epochs: the median of the folds' best ones")
    name = f"all-rows-{plan.epochs}-epochs"  # a longer one that stands there already must not be gone on with
    fitted = fit(
        experiment, everything, work.run, name=name, metric=work.metric, progress=work.progress,
        code_path=work.code_path,
    )  # fmt: skip
    found = Refit(
        epochs=plan.epochs, num_rows=len(everything.train), threshold=plan.threshold, checkpoint=fitted.checkpoint,
        scores=_test_scores(experiment, everything, fitted, plan.threshold, work.code_path),
        seconds=time.time() - began,
    )  # fmt: skip
    work.run.journal.append(
        "fit", trial=OWN, training=name, best_epoch=fitted.best_epoch,
        metrics={**fitted.metrics, **prefixed("test", found.scores)},
        seconds=found.seconds, num_workers=fitted.num_workers, checkpoint=fitted.checkpoint, params={},
        refit={**about, **found.model_dump(mode="json")},
    )  # fmt: skip
    return found


def _test_scores(
    experiment: Experiment, everything: Prepared, fitted: FitResult, threshold: float | None, code_path: str
) -> dict[str, float]:
    facts, test = everything.facts, everything.test
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    model = build_model(experiment.model, inputs, experiment.train.seed, code_path, experiment.ensemble)
    model.load_state_dict(fitted.weights)
    scores = predictions(model, facts, test, torch.device("cpu"))
    quantile = experiment.train.loss.judged_quantile
    return held_out_scores(facts.task, scores, test.target, threshold=threshold, quantile=quantile)
