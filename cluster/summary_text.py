"""The lines that `manta run` and `manta tune` end with: what a run, or its search, came to, for people."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from cluster.console import duration, table_lines
from training.event_text import listed
from training.journal import Event
from training.package.card_text import digits
from training.package.manifest import Manifest
from training.run_folder import in_yaml
from training.run_record import RunRecord
from training.search.limits.ledger import Totals, ledger_text
from training.summary import FoldsSummary, summarise
from training.variants_view import WORDS, Form, Objective, SideBySide, of_package, side_by_side

WIDTH = 120  # of the variants' table
MOST_VARIANTS = 10  # shown of them; the report has all


def summary_text(record: RunRecord) -> str:
    """One line a fact, then the variants side by side. What has not happened is left out."""
    lines = [f"{name:<10} {text}" for name, text in _facts(record) if text]
    if seen := side_by_side(record):
        lines += ["", *_variant_lines(seen)]
    return "\n".join(lines)


def package_text(manifest: Manifest) -> str:
    """The variant that was chosen last, why, and all of them side by side."""
    seen = of_package(manifest)
    return "\n".join([f"{'variant':<10} {seen.chosen}: {seen.reason}", "", *_variant_lines(seen)])


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    compressed, packaged, registered = (record.last(kind) for kind in ("compressed", "packaged", "registered"))
    report = record.folder / "report.html"
    stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in record.seconds_by_stage.items())
    return [
        ("run", f"{record.name}: {record.state}, {duration(record.seconds)}" + (f" ({stages})" if stages else "")),
        ("failure", _failure(record)),
        ("data", _data(record.last("data"))),
        ("search", _search(record.last("searched"))),
        ("spent", spent_text(record)),
        ("training", _fit(record.last("fit"))),
        ("folds", folds_summary(summarise(record.folder).cross_validation, absent="")),
        ("score", f"{packaged['metric']} {digits(packaged['score'])}" if packaged else ""),
        ("variant", f"{compressed['chosen']}: {compressed['reason']}" if compressed else ""),
        ("served", _served(record.last("served"))),
        ("release", f"{registered['name']}@{registered['version']}" if registered else ""),
        ("package", packaged.get("path", "")),
        ("report", str(report) if report.exists() else ""),
    ]


def _failure(record: RunRecord) -> str:
    """Of the newest execution, whole: `manta runs` shows the beginning of it."""
    if record.state != "failed":
        return ""
    return str(record.last("failed").get("message") or "").replace("\n", f"\n{'':<11}")


def tune_text(outcome: Mapping[str, Any]) -> str:
    """The best trial of a search with its settings, and the Pareto front. `outcome` is what `work.tune` gave."""
    lines = [f"{outcome['metric']}: {digits(outcome['score'])} ({outcome['trial']})"]
    lines += [f"{name}: {_value(name, value)}" for name, value in outcome["values"].items() if name != "score"]
    lines += [f"{key}: {in_yaml(value)}" for key, value in outcome["params"].items()]
    lines += [f"ended: {outcome['ended']}"] if outcome["ended"] else []
    if outcome["front"]:
        lines += ["", "the Pareto front: no trial is better than one of these in everything", *_front_lines(outcome)]
    return "\n".join(lines)


def _front_lines(outcome: Mapping[str, Any]) -> list[str]:
    names = list(outcome["values"])
    front = outcome["front_values"].items()
    rows = [[trial, *(_value(name, values.get(name)) for name in names)] for trial, values in front]
    return [f"  {line}" for line in table_lines([["trial", *names], *rows])]


def _value(objective: str, value: float | None) -> str:
    if value is None:
        return "-"
    return digits(value) if objective == "score" else f"{value:.4g}"


def folds_summary(found: FoldsSummary | None, absent: str = "-") -> str:
    """A cross-validation in a few words."""
    if found is None or found.mean is None:
        return absent
    interval = (
        f" ({digits(found.low)} to {digits(found.high)})" if found.low is not None and found.high is not None else ""
    )
    seeds = f" x {found.num_seeds} seeds" if found.num_seeds > 1 else ""
    return f"{found.metric} {digits(found.mean)}{interval}, {found.num_folds} folds{seeds}"


def _data(event: Event) -> str:
    parts = [f"{count:,} {part}" for part, count in event.get("num_rows", {}).items()]
    if num_bad := event.get("counts", {}).get("bad"):
        parts.append(f"{num_bad:,} set aside (quarantine.parquet)")
    return ", ".join(parts)


def _search(event: Event) -> str:
    if not event:
        return ""
    counts = [(event["num_complete"], "complete"), (event["num_pruned"], "pruned"), (event["num_failed"], "failed")]
    trials = ", ".join(f"{count} {state}" for count, state in counts if count) or "none trained to its end"
    early = f"; {ended}" if (ended := event.get("ended", "")) and not ended.startswith("all ") else ""
    return f"{event['best_trial']} is best, {event['metric']} {digits(event['best_score'])} ({trials}{early})"


def spent_text(record: RunRecord) -> str:
    """What the search took of the devices; empty where there was none."""
    ledger, began = record.last("searched").get("ledger"), record.last("search")
    if not ledger:
        return ""
    device = "GPU" if began.get("gpus_per_slot") else "CPU"
    return ledger_text(Totals.of(ledger), began.get("usd_per_device_hour"), device)


def _fit(event: Event) -> str:
    return f"best epoch {event['best_epoch']}, {event['num_workers']} worker(s)" if event else ""


def _served(event: Event) -> str:
    if not event:
        return ""
    return (
        f"{event['url']}: {event['num_rows']} held-out rows over HTTP, {event['agree_fraction']:.1%} as computed here; "
        f"p50 {event['p50_ms']:.1f} ms, p99 {event['p99_ms']:.1f} ms"
    )


def _variant_lines(seen: SideBySide) -> list[str]:
    """The objective beside score, memory and size; then what could not be made."""
    timed = Objective("latency_p99", 1)
    objectives = [each for each in dict.fromkeys((seen.objective, timed)) if each.name != "size"]
    lost = seen.lost if seen.judged_by == seen.metric else f"{seen.lost} of {seen.judged_by}"
    heads = ["  variant", seen.metric, lost, *(each.title for each in objectives), "memory", "size", ""]
    forms = _shown(seen)
    lines = table_lines([heads, *(_variant_row(form, seen, objectives) for form in forms)])
    more = len(seen.forms) - len(forms)
    left_out = [f"  and {more} more, see the report"] if more else []
    return [*(_cut(line) for line in lines), *left_out, *_not_made(seen)]


def _shown(seen: SideBySide) -> list[Form]:
    """As many as a screen has room for: those that matter most, in the order in which they were made."""
    ranks = list(WORDS)

    def rank(form: Form) -> tuple[bool, int, float]:
        value = seen.objective.of(form)
        others = form.name not in (seen.chosen, seen.baseline)
        return others, ranks.index(form.standing), float("inf") if value is None else value

    names = {form.name for form in sorted(seen.forms, key=rank)[:MOST_VARIANTS]}
    return [form for form in seen.forms if form.name in names]


def _variant_row(form: Form, seen: SideBySide, objectives: Sequence[Objective]) -> list[str]:
    drop = f"{seen.drop_text(form.drop, form.judged_by)}{seen.of_other(form)}"
    return [
        f"{'*' if form.standing == 'chosen' else ' '} {form.name}",
        seen.score_text(form).replace("–", "-"),
        "" if form.name == seen.baseline else drop.replace("–", "-"),
        *(_objective_value(each, form) for each in objectives),
        "-" if form.memory_mb is None else f"{form.memory_mb:.0f} MB",
        f"{form.variant.size_bytes / 1024:.0f} KiB",
        WORDS[form.standing] + (f": {form.note}" if form.note and form.standing == "refused" else ""),
    ]


def _objective_value(objective: Objective, form: Form) -> str:
    value = objective.of(form)
    if value is None:
        return "-"
    return f"{value:.3f} ms" if objective.is_latency else f"{value:.3g}"


def _not_made(seen: SideBySide) -> list[str]:
    """Forms of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for form, reason in seen.not_made.items():
        by_reason.setdefault(reason, []).append(form)
    told = "; ".join(f"{listed(forms)} ({reason})" for reason, forms in by_reason.items())
    return wrap(f"not made: {told}", WIDTH, initial_indent="  ", subsequent_indent="    ") if told else []


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1].rstrip()}…"
