"""An evaluation as text for the terminal."""

from cluster.console import table_lines
from training.evaluation import words
from training.evaluation.evaluate import Evaluation
from training.evaluation.slices import Slice
from training.package.drift import Shift

MAX_SHIFTS = 12
SHOWN_QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")


def evaluation_text(found: Evaluation) -> str:
    """The whole of it: scores, calibration or residuals, slices, what moved."""
    blocks = [
        f"{found.model}, variant {found.variant}, on {found.data}: {found.target}\n{words.rows_text(found)}",
        _scores(found),
        _calibration(found),
        _residuals(found),
        *(_slices(found, column) for column in dict.fromkeys(part.column for part in found.slices)),
        words.slice_legend(found.slices) if found.slices else "",
        _shifts(found),
        "\n".join(found.notes),
    ]
    return "\n\n".join(block for block in blocks if block)


def _scores(found: Evaluation) -> str:
    rows = [["score", "here", "95 % interval", "package's own", ""]]
    for name in [*words.main_scores(found), *_of_classes(found)]:
        here = found.scores[name]
        own = words.number(found.packaged.get(name))
        rows.append([name, words.number(here.value), words.interval(here), own, words.against_package(found, name)])
    return "\n".join([*table_lines(rows), words.interval_text(found)])


def _of_classes(found: Evaluation) -> list[str]:
    """Of two classes the second's F1 is said already."""
    names = [name for name in found.scores if name.startswith(words.OF_ONE_CLASS)]
    return names if len(names) > 2 else []


def _calibration(found: Evaluation) -> str:
    if found.calibration is None:
        return ""
    rows = [["said", "came", "95 % interval", "rows"]]
    rows += [
        [f"{each.said:.4f}", f"{each.came:.4f}", f"{each.low:.4f} to {each.high:.4f}", f"{each.num_rows:,}"]
        for each in found.calibration.bins
    ]
    return "\n".join(["calibration", words.calibration_text(found), *table_lines(rows)])


def _residuals(found: Evaluation) -> str:
    missed = found.residuals
    if missed is None:
        return ""
    quantiles = ", ".join(f"{float(share):.0%} {words.number(missed.quantiles[share])}" for share in SHOWN_QUANTILES)
    rows = [["rows", "predicted", "true", "too high by", "rmse", "within the band"]]
    for tenth in missed.deciles:
        figures = (tenth.predicted, tenth.came, tenth.bias, tenth.rmse)
        rows.append([f"{tenth.num_rows:,}", *map(words.number, figures), f"{tenth.covered:.1%}"])
    low, high = missed.band
    return "\n".join(
        [
            f"residuals (truth less prediction), quantiles: {quantiles}",
            f"by tenths of the prediction; the band of {words.number(low)} to {words.number(high)} around it holds "
            "90 % of all rows",
            *table_lines(rows),
        ]
    )


def _slices(found: Evaluation, column: str) -> str:
    rows = [[words.plain(column), "rows", found.metric, "95 % interval", "", "also"]]
    rows += [_slice_row(found.metric, part) for part in found.slices if part.column == column]
    return "\n".join(table_lines(rows))


def _slice_row(metric: str, part: Slice) -> list[str]:
    here = part.scores[metric]
    figures = [f"{part.num_rows:,}", words.number(here.value), words.interval(here)]
    return [words.plain(part.value), *figures, words.slice_mark(part, metric), words.slice_also(part, metric)]


def _shifts(found: Evaluation) -> str:
    if not found.has_reference:
        return ""
    rows = [["moved since training", "index", "chance", "", ""]]
    rows += [_shift_row(words.answer_shift_name(moved), moved) for moved in found.answer_shifts]
    rows += [_shift_row(words.shift_name(moved), moved) for moved in found.shifts[:MAX_SHIFTS]]
    lines = table_lines(rows)
    if len(found.shifts) > MAX_SHIFTS:
        num_more = len(found.shifts) - MAX_SHIFTS
        lines.append(f"and {num_more} more that moved less")
    return "\n".join([*lines, words.shift_legend()])


def _shift_row(name: str, moved: Shift) -> list[str]:
    figures = [f"{moved.index:.4f}", f"{moved.chance:.4f}"]
    return [words.plain(name), *figures, moved.verdict, words.shift_notes(moved)]
