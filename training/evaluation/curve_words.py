"""A learning curve in sentences: gap, level, and what more rows would bring."""

from collections.abc import Sequence

from training.evaluation.curve import Point, Spread
from training.evaluation.power_law import MIN_SIZES, PowerLaw, as_error
from training.evaluation.words import number
from training.metric_names import Mode

HEADS = ("rows", "training", "95 % interval", "validation", "95 % interval", "gap", "steps", "repeats", "took")
SMALL, LARGE = 0.1, 0.33  # shares of the validation error
WORTH, LITTLE = 0.05, 0.01  # of the validation error, by twice the rows
NO_ERROR = 1e-9
FEW_STEPS = 100  # of the optimizer: a small subset gives few, and its model has then not learned what it could


def reading(points: Sequence[Point], law: PowerLaw | None, metric: str, mode: Mode) -> tuple[str, ...]:
    """Sentences, the most important ones for a person who asks whether to gather more rows."""
    if not points:
        return ()
    if as_error(points[-1].validation.mean, mode) <= NO_ERROR:
        last = points[-1]
        return (
            f"On all {last.num_rows:,} rows nothing is wrong in validation ({metric} {number(last.validation.mean)}): "
            "these validation rows cannot show what more rows, or another model, would bring.",
        )
    told = [_gap(points, metric, mode), _level(points[-1], metric, mode), _slope(points, law, metric, mode)]
    if law is not None:
        told += [f"The law is not to be trusted much: {doubt}." for doubt in law.doubts]
    return tuple(sentence for sentence in [*told, _steps(points)] if sentence)


def row_text(point: Point) -> tuple[str, ...]:
    """One size as cells under `HEADS`."""
    return (
        f"{point.num_rows:,}",
        number(point.train.mean),
        spread_text(point.train),
        number(point.validation.mean),
        spread_text(point.validation),
        number(point.gap.mean),
        f"{point.num_steps:,.0f}",
        str(point.num_repeats),
        f"{point.seconds:.1f} s",
    )


def spread_text(spread: Spread) -> str:
    """The bounds, empty for one repeat."""
    return "" if spread.low is None or spread.high is None else f"{number(spread.low)} to {number(spread.high)}"


def _gap(points: Sequence[Point], metric: str, mode: Mode) -> str:
    last, first = points[-1], points[0]
    share = last.gap.mean / max(as_error(last.validation.mean, mode), 1e-12)
    verdict = "large: much of the error is variance, which more rows, regularisation or a smaller model can lower"
    if share < LARGE:
        verdict = "moderate: some of the error is variance"
    if share < SMALL:
        verdict = "small: little of the error is variance"
    bounds = f" ({spread_text(last.gap)})" if last.gap.low is not None else ""
    if last.gap.low is not None and last.gap.high is not None and last.gap.low <= 0 < last.gap.high and share >= SMALL:
        verdict = "too uncertain to read, more --repeats would tell"
    before = f", {number(first.gap.mean)} at {first.num_rows:,} rows" if len(points) > 1 else ""
    return (
        f"Gap: on all {last.num_rows:,} rows {metric} is {number(last.train.mean)} in training and "
        f"{number(last.validation.mean)} in validation, a gap of {number(last.gap.mean)}{bounds}{before}; it is "
        f"{verdict}."
    )


def _level(last: Point, metric: str, mode: Mode) -> str:
    train, validation = as_error(last.train.mean, mode), as_error(last.validation.mean, mode)
    share = train / max(validation, 1e-12)
    error = f"1 - {metric}" if mode == "max" else metric
    begin = f"Level: of the validation error ({error} {number(validation)}) the training rows show {number(train)}"
    if share > 1 - LARGE:
        return (
            f"{begin}, {min(share, 1):.0%}: that is bias, or noise in the data; a larger model, better columns or "
            "longer training may lower it, more rows do not."
        )
    return f"{begin}, {max(share, 0):.0%}: the model is able to fit its training rows; bias is not what holds it back."


def _slope(points: Sequence[Point], law: PowerLaw | None, metric: str, mode: Mode) -> str:
    if law is None:
        return (
            f"Slope: not fitted; {len(points)} sizes were measured, and at least {MIN_SIZES} are needed (--points 6)."
        )
    better = "raise" if mode == "max" else "lower"
    bounds = f"({number(law.gain_low)} to {number(law.gain_high)})"
    share = law.gain / max(as_error(points[-1].validation.mean, mode), 1e-12)
    begin = f"Slope: if the power law through {len(points)} sizes goes on, twice the rows ({2 * law.largest:,}) would"
    if law.gain <= 0:
        return f"{begin} not {better} {metric} {bounds}: more rows bring nothing."
    worth = "more rows are worth it" if share > WORTH else "more rows bring a little"
    if share < LITTLE:
        worth = "more rows bring hardly anything"
    if law.gain_low <= 0:
        worth = "the measurements do not tell whether more rows bring anything"
    return f"{begin} {better} {metric} by {number(law.gain)} {bounds}, {share:.1%} of the error: {worth}."


def _steps(points: Sequence[Point]) -> str:
    few = [point for point in points if point.num_steps < FEW_STEPS]
    if not few:
        return ""
    listed = ", ".join(f"{point.num_steps:.0f} at {point.num_rows:,} rows" for point in few[:3])
    return (
        f"Small sizes took few optimizer steps to their best epoch ({listed}), so a part of their error is too little "
        "training rather than too few rows."
    )
