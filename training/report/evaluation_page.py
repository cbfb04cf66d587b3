"""The page of `manta evaluate`: scores, reliability, slices, what moved. Every text from data goes through `esc`."""

from training.evaluation import words
from training.evaluation.evaluate import Evaluation
from training.evaluation.slices import Slice
from training.package.drift import Shift
from training.report import evaluation_charts as charts
from training.report.shell import Figure, chart, html_page, tile_row
from training.report.text import esc, facts, score, table

TILES = 3  # scores shown large, beside rows and calibration


def evaluation_page(found: Evaluation) -> str:
    """The whole page, self-contained."""
    columns = list(dict.fromkeys(part.column for part in found.slices))
    figures: dict[str, Figure] = {}
    if found.calibration is not None:
        figures["reliability"] = charts.reliability(found.calibration)
    if found.residuals is not None:
        figures |= {"deciles": charts.deciles(found.residuals), "coverage": charts.coverage(found.residuals)}
    figures |= {f"slices{i}": charts.slices(found, column) for i, column in enumerate(columns)}
    if found.shifts:
        figures["shifts"] = charts.shifts(found.shifts)
    parts = [_header(found), _scores(found), _calibration(found), _residuals(found), _slices(found, columns)]
    return html_page(f"{found.name} on {found.data}", "".join([*parts, _shifts(found), _about(found)]), figures)


def _header(found: Evaluation) -> str:
    notes = "".join(f"<p>{esc(note)}</p>" for note in found.notes)
    return (
        f'<header><p class="kicker">manta evaluate</p><h1>{esc(found.name)}</h1>'
        f'<p class="muted">on <code>{esc(found.data)}</code>: {esc(found.target)}</p></header>'
        f"{tile_row(_tiles(found))}{notes}"
    )


def _tiles(found: Evaluation) -> list[tuple[str, str, str]]:
    values = [
        (name, score(found.scores[name].value), words.interval(found.scores[name]))
        for name in words.main_scores(found)[:TILES]
    ]
    if found.calibration is not None:
        chance = f"chance alone: up to {found.calibration.chance:.4f}"
        values.append(("calibration error", f"{found.calibration.expected_error:.4f}", chance))
    left_out = f"{found.num_without_target:,} without a target left out" if found.num_without_target else "all judged"
    return [*values, ("rows", f"{found.num_rows:,}", left_out)]


def _scores(found: Evaluation) -> str:
    rows = []
    for name in [*words.main_scores(found), *(name for name in found.scores if name.startswith(words.OF_ONE_CLASS))]:
        here, verdict = found.scores[name], words.against_package(found, name)
        shown = f"<b>{esc(name)}</b>" if name == found.metric else esc(name)
        own = score(found.packaged.get(name))
        rows.append((shown, score(here.value), esc(words.interval(here)), own, _judged(verdict)))
    heads = ("score", "here", "95 % interval", "the package's own", "")
    return (
        f"<section><h2>Scores</h2><p class='muted'>{esc(words.interval_text(found))}. The package's own scores are of "
        f"its held-out rows.</p>{table(heads, rows, classes=('', 'num', 'num', 'num', ''))}</section>"
    )


def _judged(verdict: str) -> str:
    kind = verdict.partition(" ")[0].rstrip("?")
    return f'<span class="{kind}">{esc(verdict)}</span>' if kind in ("worse", "better") else esc(verdict)


def _calibration(found: Evaluation) -> str:
    if found.calibration is None:
        return ""
    rows = [
        (f"{each.said:.4f}", f"{each.came:.4f}", f"{each.low:.4f} to {each.high:.4f}", f"{each.num_rows:,}")
        for each in found.calibration.bins
    ]
    grid = table(("said", "came", "95 % interval", "rows"), rows, classes=("num",) * 4)
    plot = chart("reliability", f"{found.calibration.about}: what was said, and how often it came")
    return (
        f"<section><h2>Calibration</h2><p class='muted'>{_sentence(words.calibration_text(found))}</p>"
        f'<div class="charts">{plot}</div><details><summary>Bins</summary>{grid}</details></section>'
    )


