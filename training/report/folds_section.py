"""The page's section on a cross-validation: a dot for each training, the mean with its interval, all scores."""

from training.cross_validation.record import CrossValidation, read_cross_validation
from training.evaluation.folds import FoldSpread
from training.event_text import duration
from training.report.shell import Figure, chart, figure, tile_row
from training.report.text import esc, score, table
from training.run_record import RunRecord

ROW_PX, FRAME_PX = 24, 150
FOLDED = 12  # folds and seeds from which their table is closed at first


def folds(record: RunRecord) -> str:
    """Empty where the run has no cross-validation."""
    found = read_cross_validation(record.folder)
    if found is None:
        return ""
    by = f" by {found.by}" if found.by else ""
    seeds = f", {found.num_seeds} seeds each" if found.num_seeds > 1 else ""
    about = f"{found.num_folds} {found.kind} folds{by} of {found.num_rows:,} rows of training and validation{seeds}"
    caption = f"{found.metric} of each fold on the rows it held out; the band is the mean's 95 % interval"
    return (
        f"<section><h2>Cross-validation</h2><p class='muted'>{esc(about)}</p>{_tiles(found)}"
        f'<div class="charts">{chart("folds", caption, wide=True)}</div>'
        f"{_over_folds(found)}{_words(found)}{_trainings(found)}</section>"
    )


def folds_chart(record: RunRecord) -> Figure:
    """One line a fold, a dot each seed; behind them the mean, its interval, and the score on the test part."""
    found = read_cross_validation(record.folder)
    assert found is not None, "only drawn where the section is"
    known = [each for each in found.folds if found.metric in each.scores]
    dots = {
        "type": "scatter", "mode": "markers", "name": "a training", "x": [each.scores[found.metric] for each in known],
        "y": [f"fold {each.fold}" for each in known], "text": [f"seed {each.seed}" for each in known],
        "marker": {"color": "@accent", "size": 9, "opacity": 0.75},
        "hovertemplate": "%{y}, %{text}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    drawn = figure([dots], found.metric, "")
    layout = drawn["layout"]
    layout["height"] = FRAME_PX + ROW_PX * found.num_folds
    names = [f"fold {number}" for number in range(found.num_folds)]
    layout["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": names, "autorange": "reversed"}
    layout["shapes"] = [*_interval_shapes(found.spread), *_line(_test_score(found), "@second", "dash")]
    if (tested := _test_score(found)) is not None:
        layout["annotations"] = [
            {"x": tested, "yref": "paper", "y": 1, "yanchor": "bottom", "text": f"test part {tested:.4f}",
             "showarrow": False, "font": {"color": "@second", "size": 11}},
        ]  # fmt: skip
    return drawn


def _interval_shapes(spread: FoldSpread | None) -> list[Figure]:
    if spread is None:
        return []
    lines = _line(spread.mean, "@accent", "solid")
    if spread.low is None:
        return lines
    band = {
        "type": "rect",
        "x0": spread.low,
        "x1": spread.high,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"width": 0},
    }
    return [band | {"fillcolor": "@accent", "opacity": 0.14, "layer": "below"}, *lines]


def _line(x: float | None, colour: str, dash: str) -> list[Figure]:
    if x is None:
        return []
    place = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return [place | {"line": {"color": colour, "width": 1.5, "dash": dash}}]


def _test_score(found: CrossValidation) -> float | None:
    return found.refit.scores.get(found.metric) if found.refit else None


def _tiles(found: CrossValidation) -> str:
    tiles = []
    if (spread := found.spread) is not None:
        tiles.append((f"{found.metric}, mean", score(spread.mean), _interval(spread)))
    if (together := found.out_of_fold.get(found.metric)) is not None:
        tiles.append(("out of fold", score(together), f"all {found.num_out_of_fold_rows:,} rows together"))
    if (tested := _test_score(found)) is not None:
        tiles.append(("test part", score(tested), "model of all rows"))
    return tile_row(tiles)


def _interval(spread: FoldSpread) -> str:
    return "one fold" if spread.low is None else f"{score(spread.low)} to {score(spread.high)}"


def _over_folds(found: CrossValidation) -> str:
    tested = found.refit.scores if found.refit else {}
    rows = [
        (
            f"<b>{esc(name)}</b>" if name == found.metric else esc(name), score(spread.mean), _interval(spread),
            score(spread.deviation), score(found.out_of_fold.get(name)), score(tested.get(name)),
            str(spread.num_folds),
        )
        for name, spread in found.scores.items()
    ]  # fmt: skip
    heads = ("score", "mean", "95 % interval", "spread", "all rows together", "test part", "folds")
    return f"<h3>Scores over the folds</h3>{table(heads, rows, classes=('', *['num'] * 6))}"


def _words(found: CrossValidation) -> str:
    said = [f"Interval: {found.interval}; seeds are averaged within a fold first."]
    if found.refit is None:
        said.append("No model of all rows was trained.")
    else:
        said.append(
            f"The run's model was then trained on all {found.refit.num_rows:,} rows for {found.refit.epochs} epochs, "
            "the median of the folds' best: no rows were left to stop it early by."
        )
        if found.refit.threshold is not None:
            said.append(f"Its threshold {found.refit.threshold:.4g} was tuned on the out-of-fold predictions.")
    return f"<p>{esc(' '.join(said))}</p>"


def _trainings(found: CrossValidation) -> str:
    rows = [
        (
            (str(each.fold), each.fold), (str(each.seed), each.seed), (f"{each.num_train_rows:,}", each.num_train_rows),
            (f"{each.num_held_out_rows:,}", each.num_held_out_rows),
            (score(each.scores.get(found.metric)), each.scores.get(found.metric, "")),
            (str(each.best_epoch), each.best_epoch), (duration(each.seconds), each.seconds),
        )
        for each in found.folds
    ]  # fmt: skip
    heads = ("fold", "seed", "trained on", "held out", found.metric, "best epoch", "time")
    grid = table(heads, rows, sortable=True, classes=("num",) * 7)
    return f"<details{' open' if len(rows) <= FOLDED else ''}><summary>Each training</summary>{grid}</details>"
