"""A cross-validation as text and as JSON."""

from typing import Any

from cluster.console import duration, table_lines
from training.cross_validation.record import CrossValidation
from training.evaluation.folds import FoldSpread

NUM_OTHERS = 3  # scores shown for each training beside the deciding one


def folds_text(record: CrossValidation) -> str:
    """One row a fold and seed, then every score over the folds, then the model of all rows."""
    names = [record.metric, *[name for name in record.scores if name != record.metric][:NUM_OTHERS]]
    by = f" by {record.by}" if record.by else ""
    head = (
        f"{record.name}: {record.num_folds} {record.kind} folds{by} of {record.num_rows:,} rows, "
        f"{record.num_seeds} seed{'s' if record.num_seeds > 1 else ''} each"
    )
    rows = [["fold", "seed", "trained on", "held out", *names, "best epoch", "time"]]
    for each in record.folds:
        scores = [_number(each.scores.get(name)) for name in names]
        counts = [f"{each.num_train_rows:,}", f"{each.num_held_out_rows:,}"]
        rows.append([str(each.fold), str(each.seed), *counts, *scores, str(each.best_epoch), duration(each.seconds)])
    lines = [head, *table_lines(rows), "", *table_lines(_over_folds(record)), f"interval: {record.interval}"]
    return "\n".join([*lines, "", *_refit_lines(record)])


def _over_folds(record: CrossValidation) -> list[list[str]]:
    rows = [["score", "mean", "95 % interval", "spread", "all rows together", "test part"]]
    tested = record.refit.scores if record.refit else {}
    for name, spread in record.scores.items():
        few = f" ({spread.num_folds} folds have it)" if spread.num_folds < record.num_folds else ""
        together, held = _number(record.out_of_fold.get(name)), _number(tested.get(name))
        rows.append(
            [name, _number(spread.mean) + few, interval_text(spread), _number(spread.deviation), together, held]
        )
    return rows


def _refit_lines(record: CrossValidation) -> list[str]:
    if record.refit is None:
        return ["no model of all rows was trained"]
    tuned = record.refit.threshold
    said = (
        f"model of all {record.refit.num_rows:,} rows: {record.refit.epochs} epochs, the median of the folds' best; no "
        "rows were left to stop it early by"
    )
    if tuned is None:
        return [said]
    return [said, f"its threshold {tuned:.4g} was tuned on the out-of-fold predictions"]


def interval_text(spread: FoldSpread) -> str:
    """Both bounds, or a dash where one fold has none."""
    return "-" if spread.low is None else f"{_number(spread.low)} to {_number(spread.high)}"


def folds_json(record: CrossValidation, folder: str) -> dict[str, Any]:
    """The record, and where its predictions are."""
    files = {"out_of_fold": f"{folder}/out_of_fold.parquet", "out_of_fold_mean": f"{folder}/out_of_fold_mean.parquet"}
    return record.model_dump(mode="json") | {"files": files}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
