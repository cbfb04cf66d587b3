"""What each method for rare classes is worth: average precision over 5 folds of a table with two classes.

    python -m benchmarks.imbalance --data table.csv [--members 10]

The table is a CSV file of numbers with the class in its last column; the rarer class is the one looked for. Each fold
is the test part once; the validation part, which picks the epoch and tunes the threshold, is cut from the other folds.
All methods train the same network with the same settings, which were chosen by the validation part of the plain one.
The last line is JSON.
"""

import argparse
import csv
import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.data.training_rows import training_rows
from training.loop import Trainer, run_to_end
from training.metrics import held_out_scores
from training.models import ModelInputs, build_model
from training.session import PlainSession
from training.threshold import best_threshold, probabilities

FOLDS = 5
SETTINGS: dict[str, Any] = {
    "model": {"hidden": [64, 64], "dropout": 0.2},
    "train": {"epochs": 60, "global_batch_size": 128, "peak_lr": 1e-2, "early_stopping": {"patience": 20}},
}
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "class weights": {"imbalance": {"class_weights": "balanced"}},
    "balanced sampling": {"imbalance": {"sampling": "balanced"}},
    "oversample, 1:5": {"imbalance": {"resample": "oversample", "ratio": 0.2}},
    "oversample, 1:1": {"imbalance": {"resample": "oversample"}},
    "undersample, 1:5": {"imbalance": {"resample": "undersample", "ratio": 0.2}},
    "undersample, 1:1": {"imbalance": {"resample": "undersample"}},
    "SMOTE, 1:5": {"imbalance": {"resample": "smote", "ratio": 0.2}},
    "SMOTE, 1:1": {"imbalance": {"resample": "smote"}},
    "focal loss": {"loss": {"kind": "focal"}},
    "mixup": {"augment": {"mixup": 0.2}},
    "ensemble, balanced": {"ensemble": True},
    "ensemble, as drawn": {"ensemble": False},
}


@dataclass(frozen=True)
class Outcome:
    """Scores of one method on the test part of one fold."""

    average_precision: float
    f1: float  # at 0.5
    tuned_f1: float  # at the threshold tuned on the validation part
    balanced_accuracy: float  # at 0.5
    seconds: float


def main() -> None:
    """Run all methods on all folds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--members", type=int, default=10, help="models in an ensemble")
    parser.add_argument(
        "--methods", nargs="*", default=list(METHODS), choices=METHODS, help="only these, beside the plain one"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the batches are too small to share
    folds = [prepare(experiment_of(arguments.data, fold).data) for fold in range(FOLDS)]
    print_data(folds)
    print(
        "| method | average precision | against plain | F1 at 0.5 | F1, tuned | balanced accuracy at 0.5 | s a fold |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    results: dict[str, list[Outcome]] = {}
    for name in dict.fromkeys(["plain", *arguments.methods]):
        results[name] = [
            run(experiment_of(arguments.data, fold, name, arguments.members), folds[fold]) for fold in range(FOLDS)
        ]
        print_row(name, results[name], results["plain"])
    means = {
        name: round(float(np.mean([o.average_precision for o in outcomes])), 4) for name, outcomes in results.items()
    }
    best = max(means, key=lambda name: means[name])
    print(json.dumps({"best": best, "average_precision": means[best], "folds": FOLDS, "all": means}))


def experiment_of(path: Path, fold: int, method: str = "plain", members: int = 2) -> Experiment:
    """The experiment file of one method and fold."""
    changes = dict(METHODS[method])
    balanced = changes.pop("ensemble", None)
    with path.open(newline="") as file:
        first, *others = csv.reader(file)
    counts = Counter(row[-1] for row in others)
    has_header = first[-1] not in counts
    names = None if has_header else [*(f"x{i}" for i in range(1, len(first))), "class"]
    data = {
        "source": str(path), "names": names, "target": first[-1] if has_header else "class", "task": "classification",
        "positive_label": min(counts, key=lambda label: counts[label]),
        "features": {"numeric": {"scale": "quantile"}},
        "split": {"validation": 0.2, "folds": {"count": FOLDS, "index": fold, "part": "test"}},
    }  # fmt: skip
    return Experiment.model_validate(
        {
            "name": "imbalance", "data": data, "model": SETTINGS["model"], "train": SETTINGS["train"] | changes,
            "ensemble": None if balanced is None else {"members": members, "balanced": balanced},
        }
    )  # fmt: skip


def run(experiment: Experiment, prepared: Prepared) -> Outcome:
    """Train on a fold as `manta train` does, in this process."""
    began = time.perf_counter()
    facts, session = prepared.facts, PlainSession()
    inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
    model = build_model(experiment.model, inputs, experiment.train.seed, ensemble=experiment.ensemble)
    rows, _ = training_rows(experiment.train, facts, prepared.train)
    trainer = Trainer(experiment.train, model, facts, rows, prepared.validation, session, "average_precision")
    run_to_end(trainer, session)
    model.load_state_dict(trainer.checkpoint()["best"]["model"])
    found = probabilities(model, facts, prepared.test)
    on_validation = probabilities(model, facts, prepared.validation)[:, 1]
    tuned = best_threshold(on_validation, prepared.validation.target == 1, "f1")
    at_half = held_out_scores("classification", found, prepared.test.target)
    at_tuned = held_out_scores("classification", found, prepared.test.target, threshold=tuned)
    return Outcome(
        at_half["average_precision"], at_half["f1"], at_tuned["f1"], at_half["balanced_accuracy"],
        time.perf_counter() - began,
    )  # fmt: skip


def print_data(folds: list[Prepared]) -> None:
    """How rare the class is, and how many test rows the training part knows: both are needed to read the scores."""
    target = np.concatenate([fold.test.target for fold in folds])
    known = [rows_in(fold.test.tensors, fold.train.tensors) for fold in folds]
    print(
        f"{len(target):,} rows, {target.mean():.2%} of class {folds[0].facts.labels[1]}; {np.mean(known):.0%} of the "
        f"test rows stand in the training part too\n"
    )


def rows_in(some: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> float:
    """Share of rows that stand among others."""
    known = set(map(bytes, others["numeric"]))
    return float(np.mean([bytes(row) in known for row in some["numeric"]]))


def print_row(name: str, outcomes: list[Outcome], plain: list[Outcome]) -> None:
    """One line of the table: means over the folds, with the 95 % interval of the mean."""
    precision, of_plain = (np.array([outcome.average_precision for outcome in some]) for some in (outcomes, plain))
    against = (
        f"{precision.mean() - of_plain.mean():+.3f} ± {half_width(precision - of_plain):.3f}" if name != "plain" else ""
    )
    rest = [np.mean([getattr(o, key) for o in outcomes]) for key in ("f1", "tuned_f1", "balanced_accuracy")]
    print(
        f"| {name} | {precision.mean():.3f} ± {half_width(precision):.3f} | {against} | "
        f"{' | '.join(f'{value:.3f}' for value in rest)} | {np.mean([o.seconds for o in outcomes]):.1f} |",
        flush=True,
    )


def half_width(values: np.ndarray) -> float:
    """Of the 95 % interval of the mean, by Student's t."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


if __name__ == "__main__":
    main()
