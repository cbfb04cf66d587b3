"""The measured part of the model card: variants, slices of the held-out rows, cost; in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.package.card_text import GOODNESS, digits, table, text
from training.package.manifest import Comparison, Cost, Latency, Manifest, SliceDrop, Variant, score_of

MAX_SLICES = 20  # rows of a table of slices; the worst ones


@dataclass(frozen=True)
class SliceScore:
    """The score that had to be kept, on some of the held-out rows."""

    metric: str  # with the part that the rows are of: "test/roc_auc"
    column: str
    value: str
    num_rows: int
    score: float
    low: float | None = None  # 95 % interval
    high: float | None = None


def variants_section(manifest: Manifest) -> str:
    """Each variant with its score, speed, size and machine; which one is served, and why."""
    heads = ("variant", manifest.metric, "one row, p50 / p99 ms", "32 rows, p50 / p99 ms", "size",
             "weights below 32 bits", "weights removed")  # fmt: skip
    rows = [_variant_row(variant, manifest) for variant in manifest.variants]
    parts = [
        f"## Variants\n\n{table(heads, rows)}",
        f"Chosen: **{manifest.chosen}**. {_sentence(manifest.chosen_reason)}",
        _machines(manifest),
        _all_scores(manifest),
    ]
    if manifest.not_made:
        parts.append("Tried in vain:\n\n" + _items(f"{name}: {text(why)}" for name, why in manifest.not_made.items()))
    return "\n\n".join(parts)


def slices_section(manifest: Manifest, slices: Sequence[SliceScore]) -> str:
    """How good the model is on parts of the held-out rows, and what the chosen variant lost there. Empty without.

    Args:
        manifest: with what was lost.
        slices: all of one score, the worst first.
    """
    parts = []
    if slices:
        rows = [
            (text(part.column), text(part.value), f"{part.num_rows:,}", digits(part.score), _interval(part))
            for part in slices[:MAX_SLICES]
        ]
        heads = ("column", "value", "rows", text(slices[0].metric), "95 % interval")
        parts.append(f"The worst ones first{_of(len(slices))}.\n\n{table(heads, rows)}")
    parts += _lost(manifest)
    return "## Quality by slice\n\n" + "\n\n".join(parts) if parts else ""


def cost_section(manifest: Manifest) -> str:
    """What each variant takes on the machine that was measured last. Empty for a package that recorded none."""
    if not manifest.comparisons:
        return ""
    newest = manifest.comparisons[-1]
    sizes = sorted({size for cost in newest.costs.values() for size in cost.latency}, key=int)
    heads = ("variant", *(f"{size} row{'s' if size != '1' else ''}, p50 / p99 ms" for size in sizes), "memory",
             "USD per million")  # fmt: skip
    rows = [_cost_row(name, cost, sizes) for name, cost in newest.costs.items()]
    section = f"## Cost\n\n{table(heads, rows)}\n\n{_about(newest)}"
    if (newest.chosen, newest.reason) == (manifest.chosen, manifest.chosen_reason):
        return section  # said above
    return f"{section}\n\nChosen there: **{newest.chosen}**. {_sentence(newest.reason)}"


def _variant_row(variant: Variant, manifest: Manifest) -> tuple[str, ...]:
    one, many = (_latency(variant.latency.get(batch_size)) for batch_size in ("1", "32"))
    name = variant.name if variant.offered else f"{variant.name} (not offered)"
    return (
        name, _score(variant, manifest.metric), one, many, _size(variant.size_bytes),
        f"{variant.weights_quantized_fraction:.1%}", f"{variant.weights_removed_fraction:.1%}",
    )  # fmt: skip


def _machines(manifest: Manifest) -> str:
    names: dict[str, list[str]] = {}
    for variant in manifest.variants:
        where = variant.machine.description if variant.machine else manifest.lineage.machine
        said = f"{text(where) or 'a machine not recorded'}{_threads_of(variant, manifest)}"
        names.setdefault(said, []).append(variant.name)
    said = "Latency is of the model alone, on: "
    if len(names) == 1:
        return f"{said}{next(iter(names))}."
    return said + "\n\n" + _items(f"{', '.join(of_machine)}: {where}" for where, of_machine in names.items())


def _threads_of(variant: Variant, manifest: Manifest) -> str:
    """Threads of a call, as the comparison has it that these times are of; that one may be gone."""
    for comparison in manifest.comparisons:
        cost = comparison.costs.get(variant.name)
        if cost is not None and cost.latency == variant.latency:
            return f", {_threads(comparison)} a call"
    return ""


def _all_scores(manifest: Manifest) -> str:
    names = list(dict.fromkeys(name for variant in manifest.variants for name in variant.metrics))
    rows = [(name, *(digits(variant.metrics.get(name)) for variant in manifest.variants)) for name in names]
    return table(("score", *(variant.name for variant in manifest.variants)), rows)


def _lost(manifest: Manifest) -> list[str]:
    judged = [variant for variant in manifest.variants if variant.quality and variant.quality.slices]
    if not judged:
        return []
    chosen = next((variant for variant in judged if variant.name == manifest.chosen), judged[0])
    assert chosen.quality is not None, "picked for it"
    worst = sorted(chosen.quality.slices, key=lambda part: part.drop, reverse=True)
    rows = [_slice_row(part) for part in worst[:MAX_SLICES]]
    unit = GOODNESS[manifest.task]
    heads = ("column", "value", "rows", f"baseline, {unit}", f"{chosen.name}, {unit}", "loss", "p")
    sacrificed = [f"{text(part.column)} = {text(part.value)}" for part in worst if part.sacrificed]
    verdict = f"Sacrificed: {', '.join(sacrificed)}." if sacrificed else "No slice is sacrificed for the mean."
    said = f"What {chosen.name} lost, the most first{_of(len(worst))}; p is of a paired test that nothing was lost."
    return [f"{said}\n\n{table(heads, rows)}\n\n{verdict}"]


def _slice_row(part: SliceDrop) -> tuple[str, ...]:
    return (
        text(part.column), text(part.value), f"{part.num_rows:,}", digits(part.baseline), digits(part.score),
        digits(part.drop, "+"), f"{part.p_value:.2g}",
    )  # fmt: skip


def _cost_row(name: str, cost: Cost, sizes: list[str]) -> tuple[str, ...]:
    memory = f"{cost.memory_mb:.3g} MB" if cost.memory_mb is not None else "-"
    price = f"{cost.usd_per_million:.3g}" if cost.usd_per_million is not None else "-"
    return name, *(_latency(cost.latency.get(size)) for size in sizes), memory, price


def _about(comparison: Comparison) -> str:
    price = f", at {comparison.usd_per_hour:g} USD an hour" if comparison.usd_per_hour else ""
    return (
        f"Measured {comparison.at} on {text(comparison.machine.description)}{price}, {_threads(comparison)} a call; "
        "memory is what a variant adds to a bare process."
    )


def _threads(comparison: Comparison) -> str:
    return f"{comparison.num_threads} thread{'s' if comparison.num_threads > 1 else ''}"


def _latency(found: Latency | None) -> str:
    return f"{found.p50_ms:.3g} / {found.p99_ms:.3g}" if found else "-"


def _score(variant: Variant, metric: str) -> str:
    """With its name where it is of other rows than the column's head says."""
    name, value = score_of(variant, metric) or (metric, None)
    return digits(value) if name == metric else f"{digits(value)} ({name})"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1024:.0f} KiB" if num_bytes < 2**20 else f"{num_bytes / 2**20:.1f} MiB"


def _interval(part: SliceScore) -> str:
    return f"{digits(part.low)} to {digits(part.high)}" if part.low is not None and part.high is not None else "-"


def _of(num_slices: int) -> str:
    return f", {MAX_SLICES} of {num_slices}" if num_slices > MAX_SLICES else ""


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _sentence(reason: str) -> str:
    return f"{text(reason).rstrip('.')}."
