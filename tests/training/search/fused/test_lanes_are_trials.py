"""A lane's weights, scores and best epoch are those of its trial by itself."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.search.fused.lanes import changed, experiment, mixed_table, require_alike, trained_both_ways
from training.config import Experiment
from training.data.prepare import prepare
from training.search.fused import Shape, signature

IRIS = experiment("sklearn:iris", {}, {"kind": "mlp", "hidden": [16, 16], "dropout": 0.2})
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "rate, decay and rise": [
        {"peak_lr": 1e-3, "weight_decay": 0.0}, {"peak_lr": 2e-2, "weight_decay": 1.0}, {"warmup_fraction": 0.5},
    ],
    "dropout, also none": [{"model": {"dropout": 0.0}}, {"model": {"dropout": 0.5}}, {"model": {"dropout": 0.1}}],
    "seeds": [{"seed": 0}, {"seed": 1}, {"seed": 2, "model": {"dropout": 0.0}}, {"seed": 1, "peak_lr": 1e-2}],
    "label smoothing": [{"label_smoothing": 0.0}, {"label_smoothing": 0.1}, {"label_smoothing": 0.4}],
    "betas and eps": [{"optimizer": {"betas": (0.5, 0.9)}}, {"optimizer": {"eps": 1e-3}}, {}],
    "clipping": [{"max_grad_norm": 0.05}, {"max_grad_norm": None}, {"max_grad_norm": 0.3}],
    "l1": [{"l1": 0.0}, {"l1": 1e-3}, {"l1": 1e-2}],
    "schedules": [
        {"schedule": {"kind": kind, "patience": 1, "final_fraction": fraction}, "epochs": 6}
        for kind, fraction in (("cosine", 0.2), ("one_cycle", 0.0), ("plateau", 0.0), ("constant", 0.0))
    ],
    "epochs and patience": [
        {"epochs": 6, "early_stopping": {"patience": 1}, "peak_lr": 1e-6}, {"epochs": 2}, {"epochs": 5},
    ],
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_what_a_lane_has_for_itself(settings: list[dict[str, Any]]) -> None:
    trials = [changed(IRIS, **one) for one in settings]
    prepared = prepare(IRIS.data)
    assert len({signature(one, prepared.facts) for one in trials}) == 1
    pairs = trained_both_ways(trials, "accuracy", prepared)
    require_alike(pairs, "accuracy")
    ends = [float(sum(value.abs().sum() for value in lane["model"].values())) for lane, _ in pairs]
    assert len(set(ends)) == len(ends)  # or their settings did nothing


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd(momentum: float, nesterov: bool) -> None:
    base = changed(IRIS, optimizer={"kind": "sgd", "momentum": momentum, "nesterov": nesterov}, weight_decay=0.1)
    trials = [changed(base, peak_lr=rate) for rate in (0.01, 0.2)]
    trials += [changed(base, optimizer={"momentum": 0.5}), changed(base, schedule={"kind": "one_cycle"})]
    require_alike(trained_both_ways(trials, "accuracy"), "accuracy")


def test_several_epochs_of_the_digits() -> None:
    base = experiment("sklearn:digits", {"epochs": 6, "global_batch_size": 128}, {"kind": "mlp", "hidden": [64, 64]})
    rates = [changed(base, peak_lr=10**-number, model={"dropout": number / 10}) for number in (2, 2.5, 3)]
    require_alike(trained_both_ways(rates, "accuracy"), "accuracy")


@pytest.mark.parametrize("loss", [{}, {"kind": "huber", "delta": 0.3}, {"kind": "quantile", "quantile": 0.8}])
def test_regression(loss: dict[str, Any]) -> None:
    base = experiment("sklearn:diabetes", {"loss": loss}, {"kind": "mlp", "hidden": [16], "dropout": 0.1})
    metric = "pinball" if loss.get("kind") == "quantile" else "rmse"
    require_alike(trained_both_ways([base, changed(base, peak_lr=0.02, seed=3)], metric), metric)


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "mlp", "hidden": [16], "dropout": 0.3},
        {"kind": "table_resnet", "dim": 16, "hidden_dropout": 0.3},
        {"kind": "table_resnet", "dim": 16, "norm": "layer", "residual_dropout": 0.1},
        {"kind": "ft_transformer", "dim": 16, "heads": 2, "ffn_dropout": 0.3},
        {"kind": "transformer", "dim": 16, "heads": 2, "layers": 1},
    ],
    ids=["mlp", "batch norm", "layer norm", "ft_transformer", "transformer"],
)
@pytest.mark.parametrize("metric", ["accuracy", "average_precision"])
def test_tables_of_numbers_categories_and_texts(tmp_path: Path, model: dict[str, Any], metric: str) -> None:
    data = {"columns": {"note": {"kind": "text"}}, "positive_label": "yes"}
    imbalance = {"class_weights": "balanced"}
    # Before a batch norm and among keys there are biases that no output depends on: AdamW would make full steps of what
    # rounding leaves of their gradients.
    optimizer = {"kind": "adamw" if model["kind"] == "mlp" or "residual_dropout" in model else "sgd"}
    train = {"imbalance": imbalance, "epochs": 2, "optimizer": optimizer}
    base = experiment(mixed_table(tmp_path), train, model, data=data)
    dropouts = {name: 0.0 for name in base.model.model_fields_set if name.endswith("dropout")}
    trials = [base, changed(base, peak_lr=1e-2), changed(base, seed=5), changed(base, model=dropouts)]
    require_alike(trained_both_ways(trials, metric), metric)


@pytest.mark.parametrize("loss", [{}, {"kind": "focal", "gamma": 1.5}])
def test_classes_drawn_equally_and_images(loss: dict[str, Any]) -> None:
    base = experiment(
        "sklearn:digits", {"epochs": 1, "global_batch_size": 128, "loss": loss, "imbalance": {"sampling": "balanced"}},
        {"kind": "convnet", "channels": [4, 8], "hidden": 16, "dropout": 0.2}, data={"image_shape": [1, 8, 8]},
    )  # fmt: skip
    trials = [base, changed(base, peak_lr=1e-2), changed(base, seed=4)]
    require_alike(trained_both_ways(trials, "accuracy"), "accuracy")


def test_an_mlp_of_images_and_a_residual_network() -> None:
    for model in ({"kind": "mlp", "hidden": [16]}, {"kind": "resnet", "depths": [1], "width": 4}):
        base = experiment(
            "sklearn:digits", {"epochs": 1, "global_batch_size": 256}, model, data={"image_shape": [1, 8, 8]}
        )
        require_alike(trained_both_ways([base, changed(base, peak_lr=1e-2)], "accuracy"), "accuracy")


def test_several_labels_a_row(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{i % 3},{'x' if i % 2 else ''}{';y' if i % 3 else ''}" for i in range(120))
    (tmp_path / "labels.csv").write_text(f"a,b,target\n{rows}\n")
    base = experiment(
        str(tmp_path / "labels.csv"), {"label_smoothing": 0.1}, {"kind": "mlp", "hidden": [8]},
        data={"task": "multilabel", "label_separator": ";"},
    )  # fmt: skip
    require_alike(trained_both_ways([base, changed(base, peak_lr=1e-2)], "average_precision"), "average_precision")


def test_a_change_of_any_other_setting_is_another_shape() -> None:
    prepared = prepare(IRIS.data)
    shapes = [
        signature(one, prepared.facts)
        for one in (
            IRIS, changed(IRIS, global_batch_size=16), changed(IRIS, model={"hidden": (8,)}),
            changed(IRIS, optimizer={"kind": "sgd"}), changed(IRIS, loss={"kind": "focal", "gamma": 1.0}),
        )
    ]  # fmt: skip
    assert all(isinstance(shape, Shape) for shape in shapes)
    assert len(set(shapes)) == len(shapes)


REFUSED: dict[str, dict[str, Any]] = {
    "train.ema": {"ema": {"decay": 0.9}},
    "train.augment": {"augment": {"noise": 0.1}},
    "lion": {"optimizer": {"kind": "lion"}},
    "train.imbalance.resample": {"imbalance": {"resample": "oversample"}},
    "train.precision=bf16": {"precision": "bf16"},
    "train.compile": {"compile": True},
    "train.micro_batch": {"micro_batch": 8},
    "rollback": {"on_nan": "rollback"},
    "train.deterministic": {"deterministic": True},
    "train.loss.target": {"loss": {"target": "a:b"}},
    "train.optimizer.target": {"optimizer": {"target": "a:B"}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_stacked_says_why(name: str) -> None:
    told = signature(changed(IRIS, **REFUSED[name]), prepare(IRIS.data).facts)
    assert isinstance(told, str)
    assert name in told


def test_an_ensemble_and_a_stream_say_why() -> None:
    facts = prepare(IRIS.data).facts
    raw = IRIS.model_dump(by_alias=True)
    assert "ensemble" in str(signature(Experiment.model_validate(raw | {"ensemble": {"members": 2}}), facts))
    raw["data"] |= {"loading": "stream", "task": "classification"}
    assert "stream" in str(signature(Experiment.model_validate(raw), facts))


def test_the_random_state_of_the_process_is_of_no_matter() -> None:
    pairs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        pairs.append(trained_both_ways([IRIS], "accuracy")[0][0])
    assert all(torch.equal(pairs[0]["model"][name], pairs[1]["model"][name]) for name in pairs[0]["model"])
