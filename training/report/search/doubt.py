"""Whether the best score is to be believed: its 95 % interval, how the search rose, and the untouched test part."""

import math

from training.evaluation.calibration import Z_95, wilson_interval
from training.event_text import counted
from training.report.search.view import Search, units_of
from training.report.shell import Part
from training.report.text import esc, score, table

SHARES = ("accuracy", "subset_accuracy")  # of rows that are right: their interval follows from their number
MIN_MORE = 10  # trials after which a search may be called too long
CLEAR_GAP = 2.0  # standard errors
Interval = tuple[float, float]


def doubt(search: Search) -> Part:
    """Table of the scores of the best, and what they say; empty without a finished trial."""
    if not search.leaders:
        return Part()
    rows = score_rows(search)
    cells = [(esc(name), score(value), _shown(interval)) for name, value, interval in rows]
    said = "".join(f"<p>{esc(sentence)}</p>" for sentence in (over_searched(search), gap(search)) if sentence)
    is_worth_it = len(rows) > 1 or rows[0][2] is not None
    heads = ("", search.metric.removeprefix("validation/"), "95 % interval")
    grid = table(heads, cells, classes=("cause", "num", "num"))
    return Part((grid if is_worth_it else "") + said)


def _shown(interval: Interval | None) -> str:
    return "–" if interval is None else f"{score(interval[0])} to {score(interval[1])}"


def score_rows(search: Search) -> list[tuple[str, float, Interval | None]]:
    """What was judged on which rows, the score, and its 95 % interval where that is known."""
    rows = search.num_rows
    plain = search.metric.removeprefix("validation/")
    leader = search.best_trial
    found = [(f"best trial {leader['trial']}, {_judged(search)}", float(leader["score"]), best_interval(search))]
    fitted = search.record.last("fit").get("metrics", {}).get(search.metric)
    if fitted is not None:
        interval = share_interval(plain, fitted, rows.get("validation"))
        found.append((f"final model, validation{_rows(rows.get('validation'))}", float(fitted), interval))
    tested = test_score(search)
    if tested is not None:
        interval = share_interval(plain, tested, rows.get("test"))
        found.append((f"final model, test{_rows(rows.get('test'))}, seen by no trial", tested, interval))
    return found


def _judged(search: Search) -> str:
    return (
        f"mean of {trainings}" if (trainings := _trainings(search)) else f"validation{_rows(_num_validation(search))}"
    )


def _trainings(search: Search) -> str:
    """By how many the best trial was judged; empty where it is one."""
    trial = search.best_trial
    if search.unit == search.part:
        return counted(len(units), search.unit) if (units := units_of(trial)) else ""
    num = sum(part.get("score") is not None for part in trial.get("replicates") or ())
    return f"{counted(num, search.unit)} on {counted(len(units_of(trial)), search.part)}" if num else ""


def _num_validation(search: Search) -> int | None:
    return search.num_rows.get("validation")


def _rows(number: int | None) -> str:
    return "" if number is None else f" of {number:,} rows"


def share_interval(plain: str, value: float, num_rows: int | None) -> Interval | None:
    """Wilson's 95 % interval of a share of rows, which has a width also where all are right; None for other scores."""
    if plain not in SHARES or not num_rows or not 0 <= value <= 1:
        return None
    return wilson_interval(value * num_rows, num_rows)


def share_error(plain: str, value: float, num_rows: int | None) -> float | None:
    """Standard error of a share of rows: that of a normal distribution whose 95 % interval is as wide as Wilson's."""
    interval = share_interval(plain, value, num_rows)
    return None if interval is None else (interval[1] - interval[0]) / (2 * Z_95)


def best_interval(search: Search) -> Interval | None:
    """95 % interval of the best trial's score: over its folds or seeds, else by the number of validation rows."""
    leader = search.best_trial
    units = list(units_of(leader).values())
    if len(units) > 1:
        spread = search.spread(units)
        return None if spread.low is None or spread.high is None else (spread.low, spread.high)
    return share_interval(search.metric.removeprefix("validation/"), leader["score"], _num_validation(search))


def best_error(search: Search) -> float | None:
    """Standard error of the same."""
    leader = search.best_trial
    units = list(units_of(leader).values())
    if len(units) > 1:
        deviation = search.spread(units).deviation
        return None if deviation is None else deviation * math.sqrt(1 / len(units) + search.held_over_trained)
    return share_error(search.metric.removeprefix("validation/"), leader["score"], _num_validation(search))


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
    return f"the same {_trainings(search) or counted(_num_validation(search) or 0, 'row')}"


def gap(search: Search) -> str:
    """How far the test score is from what the search promised, in words; empty before there is one."""
    tested = test_score(search)
    if tested is None:
        return ""
    promised = float(search.best_trial["score"])
    worse_by = (promised - tested) * (1 if search.mode == "max" else -1)
    plain = search.metric.removeprefix("validation/")
    known = (best_error(search), share_error(plain, tested, search.num_rows.get("test")))
    errors = [error for error in known if error is not None]
    if worse_by <= 0:
        return "On the test part the model is no worse than the search promised."
    told = f"On the test part the model is {worse_by:.4f} worse than the search promised"
    if len(errors) < 2:
        return f"{told}."
    both = math.hypot(*errors)
    if worse_by > CLEAR_GAP * both:
        return f"{told}, {worse_by / both:.1f} standard errors: it fitted its validation rows. Trust the test score."
    return f"{told}, {worse_by / both:.1f} standard errors: that much may be chance."
