"""What rows, labels and tokens count: weights with the mean 1 over an epoch.

Shape letters: N rows, K classes or labels, L places of a text.
"""

import numpy as np
import torch
from torch import Tensor

from training.data.prepared import Facts, Part
from training.data.stream.part import StreamPart
from training.package.byte_tokens import IGNORED
from training.train_config import TrainConfig


def loss_weights(
    config: TrainConfig, facts: Facts, train: Part | StreamPart, *, drawn_equally: bool = False
) -> Tensor | None:
    """What `Loss` takes as `weight`: by task of the shape (K,), (2, K) or (); None where everything counts the same.

    Args:
        config: which weights.
        facts: task and labels.
        train: the rows that are trained on.
        drawn_equally: every class is drawn equally often.
    """
    if isinstance(train, StreamPart):
        counts = np.array(train.class_counts, dtype=np.int64)
        return _of_classes(config, facts, counts, drawn_equally) if facts.task == "classification" else None
    match facts.task:
        case "classification":
            return _of_classes(config, facts, np.bincount(train.target), drawn_equally)
        case "multilabel":
            return label_weights(config, facts.labels, train.target)
        case "language_modelling":
            return token_weight(train.target)
    return None


def _of_classes(config: TrainConfig, facts: Facts, counts: np.ndarray, drawn_equally: bool) -> Tensor | None:
    counts_K = np.pad(counts, (0, len(facts.labels) - len(counts)))
    return class_weights(config, facts.labels, counts_K, drawn_equally=drawn_equally)


def class_weights(
    config: TrainConfig, labels: tuple[str, ...], counts_K: np.ndarray, *, drawn_equally: bool
) -> Tensor | None:
    """What rows of each class count, float32 (K,), with mean 1 over the rows that are drawn; None: all the same.

    Args:
        config: which weights.
        labels: classes in the order of their ids; those that the config leaves out of a mapping count 1.
        counts_K: training rows of each class.
        drawn_equally: every class is drawn equally often, so that balanced weights are 1.
    """
    wished = config.imbalance.class_weights
    if wished is None:
        return None
    drawn_K = (counts_K > 0).astype(np.float64) if drawn_equally else counts_K.astype(np.float64)
    share_K = drawn_K / drawn_K.sum()
    if wished == "balanced":
        weight_K = np.divide(1.0, share_K, out=np.zeros_like(share_K), where=share_K > 0)
    else:
        weight_K = np.array([wished.get(label, 1.0) for label in labels])
    return torch.from_numpy((weight_K / (weight_K * share_K).sum()).astype(np.float32))


def label_weights(config: TrainConfig, labels: tuple[str, ...], target_NK: np.ndarray) -> Tensor | None:
    """What a label counts where it is absent, and where it is present, float32 (2, K); None: all the same.

    `balanced`: rows that have a label count as much in all as those that have it not. A mapping weighs labels against
    each other. A label that all rows have, or none, keeps the weight 1.
    """
    wished = config.imbalance.class_weights
    if wished is None:
        return None
    if wished == "balanced":
        present_K = target_NK.mean(axis=0, dtype=np.float64)
        share_2K = np.stack([1 - present_K, present_K])
        varies_K = (share_2K > 0).all(axis=0)
        weight_2K = np.where(varies_K, 0.5 / np.where(share_2K > 0, share_2K, 1.0), 1.0)
    else:
        weight_K = np.array([wished.get(label, 1.0) for label in labels])
        weight_2K = np.tile(weight_K / weight_K.mean(), (2, 1))
    return torch.from_numpy(weight_2K.astype(np.float32))


def token_weight(target_NL: np.ndarray) -> Tensor:
    """What a token counts in its row's loss, (): rows of many tokens count more, and the mean over tokens is left."""
    return torch.tensor(len(target_NL) / max(int((target_NL != IGNORED).sum()), 1), dtype=torch.float32)
