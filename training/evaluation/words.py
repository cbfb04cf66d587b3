"""An evaluation in words and rows of text, for the terminal and the page alike."""

from collections.abc import Sequence

from training.evaluation.bootstrap import Estimate
from training.evaluation.evaluate import BRIER, Evaluation
from training.evaluation.slices import MIN_ROWS_TO_JUDGE, Slice
from training.package.drift import MUCH, SOME, Shift
from training.package.reference import SCORES, VALUE

MAX_ALSO = 3
MAX_TEXT = 48  # characters of a value from data
OF_ONE_CLASS = "f1/"


def plain(text: str) -> str:
    """A value from data as a terminal may print it: short, on one line, without control characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text[: MAX_TEXT + 1])
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 3]}..."


def number(value: float | None) -> str:
    """A score with the digits that tell models apart; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.5g}"


def interval(estimate: Estimate) -> str:
    """Its bounds, empty where there are none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def rows_text(found: Evaluation) -> str:
    """How many rows were judged, and how many were not."""
    left_out = f"{found.num_without_target:,} more without a target are left out"
    classes = ", ".join(f"{label} {count:,}" for label, count in list(found.classes.items())[:10])
    more = f" and {len(found.classes) - 10} more classes" if len(found.classes) > 10 else ""
    return "; ".join(
        [f"{found.num_rows:,} rows", *([left_out] if found.num_without_target else [])]
        + ([f"{classes}{more}"] if classes else [])
    )


def interval_text(found: Evaluation) -> str:
    """How intervals were made."""
    if not found.num_resamples:
        return "without intervals"
    made = f"{100 * found.level:.0f} % intervals: {found.interval}, {found.num_resamples:,} resamples of the rows"
    return f"{made}; marked where the package's own score lies outside"


def main_scores(found: Evaluation) -> list[str]:
    """Scores of all rows by name, the one that decided about the package first; without those of single classes."""
    names = [name for name in found.scores if not name.startswith(OF_ONE_CLASS)]
    return sorted(names, key=lambda name: name != found.metric)


def against_package(found: Evaluation, name: str) -> str:
    """Whether the package's own score lies outside the interval here: better, worse, or nothing."""
    own, here = found.packaged.get(name), found.scores[name]
    if own is None or here.value is None or here.holds(own) is not False:
        return ""
    is_better = (here.value < own) == (found.mode(name) == "min")
    return "better here" if is_better else "worse here"


def calibration_text(found: Evaluation) -> str:
    """What the reliability plot comes to."""
    judged = found.calibration
    if judged is None:
        return ""
    lean = "too high" if judged.bias > 0 else "too low"
    scores = f"Brier {number(found.scores[BRIER].value)}, log loss {number(found.scores['log_loss'].value)}"
    return (
        f"{judged.about}: off by {judged.expected_error:.4f} on average, and {abs(judged.bias):.4f} {lean} altogether; "
        f"were every probability right, chance alone would still give up to {judged.chance:.4f}; {scores}"
    )


def slice_mark(part: Slice, score: str) -> str:
    """worse or better where a slice differs in a score, with a question mark where it may by chance."""
    if part.num_rows < MIN_ROWS_TO_JUDGE:
        return "few rows"
    verdict = part.differs.get(score, "")
    return verdict if not verdict or score in part.surely else f"{verdict}?"


def slice_also(part: Slice, score: str) -> str:
    """Other scores in which the slice surely differs."""
    names = [name for name in part.surely if name != score and not name.startswith(OF_ONE_CLASS)]
    others = [f"{name} {part.differs[name]}" for name in names]
    return ", ".join(others[:MAX_ALSO]) + (" ..." if len(others) > MAX_ALSO else "")


def slice_legend(slices: Sequence[Slice]) -> str:
    """What the marks of slices mean."""
    return (
        "worse or better: the score of all rows lies outside the slice's interval; with a question mark: among the "
        f"{len(slices)} slices looked at it may by chance"
    )


def shift_name(moved: Shift) -> str:
    """The column, and what of it where that is not its value."""
    return moved.input if moved.measure == VALUE else f"{moved.input}, {moved.measure}"


def answer_shift_name(moved: Shift) -> str:
    """The target, or what of the model's answers."""
    return f"answers, {moved.measure}" if moved.input == SCORES else f"the target, {moved.input}"


def shift_notes(moved: Shift) -> str:
    """What else is to be seen of a column that moved: missing values, numbers out of range, unknown categories."""
    notes = []
    if abs(moved.missing_now - moved.missing_before) >= 0.0005:
        notes.append(f"missing {moved.missing_before:.1%} then, {moved.missing_now:.1%} now")
    if moved.outside:
        notes.append(f"{moved.outside:.2%} outside the range seen in training")
    if moved.new:
        named = f": {', '.join(map(plain, moved.new_categories))}" if moved.new_categories else ""
        notes.append(f"{moved.new:.2%} categories unknown to the model{named}")
    return "; ".join(notes)


def shift_legend() -> str:
    """What the index means."""
    return (
        f"population stability index: below {SOME} little, above {MUCH} much moved; chance: what it stays below in "
        "95 % of cases where nothing moved"
    )
