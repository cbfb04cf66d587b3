"""The page's section on the compressed forms: which is served and why, what each takes and loses, on what machine."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from training.package.card_text import GOODNESS, digits
from training.package.manifest import Latency, SliceDrop, score_of
from training.report.compress_charts import variants as pareto_chart
from training.report.shell import Part, chart_grid, chart_part, together
from training.report.text import Cell, esc, facts, setting, size, table
from training.run_record import RunRecord
from training.variants_view import (
    WORDS,
    Form,
    SideBySide,
    Standing,
    allowed_text,
    drop_text,
    lost_word,
    price_text,
    side_by_side,
)

NAME = "variants"
# Beside the words, and as the chart draws them: nobody needs colours to tell them apart.
MARKS: Mapping[Standing, str] = {"chosen": "★", "front": "●", "kept": "◆", "refused": "○", "elsewhere": "–"}
SACRIFICED = "✕"
FEW_SLICES = 12  # of the chosen form: those that lost most


def variants(record: RunRecord) -> Part:
    """Empty where nothing was compressed yet."""
    seen = side_by_side(record)
    if seen is None:
        return Part()
    top = Part(f"<p><b>{MARKS['chosen']} {esc(seen.chosen)}</b>: {esc(seen.reason)}</p>")
    words = (_table(seen), _notes(seen), _not_made(seen), _slices(seen, record.task), _students(seen))
    rest = Part("".join(words) + _how(record, seen))
    return together([top, _chart(record, seen), rest]).section(NAME, "Variants")


def _chart(record: RunRecord, seen: SideBySide) -> Part:
    if not any(seen.objective.of(form) is not None and form.drop is not None for form in seen.alike):
        return Part()
    bars = "; bars are 95 % intervals" if any(form.low is not None for form in seen.alike) else ""
    caption = f"What each form takes and what it loses: the lower left is best{bars}; area: bytes of the file"
    return chart_grid([chart_part(NAME, caption, pareto_chart(record), wide=True)])


def _table(seen: SideBySide) -> str:
    columns = [column for column in _columns(seen) if any(cell[1] != "" for cell in column[2])]
    heads = [head for head, _, _ in columns]
    rows: list[Sequence[Cell]] = list(zip(*(cells for _, _, cells in columns), strict=True))
    grid = table(heads, rows, sortable=True, classes=[kind for _, kind, _ in columns])
    return f"<h3>All forms</h3>{grid}"


Column = tuple[str, str, list[tuple[str, Any]]]  # head, class, and of each form the HTML with the value to sort by


def _columns(seen: SideBySide) -> list[Column]:
    """A column of which nothing is known is left out by whoever shows them."""
    forms = seen.forms
    batches = sorted({rows for form in forms for rows in form.latency}, key=int)
    return [
        ("variant", "", [(_name(form), form.name) for form in forms]),
        ("verdict", "", [(_verdict(form), WORDS[form.standing]) for form in forms]),
        (seen.metric, "num", [_score(seen, form) for form in forms]),
        (f"{seen.lost} of {seen.judged_by} (95 % interval)", "num", [_drop(seen, form) for form in forms]),
        ("size", "num", [(_size(seen, form), form.variant.size_bytes) for form in forms]),
        *(
            (f"{rows} row{'' if rows == '1' else 's'}, p50 / p99", "num", [_latency(form, rows) for form in forms])
            for rows in batches
        ),
        ("memory", "num", [_number(form.memory_mb, _megabytes) for form in forms]),
        ("per million", "num", [_number(form.usd_per_million, price_text) for form in forms]),
        ("in fewer bits", "num", [_share(form.variant.weights_quantized_fraction) for form in forms]),
        ("taken out", "num", [_share(form.variant.weights_removed_fraction, is_rare=True) for form in forms]),
        ("answered otherwise", "num", [_others(form) for form in forms]),
        ("runtime", "", [(esc(_runtime(form)), _runtime(form)) for form in forms]),
        ("how", "", [(esc(" → ".join(form.variant.steps)) or "–", " ".join(form.variant.steps)) for form in forms]),
    ]  # fmt: skip


def _key(value: float | None) -> Any:
    """To sort by; what is not known or not a number comes last."""
    return "" if value is None or not math.isfinite(value) else value


def _number(value: float | None, words: Callable[[float], str]) -> tuple[str, Any]:
    return ("–" if value is None else words(value)), _key(value)


def _name(form: Form) -> str:
    return f"<b>{esc(form.name)} {MARKS['chosen']}</b>" if form.standing == "chosen" else esc(form.name)


def _verdict(form: Form) -> str:
    kind = {"refused": "worse", "chosen": "better"}.get(form.standing, "")
    text = f"{MARKS[form.standing]} {WORDS[form.standing]}"
    return f'<span class="{kind}">{text}</span>' if kind else text


def _score(seen: SideBySide, form: Form) -> tuple[str, Any]:
    found = score_of(form.variant, seen.metric)
    return esc(seen.score_text(form)), _key(found[1] if found else None)


def _drop(seen: SideBySide, form: Form) -> tuple[str, Any]:
    """The loss says which score it is of where the column's head does not, and is then not sorted among the others."""
    if form.name == seen.baseline:
        return "as trained", _key(form.drop)
    drop, low, high = (seen.drop_text(value, form.judged_by) for value in (form.drop, form.low, form.high))
    interval = f" ({low} to {high})" if form.low is not None and form.high is not None else ""
    return f"{drop}{interval}{esc(seen.of_other(form))}", _key(form.drop if form in seen.alike else None)


def _latency(form: Form, rows: str) -> tuple[str, Any]:
    found: Latency | None = form.latency.get(rows)
    return (f"{found.p50_ms:.3g} / {found.p99_ms:.3g} ms", found.p50_ms) if found else ("–", "")


