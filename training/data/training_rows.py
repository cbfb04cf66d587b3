"""The rows that a training learns from: those of the training part, or what resampling makes of them."""

from training.data.prepared import Facts, Part
from training.data.stream.part import StreamPart
from training.errors import ConfigError
from training.train_config import TrainConfig


def training_rows(config: TrainConfig, facts: Facts, train: Part | StreamPart) -> tuple[Part | StreamPart, str]:
    """The rows to train on, and a note of what was done to them; as they were where nothing is asked for.

    Raises:
        ConfigError: rows of a stream, and what `resample` raises.
        DataError: likewise.
    """
    if config.imbalance.resample is None:
        return train, ""
    if isinstance(train, StreamPart):
        raise ConfigError(
            f"train.imbalance.resample={config.imbalance.resample} needs all rows in memory, and these are streamed",
            "set train.imbalance.class_weights: balanced, or data.loading: memory",
        )
    from training.data.resample import resample  # noqa: PLC0415  # 0.3 s that few trainings have a use for

    return resample(train, config.imbalance, facts.labels, facts.transforms, config.seed)
