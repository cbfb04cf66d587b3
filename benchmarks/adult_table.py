"""Learning curves of an MLP on Adult for a set of random settings, trained once and kept in a file.

    python -m benchmarks.adult_table --table adult-table.jsonl [--adult adult.csv] [--settings 256]

Of the real table, or of a made-up one like it, 10,000 rows are used (30 % of them judge). A file that is not finished
is gone on with, so it can be made in parts.
"""

import argparse
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import adult_like
from benchmarks.prepare import ADULT_COLUMNS
from training.config import Experiment
from training.config_file import apply_overrides
from training.data.prepare import prepare
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.session import PlainSession

NUM_ROWS, EPOCHS = 10_000, 27
METRIC = "average_precision"
WIDTHS = [16, 32, 64, 128, 256]
SPACE: dict[str, Any] = {
    "train.peak_lr": {"log": [1e-4, 1e-1]},
    "train.weight_decay": {"log": [1e-5, 1.0]},
    "model.dropout": {"range": [0.0, 0.6]},
    "model.hidden": {"ordered": [[width, width] for width in WIDTHS]},
}
REAL, MADE_UP = "Adult", "made up, like Adult"


@dataclass(frozen=True)
class AdultTable:
    """A problem for `benchmarks.search_quality`: a trial gets the curve of the nearest settings that were trained."""

    rows: list[dict[str, Any]]
    name: str = "adult"
    space: Mapping[str, Any] = field(default_factory=lambda: SPACE)
    epochs: int = EPOCHS
    grace: int = 2
    factor: int = 3
    stops_often: bool = False

    @property
    def best(self) -> float:
        """The best score of any epoch in the table."""
        return max(max(row["curve"]) for row in self.rows)

    def true_curve(self, params: Mapping[str, Any]) -> np.ndarray:
        """The scores that were measured."""
        place = place_of(params)
        return np.array(min(self.rows, key=lambda row: float(((place_of(row["params"]) - place) ** 2).sum()))["curve"])

    def seen_curve(self, params: Mapping[str, Any], seed: int) -> np.ndarray:
        """The same: the validation rows are the truth here."""
        return self.true_curve(params)


def place_of(params: Mapping[str, Any]) -> np.ndarray:
    """Settings as a point of the unit cube."""
    rate, decay = (np.log10(params[key]) for key in ("train.peak_lr", "train.weight_decay"))
    width = WIDTHS.index(params["model.hidden"][0])
    return np.array([(rate + 4) / 3, (decay + 5) / 5, params["model.dropout"] / 0.6, width / (len(WIDTHS) - 1)])


def drawn(num: int) -> list[dict[str, Any]]:
    """Random settings, the same ones every time; more of them begin with the same ones."""
    found = []
    for i in range(num):
        rate, decay, dropout, width = np.random.default_rng([11, i]).random(4)
        found.append(
            {
                "train.peak_lr": float(10 ** (-4 + 3 * rate)),
                "train.weight_decay": float(10 ** (-5 + 5 * decay)),
                "model.dropout": float(0.6 * dropout),
                "model.hidden": [WIDTHS[int(width * len(WIDTHS))]] * 2,
            }
        )
    return found


def made_table(adult: Path | None, table: Path | None, num_settings: int) -> list[dict[str, Any]]:
    """Trained settings and their curves; what the file does not have yet is trained now."""
    kind = REAL if adult else MADE_UP
    if adult is None:
        print("adult: no --adult given, so a made-up table like it is searched: not a figure of the real one")
    path = table or Path(tempfile.gettempdir()) / f"manta-{'adult' if adult else 'adult-like'}-table.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if any(row["kind"] != kind for row in rows):
        raise SystemExit(f"{path} is of another table than {kind}; name another file with --table")
    if missing := drawn(num_settings)[len(rows) :]:
        print(f"adult: training {len(missing)} of {num_settings} settings ({kind}) into {path}", flush=True)
        rows += train_all(adult, missing, path, kind)
    return rows[:num_settings]


def train_all(adult: Path | None, settings: list[dict[str, Any]], path: Path, kind: str) -> list[dict[str, Any]]:
    """One after the other, each written as it ends."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        experiment = experiment_of(source_of(adult, Path(folder)), folder)
        prepared = prepare(experiment.data)
        for params in settings:
            row = {"kind": kind, "params": params, "curve": curve_of(apply_overrides(experiment, params), prepared)}
            rows.append(row)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return rows


def source_of(adult: Path | None, folder: Path) -> Path:
    """The first rows, as a CSV file without a header line."""
    path = folder / "rows.csv"
    if adult is not None:
        with adult.open(encoding="utf-8") as file:
            path.write_text("".join(line for line, _ in zip(file, range(NUM_ROWS), strict=False)), encoding="utf-8")
        return path
    whole = folder / "whole.csv"
    adult_like.write(whole, NUM_ROWS)
    path.write_text(whole.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    return path


def experiment_of(source: Path, storage: str) -> Experiment:
    """What is trained, but for the searched settings."""
    return Experiment.model_validate(
        {
            "name": "adult",
            "storage": storage,
            "data": {
                "source": str(source), "names": ADULT_COLUMNS, "target": "income", "missing": [adult_like.MARKER],
                "split": {"validation": 0.3, "test": 0.01},
            },
            "model": {"kind": "mlp"},
            "train": {"epochs": EPOCHS, "global_batch_size": 256, "early_stopping": None, "device": "cpu"},
        }
    )  # fmt: skip


def curve_of(experiment: Experiment, prepared: Any) -> list[float]:
    """The score after each epoch; one that diverged stays at 0."""
    facts = prepared.facts
    model = build_model(experiment.model, ModelInputs.of(facts.transforms, facts.num_outputs), experiment.train.seed)
    trainer = Trainer(experiment.train, model, facts, prepared.train, prepared.validation, PlainSession(), METRIC)
    curve: list[float] = []
    while not trainer.finished:
        curve.append(round(float(trainer.train_epoch()[f"validation/{METRIC}"]), 6))
    return curve


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--adult", type=Path, help="the real Adult table, a CSV file without a header line")
    parser.add_argument("--settings", type=int, default=256)
    arguments = parser.parse_args()
    rows = made_table(arguments.adult, arguments.table, arguments.settings)
    best = [max(row["curve"]) for row in rows]
    print(f"{len(rows)} settings, {METRIC} from {min(best):.4f} to {max(best):.4f}, median {np.median(best):.4f}")
    print(json.dumps({"settings": len(rows), "best": max(best)}))


if __name__ == "__main__":
    main()