def _megabytes(value: float) -> str:
    return f"{value:.3g} MB" if value < 100 else f"{value:,.0f} MB"


def _size(seen: SideBySide, form: Form) -> str:
    told, whole, own = size(form.variant.size_bytes), seen.baseline_bytes, form.variant.size_bytes
    if not whole or form.name == seen.baseline or not own:
        return told
    ratio, word = (whole / own, "smaller") if own <= whole else (own / whole, "larger")
    return f"{told}, {ratio:.3g}x {word}"


def _share(fraction: float, *, is_rare: bool = False) -> tuple[str, Any]:
    """A share of weights; a rare one that is nowhere above 0 has no column."""
    return f"{fraction:.1%}", "" if is_rare and not fraction else fraction


def _others(form: Form) -> tuple[str, Any]:
    quality = form.variant.quality
    if quality is None:
        return "–", ""
    return f"{quality.num_other_answers:,} of {quality.num_rows:,}", quality.num_other_answers


def _runtime(form: Form) -> str:
    return form.variant.runtime if form.variant.device == "cpu" else f"{form.variant.runtime}, {form.variant.device}"


def _notes(seen: SideBySide) -> str:
    """The chosen one's reason stands above."""
    told = [(form.name, form) for form in seen.forms if form.note and form.standing != "chosen"]
    if not told:
        return ""
    pairs = facts((f"{MARKS[form.standing]} {name}", esc(form.note)) for name, form in told)
    return f"<h3>Why not the others</h3>{pairs}"


def _not_made(seen: SideBySide) -> str:
    if not seen.not_made:
        return ""
    return f"<h3>Not made</h3>{facts((form, esc(reason)) for form, reason in seen.not_made.items())}"


def _slices(seen: SideBySide, task: str) -> str:
    """Of the chosen form those that lost most, of a refused one those that were sacrificed."""
    is_error = task == "regression"
    told = sorted(seen.forms, key=lambda form: form.standing != "chosen")
    rows = [_slice_row(form, found, is_error) for form in told for found in _slices_of(form)]
    if not rows:
        return ""
    allowed = f" {allowed_text(seen.slice_drop, is_share=is_error)} is allowed." if seen.slice_drop is not None else ""
    about = (
        f"The {FEW_SLICES} slices that lost most with the chosen form, and those that another one sacrificed: more was "
        f"lost there than is allowed, and not by chance (paired test).{allowed}"
    )
    heads = ("variant", "slice", "rows", f"{seen.baseline}'s", "its own", lost_word(is_error=is_error), "p-value", "")
    what = GOODNESS.get(task, "share of right answers")
    grid = table(heads, rows, classes=("", "cause", *["num"] * 5, ""))
    return f"<h3>Slices: {what}</h3><p class='muted'>{esc(about)}</p>{grid}"


def _slices_of(form: Form) -> list[SliceDrop]:
    found = form.variant.quality.slices if form.variant.quality else ()
    if form.standing == "chosen":
        return sorted(found, key=lambda each: each.drop, reverse=True)[:FEW_SLICES]
    return [each for each in found if each.sacrificed] if form.standing == "refused" else []


def _slice_row(form: Form, found: SliceDrop, is_error: bool) -> tuple[str, ...]:
    mark = f'<span class="worse">{SACRIFICED} sacrificed</span>' if found.sacrificed else "kept"
    return (
        _name(form), esc(f"{found.column} = {found.value}"), f"{found.num_rows:,}", digits(found.baseline),
        digits(found.score), drop_text(found.drop, is_share=is_error), f"{found.p_value:.2g}", mark,
    )  # fmt: skip


def _students(seen: SideBySide) -> str:
    """The sizes that distillation tried."""
    if not seen.distilled:
        return ""
    rows: list[Sequence[Cell]] = [
        (
            _number(each.get("share"), "{:.0%}".format), _number(each.get("num_weights"), "{:,.0f}".format),
            _number(each.get("validation_score"), digits),
            (esc(each.get("failed") or _settings(each.get("settings"))), ""),
        )
        for each in seen.distilled
    ]  # fmt: skip
    heads = ("width of the trained model's", "weights", "validation score", "settings")
    about = "Smaller models that learned from the answers of the trained one."
    grid = table(heads, rows, sortable=True, classes=("num", "num", "num", "cause"))
    return f"<details><summary>Students tried: {len(rows)}</summary><p class='muted'>{about}</p>{grid}</details>"


def _settings(told: Any) -> str:
    if isinstance(told, Mapping):
        return ", ".join(f"{key}={setting(value)}" for key, value in told.items())
    return "–" if told is None else setting(told)


def _how(record: RunRecord, seen: SideBySide) -> str:
    """The machine that the figures hold for."""
    compared = seen.comparison
    if compared is None:
        machine = str(record.last("started").get("machine") or "")
        return facts([("measured on", esc(machine))]) if machine else ""
    allowed = f", {seen.allowed} of {seen.judged_by} may be lost" if seen.allowed else ""
    when = f"{datetime.fromisoformat(compared.at):%Y-%m-%d %H:%M} UTC"
    pairs = [
        ("measured on", compared.machine.description), ("at", when),
        ("threads of a call", str(compared.num_threads)), ("target", compared.target),
        ("decided by", f"{seen.objective.title}{allowed}"),
        ("price of a node", f"${compared.usd_per_hour:,.4g} an hour" if compared.usd_per_hour else ""),
    ]  # fmt: skip
    return f"<h3>How it was measured</h3>{facts((name, esc(text)) for name, text in pairs if text)}"
