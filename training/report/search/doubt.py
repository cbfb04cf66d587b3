"""Whether the best score is to be believed: its standard error, how the search rose, and the untouched test part."""

import math

from training.event_text import counted
from training.report.search.view import Search, units_of
from training.report.shell import Part
from training.report.text import esc, score, table

SHARES = ("accuracy", "subset_accuracy")  # of rows that are right: their standard error follows from their number
MIN_MORE = 10  # trials after which a search may be called too long
CLEAR_GAP = 2.0  # standard errors


def doubt(search: Search) -> Part:
    """Table of the scores of the best, and what they say; empty without a finished trial."""
    if not search.leaders:
        return Part()
    rows = score_rows(search)
    cells = [(esc(name), score(value), "–" if error is None else f"± {error:.4f}") for name, value, error in rows]
    said = "".join(f"<p>{esc(sentence)}</p>" for sentence in (over_searched(search), gap(search)) if sentence)
    is_worth_it = len(rows) > 1 or rows[0][2] is not None
    heads = ("", search.metric.removeprefix("validation/"), "standard error")
    grid = table(heads, cells, classes=("cause", "num", "num"))
    return Part((grid if is_worth_it else "") + said)


def score_rows(search: Search) -> list[tuple[str, float, float | None]]:
    """What was judged on which rows, the score, and its standard error where that is known."""
    rows = search.num_rows
    plain = search.metric.removeprefix("validation/")
    leader = search.record.best_trial
    found = [(f"best trial {leader['trial']}, {_judged(search)}", float(leader["score"]), best_error(search))]
    fitted = search.record.last("fit").get("metrics", {}).get(search.metric)
    if fitted is not None:
        error = share_error(plain, fitted, rows.get("validation"))
        found.append((f"final model, validation{_rows(rows.get('validation'))}", float(fitted), error))
    tested = test_score(search)
    if tested is not None:
        error = share_error(plain, tested, rows.get("test"))
        found.append((f"final model, test{_rows(rows.get('test'))}, seen by no trial", tested, error))
    return found


def _judged(search: Search) -> str:
    units = units_of(search.record.best_trial)
    return (
        f"mean of {counted(len(units), search.unit)}"
        if units
        else f"validation{_rows(search.num_rows.get('validation'))}"
    )


def _rows(number: int | None) -> str:
    return "" if number is None else f" of {number:,} rows"


def share_error(plain: str, value: float, num_rows: int | None) -> float | None:
    """Standard error of a share of rows, sqrt(p (1 - p) / n); None for scores that are none."""
    if plain not in SHARES or not num_rows or not 0 <= value <= 1:
        return None
    return math.sqrt(value * (1 - value) / num_rows)


def best_error(search: Search) -> float | None:
    """Standard error of the best trial's score: over its folds or seeds, else by the number of validation rows."""
    leader = search.record.best_trial
    units = list(units_of(leader).values())
    if len(units) > 1:
        deviation = search.spread(units).deviation
        return None if deviation is None else deviation * math.sqrt(1 / len(units) + search.held_over_trained)
    plain = search.metric.removeprefix("validation/")
    return share_error(plain, leader["score"], search.num_rows.get("validation"))


def test_score(search: Search) -> float | None:
    """The same score of the final model on the test part."""
    plain = search.metric.removeprefix("validation/")
    packaged, compressed = search.record.last("packaged"), search.record.last("compressed")
    if packaged.get("metric") == f"test/{plain}":
        return float(packaged["score"])
    for variant in compressed.get("variants") or ():
        if variant.get("name") == compressed.get("chosen") and f"test/{plain}" in variant.get("metrics", {}):
            return float(variant["metrics"][f"test/{plain}"])
    return None


def over_searched(search: Search) -> str:
    """A warning where the best score went on rising by less than it can be told from chance; else empty."""
    error = best_error(search)
    if error is None or not error > 0:
        return ""
    leaders = [(i, float(search.trials[i - 1]["score"])) for i in search.leaders]
    last, final = leaders[-1]
    first, level = next((i, value) for i, value in leaders if abs(final - value) < error)
    if first == last or len(search.trials) - first < MIN_MORE:
        return ""
    return (
        f"After trial {first} of {len(search.trials):,} the best score rose only by {abs(final - level):.4f} more, "
        f"less than its standard error of {error:.4f}: so many trials judged on {_what(search)} find what suits "
        "these rows by luck. Believe the test score; more rows or search.folds tell more than more trials."
    )


def _what(search: Search) -> str:
    if units := units_of(search.record.best_trial):
        return f"the same {counted(len(units), search.unit)}"
    return f"the same {search.num_rows.get('validation', 0):,} rows"


def gap(search: Search) -> str:
    """How far the test score is from what the search promised, in words; empty before there is one."""
    tested = test_score(search)
    if tested is None:
        return ""
    promised = float(search.record.best_trial["score"])
    worse_by = (promised - tested) * (1 if search.mode == "max" else -1)
    errors = [error for _, _, error in (score_rows(search)[0], score_rows(search)[-1]) if error is not None]
    if worse_by <= 0:
        return "On the test part the model is no worse than the search promised."
    told = f"On the test part the model is {worse_by:.4f} worse than the search promised"
    if len(errors) < 2:
        return f"{told}."
    both = math.hypot(*errors)
    if worse_by > CLEAR_GAP * both:
        return f"{told}, {worse_by / both:.1f} standard errors: it fitted its validation rows. Trust the test score."
    return f"{told}, {worse_by / both:.1f} standard errors: that much may be chance."
