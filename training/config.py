"""The experiment: what a person writes. Importable without torch or ray, so `manta check` answers at once.

Every default stands here and nowhere else; `manta check --explain` prints this file as a table.
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from training.data.config import DataConfig
from training.learning_config import AugmentConfig, EnsembleConfig, ImbalanceConfig, LossConfig
from training.metric_names import METRIC_MODES
from training.package.serve_config import ServeConfig
from training.package.shapes import StrictModel
from training.search.space import Dimension

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # safe as a folder, in a URL and as a Ray name


class MlpConfig(StrictModel):
    """A multilayer perceptron; categorical columns enter through embeddings."""

    kind: Literal["mlp"] = Field(default="mlp", description="mlp, convnet, or give `target` for your own class")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128), description="width of each hidden layer"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of hidden units silenced in training")
    max_embedding_dim: int = Field(default=16, ge=1, description="embedding width at most; few categories get less")


class ConvNetConfig(StrictModel):
    """A small convolutional net; needs data.image_shape."""

    kind: Literal["convnet"] = Field(description="a small convolutional net")
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(16, 32),
        min_length=1,
        description="channels of each block; every block after the first halves the image",
    )
    hidden: int = Field(default=64, ge=1, description="width of the layer before the output")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of units silenced before the output")


class CustomModelConfig(StrictModel):
    """Your own torch module, by import path."""

    target: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:Class, importable from the experiment's folder",
    )
    args: dict[str, Any] = Field(default={}, description="keyword arguments of the class")


def _model_kind(value: Any) -> str:
    if isinstance(value, CustomModelConfig) or (isinstance(value, dict) and "target" in value):
        return "custom"
    return value.get("kind", "mlp") if isinstance(value, dict) else getattr(value, "kind", "mlp")


ModelConfig = Annotated[
    Annotated[MlpConfig, Tag("mlp")]
    | Annotated[ConvNetConfig, Tag("convnet")]
    | Annotated[CustomModelConfig, Tag("custom")],
    Discriminator(_model_kind),
]


class EarlyStopping(StrictModel):
    """Stop when the validation score no longer improves, and keep the best epoch's weights."""

    patience: int = Field(default=8, ge=1, description="epochs without improvement before stopping")
    min_delta: float = Field(default=0.0, ge=0, description="smallest change that counts as an improvement")


class Workers(StrictModel):
    """Elastic workers: training shrinks and grows between these as machines come and go."""

    min: int = Field(ge=1, description="fewest workers to train with")
    max: int = Field(ge=1, description="most workers to train with")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; max must be at least {self.min}")
        return self


