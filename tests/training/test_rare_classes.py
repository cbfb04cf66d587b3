"""Methods for rare classes and changed copies in the training loop: exact for any number of workers, and resumable."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data.batches import LoaderState
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Part, Prepared
from training.data.training_rows import training_rows
from training.errors import ConfigError, DataError
from training.learning_config import EnsembleConfig
from training.loop import Trainer, run_to_end
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.session import PlainSession
from training.suitable import require_defined, require_suitable
from training.train_config import TrainConfig

EVERYTHING: dict[str, Any] = {
    "loss": {"kind": "focal"},
    "imbalance": {"class_weights": {"malignant": 3}, "sampling": "balanced"},
    "augment": {"noise": 0.1, "feature_dropout": 0.1, "mixup": 0.3},
}


@pytest.fixture(scope="module")
def cancer() -> Prepared:
    """Two classes, one of them made rare."""
    prepared = prepare(
        DataConfig.model_validate(
            {"source": "sklearn:breast_cancer", "target": "target", "rename_labels": {"0": "malignant", "1": "benign"},
             "positive_label": "malignant"}
        )
    )  # fmt: skip
    rare = np.flatnonzero(prepared.train.target == 1)[:15]
    rows = np.sort(np.concatenate([np.flatnonzero(prepared.train.target == 0), rare]))
    tensors = {name: values[rows] for name, values in prepared.train.tensors.items()}
    return replace(prepared, train=Part(tensors, prepared.train.target[rows]))


def trainer(
    prepared: Prepared, settings: dict[str, Any], members: int = 0, session: PlainSession | None = None,
    balanced: bool = True,
) -> Trainer:  # fmt: skip
    config = TrainConfig.model_validate({"epochs": 3, "global_batch_size": 31, "early_stopping": None} | settings)
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    ensemble = EnsembleConfig(members=members, balanced=balanced) if members else None
    model = build_model(MlpConfig(hidden=(16,)), inputs, config.seed, ensemble=ensemble)
    rows, _ = training_rows(config, prepared.facts, prepared.train)
    session = session or PlainSession()
    return Trainer(config, model, prepared.facts, rows, prepared.validation, session, "average_precision")


def gradients(prepared: Prepared, members: int, workers: int) -> list[Tensor]:
    """Of the last, uneven global batch of epoch 1, as the mean over workers."""
    ranks = [
        trainer(prepared, EVERYTHING, members, PlainSession(rank=rank, world_size=workers)) for rank in range(workers)
    ]
    for one in ranks:
        one.epoch = 1
        *_, last = one._loader.batches(LoaderState(epoch=1))
        one._make_step.gradients(last, one.epoch)
    of_ranks = [[parameter.grad for parameter in one.model.parameters()] for one in ranks]
    return [torch.stack(grads).mean(dim=0) for grads in zip(*of_ranks, strict=True)]  # type: ignore[arg-type]


@pytest.mark.parametrize("members", [0, 2])
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_makes_the_step_of_one(cancer: Prepared, members: int, workers: int) -> None:
    """Focal loss, class weights, balanced sampling, noise, dropped inputs, mixup, and bootstraps at once."""
    for one, several in zip(gradients(cancer, members, 1), gradients(cancer, members, workers), strict=True):
        torch.testing.assert_close(several, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stop_after", [1, 9])
def test_a_break_changes_nothing(cancer: Prepared, stop_after: int) -> None:
    whole, broken = trainer(cancer, EVERYTHING, 2), trainer(cancer, EVERYTHING, 2)
    for _ in range(2):
        whole.train_epoch()
    broken.train_epoch()
    broken.train_steps(stop_after)
    resumed = trainer(cancer, EVERYTHING, 2)
    resumed.load(broken.checkpoint())
    resumed.train_epoch()
    for name, weights in whole.checkpoint()["model"].items():
        assert torch.equal(weights, resumed.checkpoint()["model"][name])


@pytest.mark.parametrize(
    ("settings", "members"),
    [
        ({"imbalance": {"class_weights": "balanced"}}, 0),
        ({"imbalance": {"sampling": "balanced"}}, 0),
        ({"imbalance": {"resample": "smote"}}, 0),
        ({"imbalance": {"resample": "undersample", "ratio": 0.5}}, 0),
        ({"loss": {"kind": "focal"}}, 0),
        ({}, 3),
        (EVERYTHING, 3),
    ],
)
def test_every_method_learns(cancer: Prepared, settings: dict[str, Any], members: int) -> None:
    session = PlainSession()
    one = trainer(cancer, settings | {"epochs": 20, "peak_lr": 0.02}, members, session)
    run_to_end(one, session)
    assert one.best.score > 0.93
    assert session.history[-1]["train/loss"] < session.history[0]["train/loss"]


def test_balanced_methods_find_more_of_the_rare_class(cancer: Prepared) -> None:
    """By the second epoch a plain network still answers the common class."""

    def recall(settings: dict[str, Any], members: int = 0, balanced: bool = True) -> float:
        one = trainer(cancer, settings | {"peak_lr": 3e-3}, members, balanced=balanced)
        return [one.train_epoch() for _ in range(2)][-1]["validation/recall"]

    plain = recall({})
    assert recall({"imbalance": {"class_weights": "balanced"}}) > plain + 0.2
    assert recall({"imbalance": {"sampling": "balanced"}}) > plain + 0.2
    assert recall({}, members=2) > recall({}, members=2, balanced=False) + 0.2


def test_what_is_off_costs_nothing(cancer: Prepared) -> None:
    one = trainer(cancer, {})
    assert one._make_step._augment is None
    assert all(batch.others is None for batch in one._loader.batches(LoaderState()))


@pytest.mark.parametrize("how", ["oversample", "undersample", "smote"])
def test_resampling_leaves_validation_and_test_bit_for_bit(cancer: Prepared, how: str) -> None:
    def copies() -> list[bytes]:
        parts = (cancer.validation, cancer.test, cancer.train)
        return [array.tobytes() for part in parts for array in (*part.tensors.values(), part.target)]

    before = copies()
    config = TrainConfig.model_validate({"imbalance": {"resample": how}})
    rows, note = training_rows(config, cancer.facts, cancer.train)
    one = trainer(cancer, {"imbalance": {"resample": how}})
    one.train_epoch()
    assert copies() == before
    assert one._loader.num_samples == len(rows) != len(cancer.train)
    assert f"train.imbalance.resample={how}" in note


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"imbalance": {"class_weights": {"malign": 2}}},
            "names 'malign', which is no label; there are 'benign', 'mal",
        ),
        ({"imbalance": {"class_weights": {"malignant": 0, "benign": 0}}}, "0 for every class"),
        ({"augment": {"flip": "both", "cutmix": 1}}, "augment.flip is for images.*augment.cutmix is for images"),
    ],
)
def test_settings_that_do_not_suit_the_data(cancer: Prepared, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        trainer(cancer, settings)


def test_a_threshold_needs_both_classes_before_anything_trains(cancer: Prepared) -> None:
    config = TrainConfig.model_validate({"imbalance": {"threshold": "f1"}})
    require_suitable(config, cancer.facts, cancer.validation.target)
    with pytest.raises(DataError, match="0 of 'malignant'"):
        require_suitable(config, cancer.facts, np.zeros(9, dtype=np.int64))


def test_a_score_that_no_epoch_can_have_is_refused_before_anything_trains(cancer: Prepared) -> None:
    require_defined("roc_auc", cancer.facts, cancer.validation.target)
    require_defined("accuracy", cancer.facts, np.zeros(9, dtype=np.int64))
    for metric in ("roc_auc", "average_precision"):
        with pytest.raises(DataError, match=f"validation/{metric} compares two classes, and all 9 .* are 'benign'"):
            require_defined(metric, cancer.facts, np.zeros(9, dtype=np.int64))


def test_settings_of_classes_are_refused_for_numbers_and_for_three_classes() -> None:
    flowers = prepare(DataConfig(source="sklearn:iris", target="target"))
    with pytest.raises(ConfigError, match="threshold is for two classes, there are 3"):
        trainer(flowers, {"imbalance": {"threshold": 0.4}})
    numbers = prepare(DataConfig(source="sklearn:diabetes", target="target"))
    config = TrainConfig.model_validate({"loss": {"kind": "focal"}, "imbalance": {"resample": "oversample"}})
    with pytest.raises(ConfigError, match=r"(?s)loss.kind.*imbalance.resample"):
        require_suitable(config, numbers.facts, numbers.validation.target)


def test_an_ensemble_of_a_regression(cancer: Prepared) -> None:
    numbers = prepare(DataConfig(source="sklearn:diabetes", target="target"))
    config = TrainConfig(epochs=25, global_batch_size=32, early_stopping=None)
    inputs = ModelInputs.of(numbers.facts.transforms, 1)
    model = build_model(MlpConfig(), inputs, 0, ensemble=EnsembleConfig(members=3))
    session = PlainSession()
    one = Trainer(config, model, numbers.facts, numbers.train, numbers.validation, session, "rmse")
    run_to_end(one, session)
    assert 40 < one.best.score < 70
