"""The search: what to try, how to judge it, and what it may cost. Importable without torch or ray."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from training.metric_names import METRIC_MODES
from training.package.shapes import StrictModel
from training.search.space.dimensions import Dimension

# Trials are judged by one set of rows, told apart by one set of labels, and cost as much as each other.
SAME_IN_ALL_TRIALS = (
    "train.workers", "train.epochs", "train.device", "train.imbalance.threshold", "train.checkpoint",
    "train.max_failures", "train.hang_timeout_s", "train.parallel", "train.deterministic",
    "data.source", "data.format", "data.delimiter", "data.names", "data.query", "data.args", "data.rename", "data.cast",
    "data.convert", "data.missing", "data.loading", "data.window_mb", "data.max_held_out_rows", "data.pii_key_file",
    "data.test", "data.join", "data.target", "data.task", "data.label_separator",
    "data.sequence_length", "data.split", "data.sample", "data.checks",
    "data.pii", "data.rename_labels", "data.positive_label",
)  # fmt: skip
SEARCHED_SECTIONS = ("data", "model", "train", "compress")
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}

Objective = Literal["score", "latency_ms", "size_mb", "train_s", "usd"]


def _kind_alone(value: Any) -> Any:
    """`scheduler: asha` says the kind and leaves the rest at its defaults."""
    return {"kind": value} if isinstance(value, str) else value


class AshaConfig(StrictModel):
    """Asynchronous successive halving: weak trials stop early."""

    kind: Literal["asha"] = Field(default="asha", description="how weak trials are stopped")
    grace: int = Field(default=2, ge=1, description="epochs (with search.folds: folds) before the first judgement")
    reduction_factor: float = Field(default=3.0, gt=1, description="about 1 in this many trials survives each rung")


class HyperbandConfig(StrictModel):
    """Several brackets of successive halving, the later ones more patient, run asynchronously."""

    kind: Literal["hyperband"] = Field(description="how weak trials are stopped")
    grace: int = Field(default=1, ge=1, description="epochs before the first judgement of the least patient bracket")
    reduction_factor: float = Field(default=3.0, gt=1, description="about 1 in this many trials survives each rung")
    brackets: int = Field(default=3, ge=1, description="brackets; the trials are shared out among them")


class MedianConfig(StrictModel):
    """A trial whose best is below the median of the others' running means stops."""

    kind: Literal["median"] = Field(description="how weak trials are stopped")
    grace: int = Field(default=2, ge=1, description="epochs before the first judgement")
    min_trials: int = Field(default=3, ge=1, description="other trials that must have come as far")


class PbtConfig(StrictModel):
    """Population-based training: weak members take a strong one's weights, and its settings changed a little."""

    kind: Literal["pbt"] = Field(description="how weak trials are treated")
    interval: int = Field(default=2, ge=1, description="epochs between judgements")
    quantile_fraction: float = Field(default=0.25, gt=0, le=0.5, description="share that copies, and that is copied")
    resample_fraction: float = Field(default=0.25, ge=0, le=1, description="share of settings drawn anew, not changed")


class RacingConfig(StrictModel):
    """Folds or seeds, one after another: a trial that is surely behind the best on the same ones stops."""

    kind: Literal["racing"] = Field(description="how weak trials are stopped")
    p_value: float = Field(default=0.1, gt=0, lt=1, description="of Wilcoxon's signed-rank test, below which one stops")
    grace: int = Field(default=2, ge=1, description="folds or seeds before the first judgement")


class NoScheduler(StrictModel):
    """Every trial trains to its end."""

    kind: Literal["none"] = Field(description="no trial is stopped early")


SchedulerConfig = Annotated[
    Annotated[
        AshaConfig | HyperbandConfig | MedianConfig | PbtConfig | RacingConfig | NoScheduler,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_kind_alone),
]


class BudgetConfig(StrictModel):
    """When a search ends before all its trials: whichever comes first. The best trial so far is then the result."""

    wall_s: float | None = Field(default=None, gt=0, description="seconds by the clock, all executions together")
    device_hours: float | None = Field(
        default=None, gt=0, description="hours of reserved devices: GPUs where trials take some, else CPUs"
    )
    usd: float | None = Field(default=None, gt=0, description="money, by search.usd_per_device_hour")
    target: float | None = Field(default=None, description="a score that is good enough")
    patience_trials: int | None = Field(default=None, ge=1, description="ended trials without a better score")
    reserve_fraction: float = Field(
        default=0.2, ge=0, lt=1,
        description="share of wall_s, device_hours and usd kept for the final training, compression and package",
    )  # fmt: skip


