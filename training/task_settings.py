"""Settings of `train` that mean nothing to a task. Importable without torch or ray."""

from training.learning_config import AugmentConfig, ImbalanceConfig
from training.package.manifest import Task
from training.train_config import TrainConfig

WORDS: dict[Task, str] = {
    "classification": "a classification", "regression": "a regression", "multilabel": "several labels a row",
    "language_modelling": "a language model",
}  # fmt: skip
LOSSES: dict[Task, tuple[str, ...]] = {
    "classification": ("cross_entropy", "focal"),
    "regression": ("mse", "huber", "quantile"),
    "multilabel": ("cross_entropy", "focal"),
    "language_modelling": ("cross_entropy",),
}
IMBALANCE: dict[Task, tuple[str, ...]] = {
    "classification": ("class_weights", "sampling", "resample", "threshold"),
    "regression": (),
    "multilabel": ("class_weights", "threshold"),
    "language_modelling": (),
}


def unsuited(config: TrainConfig, task: Task) -> list[str]:
    """What is set and cannot be meant, one sentence each."""
    return [*_of_loss(config, task), *_of_imbalance(config.imbalance, task), *_of_augment(config.augment, task)]


def _of_loss(config: TrainConfig, task: Task) -> list[str]:
    loss, found = config.loss, []
    if loss.kind is not None and loss.kind not in LOSSES[task]:
        found.append(
            f"train.loss.kind {loss.kind} is not for {WORDS[task]}, which has {' and '.join(LOSSES[task])}"
            + (" or a function of your own" if task != "language_modelling" else "")
        )
    if loss.target is not None and task == "language_modelling":
        found.append("train.loss.target is not for a language model, whose loss is that of the next token")
    if config.label_smoothing and task == "regression":
        found.append(f"train.label_smoothing is not for {WORDS[task]}: it is of classes and labels")
    if config.label_smoothing and loss.target is not None:
        found.append("train.label_smoothing does nothing to a loss of your own (train.loss.target); leave it out")
    if config.imbalance.class_weights is not None and loss.target is not None and task == "multilabel":
        found.append(
            "train.imbalance.class_weights weighs each label, and a loss of your own (train.loss.target) gives one "
            "number a row; leave it out"
        )
    return found


def _of_imbalance(config: ImbalanceConfig, task: Task) -> list[str]:
    plain = ImbalanceConfig()
    found = [
        f"train.imbalance.{name} is for classes, not for {WORDS[task]}"
        for name in ("class_weights", "sampling", "resample", "threshold")
        if getattr(config, name) != getattr(plain, name) and name not in IMBALANCE[task]
    ]
    if task == "multilabel" and isinstance(config.threshold, str):
        found.append(
            f"train.imbalance.threshold={config.threshold} is tuned for two classes; of several labels it is a number, "
            "the probability from which each is given"
        )
    return found


def _of_augment(config: AugmentConfig, task: Task) -> list[str]:
    if task != "language_modelling" or not config.is_on:
        return []
    plain = AugmentConfig()
    names = [name for name in AugmentConfig.model_fields if getattr(config, name) != getattr(plain, name)]
    return [f"train.augment.{name} is not for a language model: its text would say something else" for name in names]
