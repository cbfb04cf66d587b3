"""From rare rows to a package whose threshold, scores and card agree. A plain process: no Ray."""

from pathlib import Path

import pytest
from sklearn import metrics as sk

from serving.predictor import Predictor
from tests.training.tasks.way import QUICK
from training.config import Experiment
from training.data.prepared import Prepared
from training.data.training_rows import training_rows
from training.fit import FitResult
from training.loop import Trainer, run_to_end
from training.models import ModelInputs, build_model
from training.package.manifest import Manifest
from training.pipeline import Work, compress
from training.progress import Silent
from training.run_folder import RunFolder
from training.session import PlainSession


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Prepared, Path]:
    """SMOTE, mixup and an ensemble at once, trained shortly, so that 0.5 is not the best threshold."""
    experiment = Experiment.model_validate(
        {
            "name": "tumours", "storage": str(tmp_path_factory.mktemp("runs")),
            "data": {"source": "sklearn:breast_cancer", "target": "target", "positive_label": "malignant",
                     "rename_labels": {"0": "malignant", "1": "benign"}, "split": {"test": 0.3, "validation": 0.2}},
            "model": {"hidden": [160, 160]},
            "train": {"epochs": 2, "augment": {"mixup": 0.2}, "imbalance": {"resample": "smote", "threshold": "f1"}},
            "ensemble": {"members": 2}, "compress": QUICK,
        }
    )  # fmt: skip
    run = RunFolder.of(experiment)
    run.path.mkdir(parents=True, exist_ok=True)
    work = Work(experiment, run, Silent())
    facts, session = work.prepared.facts, PlainSession()
    model = build_model(experiment.model, ModelInputs.of(facts.transforms, 2), 0, ensemble=experiment.ensemble)
    rows, _ = training_rows(experiment.train, facts, work.prepared.train)
    trainer = Trainer(experiment.train, model, facts, rows, work.prepared.validation, session, "f1")
    run_to_end(trainer, session)
    best = trainer.checkpoint()["best"]
    return compress(work, None, FitResult(best["model"], best["epoch"], {}, "", 1)), work.prepared, run.package


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_served_labels_have_the_scores_that_the_package_tells(
    packed: tuple[Manifest, Prepared, Path], variant: str
) -> None:
    manifest, prepared, folder = packed
    assert manifest.threshold is not None
    assert manifest.threshold != 0.5
    predictor = Predictor.load(folder, variant)
    predictor.self_test()
    table = predictor.predict_table(prepared.test_rows)
    given = table["label"].to_pylist()
    assert given == [
        "malignant" if p >= manifest.threshold else "benign" for p in table["probability_malignant"].to_pylist()
    ]
    right = [manifest.labels[i] for i in prepared.test.target]
    told = manifest.variant(variant).metrics
    for label in manifest.labels:
        assert told[f"test/f1/{label}"] == pytest.approx(sk.f1_score(right, given, pos_label=label))
    assert told["test/f1"] == told["test/f1/malignant"]
    assert told["test/accuracy"] == pytest.approx(sk.accuracy_score(right, given))
    assert told["test/mcc"] == pytest.approx(sk.matthews_corrcoef(right, given))


def test_the_card_says_what_was_done(packed: tuple[Manifest, Prepared, Path]) -> None:
    manifest, _, folder = packed
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"The label is `malignant` where its probability is at least **{manifest.threshold:.4g}**" in card
    assert "tuned for f1 on the validation part" in card
    assert "mean of 2 models: mlp" in card
    assert "(train.imbalance.resample, ensemble.balanced)" in card
    assert "| test/f1/benign |" in card