class SearchConfig(StrictModel):
    """What to try, and how long."""

    metric: str | None = Field(
        default=None,
        pattern=r"^validation/\w+$",
        description="score to optimise, validation/<metric>; null: accuracy, or rmse for a "
        "regression. With two classes, f1, precision, recall, roc_auc and average_precision are of data.positive_label",
    )
    objectives: list[Objective] = Field(
        default=["score"], min_length=1,
        description="what is weighed against each other; score is `metric`, the others are made small: latency_ms of "
        "one row, size_mb of the weights, train_s, usd of the trial",
    )  # fmt: skip
    trials: int = Field(default=16, ge=1, description="sets of hyperparameters to try")
    space: dict[str, Dimension] = Field(
        min_length=1,
        description="experiment key -> {choice: [...]}, {ordered: [...]}, {range: [low, high]}, {log: ...} or "
        "{int: ...}; range and int take step, int takes log; each takes when: {key: value or list of values}",
    )
    points: list[dict[str, Any]] = Field(
        default=[], description="known good settings, key -> value, tried first; keys left out are drawn"
    )
    sampler: Literal["tpe", "gp", "cmaes", "random", "grid", "nsga2"] = Field(
        default="tpe",
        description="who proposes: tpe (multivariate), gp (Gaussian process), cmaes, random, grid (every combination "
        "of choices and steps), nsga2 (for several objectives)",
    )
    startup_trials: int = Field(default=8, ge=1, description="random trials before the sampler starts to propose")
    scheduler: SchedulerConfig = Field(
        default=AshaConfig(), description="how weak trials are stopped: asha, hyperband, median, pbt, racing or none"
    )
    folds: int | None = Field(
        default=None, ge=2, le=20,
        description="each trial is judged by so many folds, one after another; the scheduler stops between them",
    )  # fmt: skip
    seeds: int = Field(default=1, ge=1, le=20, description="trainings of a trial (of each fold) by different seeds")
    fuse: Literal["auto"] | bool = Field(  # YAML reads `on` and `off` as true and false
        default="auto",
        description="train trials of one shape as one stacked model: auto, where it was measured to be faster",
    )
    lanes: int | None = Field(default=None, ge=1, description="trials in a stacked model; null: found by measuring")
    concurrency: int | None = Field(
        default=None, ge=1, description="slots, each training one trial or one stack at a time; null: all that fit"
    )
    gpus_per_trial: float | None = Field(
        default=None, gt=0, description="share of a GPU, or GPUs, for each slot; null: 1 where training takes GPUs"
    )
    memory_mb_per_trial: float | None = Field(
        default=None, gt=0, description="memory of a slot above which its trial fails; null: its share of the machine"
    )
    budget: BudgetConfig = Field(default=BudgetConfig(), description="when to end before all trials")
    usd_per_device_hour: float | None = Field(
        default=None, ge=0, description="price of a GPU hour where trials take GPUs, else of a CPU hour"
    )
    storage_budget: str | None = Field(
        default=None, description="bytes that all checkpoints of the search may take, for example 2GB; null: no limit"
    )
    keep_best: int = Field(default=1, ge=1, description="trials whose best weights stay, besides the Pareto front")
    from_: list[str] = Field(
        default=[], alias="from", description="earlier runs, names or folders, whose trials the sampler knows at once"
    )
    max_failures_per_trial: int = Field(default=3, ge=0, description="lost processes survived by one trial")
    seed: int = Field(default=0, ge=0, description="seed of the sampler")

    @property
    def level(self) -> Literal["epoch", "fold", "seed", "training"]:
        """What trials are judged by, one after the other: epochs, or whole trainings."""
        if self.replicates == 1:
            return "epoch"
        if self.folds is None:
            return "seed"
        return "fold" if self.seeds == 1 else "training"

    @property
    def storage_budget_bytes(self) -> int | None:
        """`storage_budget` as a number."""
        return None if self.storage_budget is None else _bytes_of(self.storage_budget)

    @property
    def replicates(self) -> int:
        """Trainings that judge one trial."""
        return (self.folds or 1) * self.seeds

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str | None) -> str | None:
        if metric is not None and metric.removeprefix("validation/") not in METRIC_MODES:
            raise ValueError(f"{metric} is not a score; there are validation/ with {', '.join(METRIC_MODES)}")
        return metric

    @field_validator("space")
    @classmethod
    def _no_key_that_cannot_vary(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        for key in space:
            if key.split(".")[0] not in SEARCHED_SECTIONS:
                raise ValueError(f"{key} cannot be searched; keys start with data., model., train. or compress.")
            if any(f"{key}.".startswith(f"{fixed}.") for fixed in SAME_IN_ALL_TRIALS):
                raise ValueError(f"{key} cannot be searched: trials would not be comparable")
        return space

    @field_validator("storage_budget")
    @classmethod
    def _is_bytes(cls, text: str | None) -> str | None:
        if text is not None:
            _bytes_of(text)
        return text

    @model_validator(mode="after")
    def _parts_suit_each_other(self) -> Self:
        problems = [text for is_wrong, text in self._unsuited() if is_wrong]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unsuited(self) -> list[tuple[bool, str]]:
        kind, several = self.scheduler.kind, len(self.objectives) > 1
        budget, price = self.budget, self.usd_per_device_hour
        return [
            (self.objectives[0] != "score", "objectives must begin with score"),
            (len(set(self.objectives)) < len(self.objectives), "objectives names one twice"),
            (several and self.sampler == "cmaes", "sampler=cmaes takes one objective; tpe, gp and nsga2 take several"),
            (several and kind in ("median", "pbt", "racing"),
             f"scheduler={kind} takes one objective; asha and hyperband judge several by non-dominated rank"),
            (several and budget.target is not None, "budget.target is of one objective"),
            (kind == "racing" and self.replicates < 2, "scheduler=racing needs folds or seeds to race over"),
            (kind in ("hyperband", "median", "pbt") and self.replicates > 1,
             f"scheduler={kind} judges epochs, and folds or seeds are given; asha and racing judge those"),
            (budget.usd is not None and price is None, "budget.usd needs usd_per_device_hour"),
            ("usd" in self.objectives and price is None, "the objective usd needs usd_per_device_hour"),
            (self.fuse is True and kind == "pbt", "fuse=true and scheduler=pbt do not go together"),
        ]  # fmt: skip


def _bytes_of(text: str) -> int:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kKmMgGtT][bB])\s*", text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text} is no size; write for example 500MB or 2GB")
    return int(float(match[1]) * _BYTES[match[2].lower()])