def _residuals(found: Evaluation) -> str:
    if found.residuals is None:
        return ""
    quantiles = [(f"{float(share):.0%}", score(value)) for share, value in found.residuals.quantiles.items()]
    low, high = (score(bound) for bound in found.residuals.band)
    rows = [
        (
            f"{tenth.num_rows:,}",
            *map(score, (tenth.predicted, tenth.came, tenth.bias, tenth.rmse)),
            f"{tenth.covered:.1%}",
        )
        for tenth in found.residuals.deciles
    ]
    heads = ("rows", "predicted", "true", "too high by", "rmse", "within the band")
    plots = chart("deciles", "Means by tenths of the prediction") + chart(
        "coverage", "Rows within the band, by tenths of the prediction"
    )
    return (
        f"<section><h2>Residuals</h2><p class='muted'>Truth less prediction. The band of {low} to {high} around the "
        f'prediction holds 90 % of all rows.</p><div class="charts">{plots}</div>'
        f"<details><summary>By tenths of the prediction</summary>{table(heads, rows, classes=('num',) * 6)}</details>"
        f"<details><summary>Quantiles</summary>{table(('share', 'residual'), quantiles, classes=('num', 'num'))}"
        "</details></section>"
    )


def _slices(found: Evaluation, columns: list[str]) -> str:
    if not columns:
        return ""
    plots = "".join(chart(f"slices{i}", f"{found.metric} by {column}") for i, column in enumerate(columns))
    heads = ("column", "value", "rows", found.metric, "95 % interval", "", "also")
    rows = [_slice_row(found, part) for part in found.slices]
    grid = table(heads, rows, classes=("", "cause", "num", "num", "num", "", "cause"))
    return (
        f"<section><h2>Slices</h2><p class='muted'>{_sentence(words.slice_legend(found.slices))}</p>"
        f'<div class="charts">{plots}</div>{grid}</section>'
    )


def _slice_row(found: Evaluation, part: Slice) -> tuple[str, ...]:
    here = part.scores[found.metric]
    figures = (f"{part.num_rows:,}", score(here.value), esc(words.interval(here)))
    mark, also = words.slice_mark(part, found.metric), words.slice_also(part, found.metric)
    return esc(words.plain(part.column)), esc(words.plain(part.value)), *figures, _judged(mark), esc(also)


def _shifts(found: Evaluation) -> str:
    if not found.has_reference:
        return ""
    rows = [_shift_row(words.answer_shift_name(moved), moved) for moved in found.answer_shifts]
    rows += [_shift_row(words.shift_name(moved), moved) for moved in found.shifts]
    grid = table(("what", "index", "chance", "moved", ""), rows, classes=("cause", "num", "num", "", "cause"))
    plot = chart("shifts", "Inputs that moved most; dots: what chance explains, lines: where some and much begin")
    return (
        f"<section><h2>What moved since training</h2><p class='muted'>{_sentence(words.shift_legend())}</p>"
        f'<div class="charts">{plot if found.shifts else ""}</div>{grid}</section>'
    )


def _shift_row(name: str, moved: Shift) -> tuple[str, ...]:
    figures = (f"{moved.index:.4f}", f"{moved.chance:.4f}")
    return esc(words.plain(name)), *figures, esc(moved.verdict), esc(words.shift_notes(moved))


def _sentence(text: str) -> str:
    return esc(f"{text[:1].upper()}{text[1:]}.")


def _about(found: Evaluation) -> str:
    pairs = [
        ("model", found.model), ("package", found.package), ("variant", found.variant), ("data", found.data),
        ("rows", words.rows_text(found)), ("decision threshold", found.threshold),
    ]  # fmt: skip
    return f"<section><h2>What was judged</h2>{facts((name, esc(value)) for name, value in pairs if value)}</section>"
