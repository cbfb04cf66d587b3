"""The experiment: what a person writes. Importable without torch or ray, so `manta check` answers at once.

Every default stands here and in the files of its parts, and nowhere else; `manta check --explain` prints them as a
table.
"""

import re
from pathlib import PurePosixPath
from typing import Self

from pydantic import Field, field_validator, model_validator

from training.compress_config import CompressConfig
from training.data.config import DataConfig
from training.learning_config import EnsembleConfig
from training.model_config import (
    ConvNetConfig,
    CustomModelConfig,
    FtTransformerConfig,
    MlpConfig,
    ModelConfig,
    ResNetConfig,
    TableResNetConfig,
    TransformerConfig,
)
from training.package.serve_config import ServeConfig
from training.package.shapes import StrictModel
from training.search_config import SearchConfig
from training.task_settings import WORDS, unsuited
from training.train_config import TrainConfig

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # safe as a folder, in a URL and as a Ray name


class TrackConfig(StrictModel):
    """Where else a training tells its numbers, beside its own record and report."""

    tensorboard: bool = Field(default=True, description="write TensorBoard files into the run's folder")
    mlflow: str | None = Field(
        default=None,
        description="http(s) URI of an MLflow server; MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD, and "
        "MLFLOW_EXPERIMENT_NAME are read from the environment",
    )

    @field_validator("mlflow")
    @classmethod
    def _mlflow_is_a_server(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        if not re.match(r"https?://[^/\s]", uri):
            raise ValueError(
                f"{uri} is not the http:// or https:// URI of a server; for MLflow files in a folder, start one there: "
                "mlflow server --backend-store-uri FOLDER, then http://127.0.0.1:5000"
            )
        if "@" in uri.split("/")[2]:
            raise ValueError(
                "the URI holds a user's name or password, which a run would keep for all to read; "
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return uri.rstrip("/")


class CardConfig(StrictModel):
    """What only a person can say of a model; its card repeats it."""

    intended_use: str = Field(default="", description="who may use it, for what")
    out_of_scope: str = Field(default="", description="what must not be decided by it")
    owner: str = Field(default="", description="who answers for it, and where to be reached")


class Experiment(StrictModel):
    """One experiment file: data in, served model out."""

    name: str = Field(pattern=NAME_PATTERN, description="names the run's folder and the served model")
    storage: str = Field(
        default="runs",
        description="folder that holds runs and the registry, shared by all nodes; or an object store: s3://, gs://",
    )
    data: DataConfig = Field(description="the table and its division")
    model: ModelConfig = Field(default=MlpConfig(), description="the architecture")
    train: TrainConfig = Field(default=TrainConfig(), description="one training run")
    ensemble: EnsembleConfig | None = Field(default=None, description="several models as one; null: one model")
    search: SearchConfig | None = Field(default=None, description="hyperparameter search; without it, one training")
    compress: CompressConfig = Field(default=CompressConfig(), description="compression of the best model")
    serve: ServeConfig = Field(default=ServeConfig(), description="serving over HTTP")
    card: CardConfig = Field(default=CardConfig(), description="what the model card says of its use")
    track: TrackConfig = Field(default=TrackConfig(), description="TensorBoard and MLflow")

    @model_validator(mode="after")
    def _model_suits_images(self) -> Self:
        model, shape = self.model, self.data.image_shape
        if isinstance(model, ConvNetConfig | ResNetConfig):
            if shape is None:
                raise ValueError(f"model.kind={model.kind} needs data.image_shape, for example [1, 8, 8]")
            model.require_fits(shape)
        elif isinstance(model, TableResNetConfig | FtTransformerConfig | TransformerConfig) and shape is not None:
            raise ValueError(f"model.kind={model.kind} takes no images, and data.image_shape is set; resnet takes them")
        return self

    @model_validator(mode="after")
    def _model_suits_the_task(self) -> Self:
        if self.data.task != "language_modelling" or isinstance(self.model, TransformerConfig | CustomModelConfig):
            return self
        raise ValueError(
            f"model.kind={self.model.kind} is no language model, and data.task is language_modelling; "
            "transformer is one"
        )

    @model_validator(mode="after")
    def _settings_suit_the_task(self) -> Self:
        task = self.data.task
        problems = [] if task == "auto" else unsuited(self.train, task)
        if self.ensemble is not None and task in ("multilabel", "language_modelling"):
            problems.append(f"ensemble answers with the mean of classes or numbers, and is not for {WORDS[task]}")
        if problems:
            raise ValueError(f"{'; '.join(problems)} (data.task is {task})")
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
    def model_name(self) -> str:
        """The name under which the package is registered and served."""
        return PurePosixPath(self.name).name
