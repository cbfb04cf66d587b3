"""Every built-in architecture learns a small real task in the loop, with its default settings."""

import csv

import numpy as np
import pytest
from pydantic import TypeAdapter

from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.loop import Trainer, run_to_end
from training.model_config import ModelConfig
from training.models import ModelInputs, build_model
from training.session import PlainSession
from training.train_config import TrainConfig


def best_score(prepared: Prepared, model: dict[str, object], epochs: int, metric: str = "accuracy") -> float:
    config = TrainConfig(epochs=epochs, global_batch_size=64)
    inputs = ModelInputs.of(prepared.facts.transforms, prepared.facts.num_outputs)
    network = build_model(TypeAdapter(ModelConfig).validate_python(model), inputs, config.seed)
    session = PlainSession()
    trainer = Trainer(config, network, prepared.facts, prepared.train, prepared.validation, session, metric)
    run_to_end(trainer, session)
    return trainer.best.score


@pytest.fixture(scope="module")
def flowers() -> Prepared:
    return prepare(DataConfig(source="sklearn:iris", target="target"))


@pytest.mark.parametrize("kind", ["table_resnet", "ft_transformer"])
def test_tables(kind: str, flowers: Prepared) -> None:
    assert best_score(flowers, {"kind": kind}, epochs=15) > 0.85  # a third of the rows are of each class


@pytest.mark.parametrize("kind", ["table_resnet", "ft_transformer"])
def test_regressions(kind: str) -> None:
    patients = prepare(DataConfig(source="sklearn:diabetes", target="target"))
    scale = float(patients.validation.target.std())  # what saying the mean would cost
    assert best_score(patients, {"kind": kind}, epochs=8, metric="rmse") < 0.85 * scale


def test_images() -> None:
    digits = prepare(DataConfig(source="sklearn:digits", target="target", image_shape=(1, 8, 8)))
    assert best_score(digits, {"kind": "resnet", "width": 16}, epochs=3) > 0.85  # ten digits


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Texts of the same words in two orders, which only a model that sees their places can tell apart."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("news") / "news.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(1200):
            words = [f"w{j}" for j in rng.integers(0, 20, rng.integers(2, 5))]
            first, second = ("rise", "fall") if i % 2 else ("fall", "rise")
            rows.writerow([" ".join([first, *words, second]), "up" if i % 2 else "down"])
    text = {"kind": "text", "max_tokens": 6, "num_tokens": 64, "tokens": "vocabulary"}
    config = {"source": str(path), "target": "label", "columns": {"text": text}}
    return prepare(DataConfig.model_validate(config))


def test_texts(news: Prepared) -> None:
    assert best_score(news, {"kind": "transformer", "dim": 32, "layers": 1}, epochs=10) > 0.95
    assert best_score(news, {"kind": "mlp"}, epochs=2) < 0.7  # it sees the words without their order