class TrainConfig(StrictModel):
    """One training run. Sizes count all workers together unless the name says `worker`."""

    epochs: int = Field(default=30, ge=1, description="passes over the training rows at most")
    global_batch_size: int = Field(default=128, ge=1, description="rows per optimizer step, all workers together")
    peak_lr: float = Field(default=3e-3, gt=0, lt=1, description="highest learning rate, reached after warm-up")
    warmup_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="share of all steps in which the rate rises; a cosine takes it to 0 after"
    )
    weight_decay: float = Field(default=1e-2, ge=0, description="AdamW weight decay")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of a label spread over all classes")
    loss: LossConfig = Field(default=LossConfig(), description="what training makes small")
    imbalance: ImbalanceConfig = Field(default=ImbalanceConfig(), description="for classes that are rare")
    augment: AugmentConfig = Field(default=AugmentConfig(), description="changed copies of the training rows")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    seed: int = Field(default=0, ge=0, description="seed of weights, sample order and dropout")
    early_stopping: EarlyStopping | None = Field(default=EarlyStopping(), description="null trains every epoch")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="auto takes GPUs where the cluster has one for every worker"
    )
    workers: Annotated[int, Field(ge=1)] | Workers = Field(
        default=1, description="training processes: a number, or {min, max} for elastic training"
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs that Ray reserves for each worker")
    checkpoint_every_epochs: int = Field(default=1, ge=1, description="epochs between checkpoints")
    max_failures: int = Field(default=3, ge=0, description="worker crashes survived before the run fails")

    @property
    def of_classes(self) -> tuple[str, ...]:
        """Keys that are set and mean nothing to a regression."""
        plain = ImbalanceConfig()
        set_keys = {
            "train.loss.kind": self.loss.kind == "focal",
            "train.label_smoothing": self.label_smoothing > 0,
            **{
                f"train.imbalance.{name}": getattr(self.imbalance, name) != getattr(plain, name)
                for name in ("class_weights", "sampling", "resample", "threshold")
            },
        }
        return tuple(key for key, is_set in set_keys.items() if is_set)

    @property
    def min_workers(self) -> int:
        """Fewest training processes the run can go on with."""
        return self.workers.min if isinstance(self.workers, Workers) else self.workers

    @property
    def max_workers(self) -> int:
        """Most training processes the run uses."""
        return self.workers.max if isinstance(self.workers, Workers) else self.workers

    @model_validator(mode="after")
    def _batch_feeds_every_worker(self) -> Self:
        if self.global_batch_size < self.max_workers:
            raise ValueError(
                f"global_batch_size={self.global_batch_size} is below workers={self.max_workers}, so some would "
                f"have no row; at least {self.max_workers} is needed"
            )
        return self


class AshaConfig(StrictModel):
    """Asynchronous successive halving: weak trials stop early."""

    grace_epochs: int = Field(default=2, ge=1, description="epochs every trial may train before it is judged")
    reduction_factor: float = Field(default=3.0, gt=1, description="about 1 in this many trials survives each rung")


# Trials are judged by one set of rows, told apart by one set of labels, and cost as much as each other.
SAME_IN_ALL_TRIALS = (
    "train.workers", "train.epochs", "train.device", "train.imbalance.threshold",
    "data.source", "data.test", "data.join", "data.target", "data.task", "data.split", "data.sample", "data.checks",
    "data.pii", "data.rename_labels", "data.positive_label",
)  # fmt: skip


class SearchConfig(StrictModel):
    """What to try, and how long."""

    metric: str | None = Field(
        default=None,
        pattern=r"^validation/\w+$",
        description="score to optimise, validation/<metric>; null: accuracy, or rmse for a "
        "regression. With two classes, f1, precision, recall, roc_auc and average_precision are of data.positive_label",
    )
    trials: int = Field(default=16, ge=1, description="sets of hyperparameters to try")
    space: dict[str, Dimension] = Field(
        min_length=1, description="experiment key -> {choice: [...]}, {range: [low, high]}, {log: ...} or {int: ...}"
    )
    asha: AshaConfig | None = Field(default=AshaConfig(), description="null trains every trial to the end")
    startup_trials: int = Field(default=8, ge=1, description="random trials before TPE starts to propose")
    concurrency: int | None = Field(
        default=None, ge=1, description="trials at a time; null: as many as the cluster's CPUs hold"
    )
    max_failures_per_trial: int = Field(default=3, ge=0, description="lost actors survived by one trial")
    seed: int = Field(default=0, ge=0, description="seed of the sampler")

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
            if key.split(".")[0] not in ("data", "model", "train"):
                raise ValueError(f"{key} cannot be searched; keys start with data., model. or train.")
            if any(f"{key}.".startswith(f"{fixed}.") for fixed in SAME_IN_ALL_TRIALS):
                raise ValueError(f"{key} cannot be searched: trials would not be comparable")
        return space


class CompressConfig(StrictModel):
    """Which smaller or faster forms to try, and what they may cost."""

    target: Literal["cpu"] = Field(default="cpu", description="hardware that will serve the model")
    int8: bool = Field(default=True, description="try dynamic int8 quantization")
    max_drop: float = Field(
        default=0.005, ge=0, description="loss of the held-out score allowed (relative for regression errors)"
    )


class Experiment(StrictModel):
    """One experiment file: data in, served model out."""

    name: str = Field(pattern=NAME_PATTERN, description="names the run's folder and the served model")
    storage: str = Field(default="runs", description="folder that holds runs and the registry; shared by all nodes")
    data: DataConfig = Field(description="the table and its division")
    model: ModelConfig = Field(default=MlpConfig(), description="the architecture")
    train: TrainConfig = Field(default=TrainConfig(), description="one training run")
    ensemble: EnsembleConfig | None = Field(default=None, description="several models as one; null: one model")
    search: SearchConfig | None = Field(default=None, description="hyperparameter search; without it, one training")
    compress: CompressConfig = Field(default=CompressConfig(), description="compression of the best model")
    serve: ServeConfig = Field(default=ServeConfig(), description="serving over HTTP")

    @model_validator(mode="after")
    def _convnet_has_images(self) -> Self:
        if isinstance(self.model, ConvNetConfig):
            if self.data.image_shape is None:
                raise ValueError("model.kind=convnet needs data.image_shape, for example [1, 8, 8]")
            _, height, width = self.data.image_shape
            halvings = len(self.model.channels) - 1
            if min(height, width) < 2**halvings:
                raise ValueError(
                    f"model.channels has {len(self.model.channels)} blocks, which shrink a {height}x{width} image "
                    f"to nothing; at most {min(height, width).bit_length()} fit"
                )
        return self

    @model_validator(mode="after")
    def _classes_are_not_asked_of_a_regression(self) -> Self:
        if self.data.task == "regression" and (keys := self.train.of_classes):
            raise ValueError(f"{', '.join(keys)} are for a classification, and data.task is regression")
        return self

    @model_validator(mode="after")
    def _streams_are_not_resampled(self) -> Self:
        if self.data.loading != "stream":
            return self
        imbalance = self.train.imbalance
        needs_memory = {
            "train.imbalance.resample": imbalance.resample is not None,
            "train.imbalance.sampling=balanced": imbalance.sampling == "balanced",
            "ensemble.balanced=true": self.ensemble is not None and self.ensemble.balanced,
        }
        if keys := [key for key, is_set in needs_memory.items() if is_set and self.data.task != "regression"]:
            raise ValueError(
                f"{', '.join(keys)} needs all rows in memory, and data.loading is stream; "
                "train.imbalance.class_weights: balanced works with both"
            )
        return self

    @property
    def balanced_by(self) -> tuple[str, ...]:
        """Keys that make rare classes count more than their share of the rows."""
        imbalance = self.train.imbalance
        set_keys = {
            "train.imbalance.class_weights": imbalance.class_weights is not None,
            "train.imbalance.sampling": imbalance.sampling is not None,
            "train.imbalance.resample": imbalance.resample is not None,
            "ensemble.balanced": self.ensemble is not None and self.ensemble.balanced,
        }
        return tuple(key for key, is_set in set_keys.items() if is_set)

    @property
    def is_remote_storage(self) -> bool:
        """True for a URI such as s3://, which runs cannot be written to yet."""
        return "://" in self.storage and not self.storage.startswith("file://")

    @property
    def model_name(self) -> str:
        """The name under which the package is registered and served."""
        return PurePosixPath(self.name).name
