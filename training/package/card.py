"""The model card: what a person should know before relying on the model, in Markdown."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.package.dates import iso_texts
from training.package.manifest import InputSpec, Manifest, Variant

MAX_LISTED = 8  # categories or pixels spelled out


@dataclass(frozen=True)
class CardFacts:
    """What the card says beyond the manifest."""

    source: str
    target: str
    architecture: str
    port: int
    example: Mapping[str, Any]  # one row as a client would send it
    test_source: str | None = None
    num_rows: Mapping[str, int] = field(default_factory=dict)  # by part
    threshold_goal: str = ""  # the score that the threshold was tuned for; empty where it was given
    balanced_by: tuple[str, ...] = ()  # settings that made rare classes count more than their share of the rows


def model_card(manifest: Manifest, facts: CardFacts) -> str:
    """Markdown in sections: use, data, inputs, measured quality, calling it, limits, lineage."""
    sections = [
        f"# {_text(manifest.name)}",
        _use(manifest, facts),
        _data(facts),
        _inputs(manifest),
        _variants(manifest),
        _calling(manifest, facts),
        _limits(manifest, facts),
        _lineage(manifest, facts),
    ]
    return "\n\n".join(sections) + "\n"


def _use(manifest: Manifest, facts: CardFacts) -> str:
    answer = _answer(manifest)
    chosen = manifest.variant()
    return (
        f"Predicts `{_text(facts.target)}`, {answer}, for rows like those of `{_text(facts.source)}`. "
        f"Held-out score: {manifest.metric} **{chosen.metrics[manifest.metric]:.4f}** "
        f"({'higher' if manifest.metric_mode == 'max' else 'lower'} is better), with the variant {chosen.name}.\n\n"
        f"{_threshold(manifest, facts)}"
        "Who may use it for what, and what must not be decided by it, is for its owner to write here."
    )


def _answer(manifest: Manifest) -> str:
    match manifest.task:
        case "classification":
            return f"one of {len(manifest.labels)} classes ({_listed(manifest.labels)})"
        case "multilabel":
            return f"any of {len(manifest.labels)} labels ({_listed(manifest.labels)})"
        case "language_modelling":
            return "the mean log-likelihood of each of its bytes (nats)"
    return "a number"


def _threshold(manifest: Manifest, facts: CardFacts) -> str:
    if manifest.threshold is None:
        return ""
    if manifest.task == "multilabel":
        return f"A label is given where its probability is at least **{manifest.threshold:.4g}**.\n\n"
    negative, positive = map(_text, manifest.labels)
    goal = f"tuned for {facts.threshold_goal} on the validation part" if facts.threshold_goal else "given, not tuned"
    return (
        f"The label is `{positive}` where its probability is at least **{manifest.threshold:.4g}** ({goal}), "
        f"else `{negative}`.\n\n"
    )


def _data(facts: CardFacts) -> str:
    lines = ["## Data", "", f"- Source: `{_text(facts.source)}`"]
    if facts.test_source:
        lines.append(f"- Held-out source: `{_text(facts.test_source)}`")
    if facts.num_rows:
        lines.append("- Rows: " + ", ".join(f"{count:,} {part}" for part, count in facts.num_rows.items()))
    lines.append(
        "- Transforms were fitted on the training part alone. Scores are of the test part, which took no part."
    )
    return "\n".join(lines)


def _inputs(manifest: Manifest) -> str:
    rows = [(f"`{_text(spec.name)}`", spec.kind, spec.datatype, _seen(spec)) for spec in manifest.inputs]
    return f"## Inputs\n\n{_table(('input', 'kind', 'datatype', 'seen in training'), rows)}"


def _seen(spec: InputSpec) -> str:
    if spec.kind == "categorical":
        return _listed(spec.categories)
    size = f"{'x'.join(map(str, spec.shape))}, " if spec.shape else ""
    if spec.minimum is None or spec.maximum is None:
        return size.rstrip(", ")
    if spec.kind == "date":
        first, last = iso_texts(np.array([spec.minimum, spec.maximum]).astype("datetime64[s]"))
        return f"{first} to {last}"
    return f"{size}{spec.minimum:g} to {spec.maximum:g}"


def _variants(manifest: Manifest) -> str:
    heads = ("variant", manifest.metric, "one row, p50 / p99 ms", "32 rows, p50 / p99 ms", "size", "weights in 8 bits")
    rows = [_variant_row(variant, manifest) for variant in manifest.variants]
    machine = _text(manifest.lineage.machine) or "a machine not recorded"
    return (
        f"## Variants\n\n{_table(heads, rows)}\n\n"
        f"Served: **{manifest.chosen}**. {_text(manifest.chosen_reason)}.\n\n"
        f"Latency is of the model alone, one thread, on: {machine}.\n\n"
        f"{_all_scores(manifest)}"
    )


def _variant_row(variant: Variant, manifest: Manifest) -> tuple[str, ...]:
    score = f"{variant.metrics.get(manifest.metric, float('nan')):.4f}"
    one, many = (_latency(variant, batch_size) for batch_size in ("1", "32"))
    name = variant.name if variant.offered else f"{variant.name} (not offered)"
    return name, score, one, many, f"{variant.size_bytes / 1024:.0f} KiB", f"{variant.weights_quantized_fraction:.1%}"


def _latency(variant: Variant, batch_size: str) -> str:
    found = variant.latency.get(batch_size)
    return f"{found.p50_ms:.3g} / {found.p99_ms:.3g}" if found else "-"


def _all_scores(manifest: Manifest) -> str:
    names = list(manifest.variants[0].metrics)
    rows = [
        (name, *(f"{variant.metrics.get(name, float('nan')):.4f}" for variant in manifest.variants)) for name in names
    ]
    return _table(("score", *(variant.name for variant in manifest.variants)), rows)


def _calling(manifest: Manifest, facts: CardFacts) -> str:
    record = json.dumps([facts.example], ensure_ascii=False)
    if len(record) > 1000:  # an image: its shape says more than its numbers
        images = {spec.name: _image_words(spec) for spec in manifest.inputs if spec.kind == "image"}
        record = json.dumps([{**facts.example, **images}], ensure_ascii=False)
    body = record.replace("'", "'\\''")
    url = f"http://127.0.0.1:{facts.port}/v2/models/{manifest.name}"
    return (
        f"## Calling it\n\n```bash\nmanta deploy {manifest.name}\n"
        f"curl -s {url}/predict -H 'Content-Type: application/json' -d '{body}'\n```\n\n"
        f"Programs speak the Open Inference Protocol v2 at `{url}/infer`."
    )


def _image_words(spec: InputSpec) -> str:
    return "base64 text of an image file" if spec.is_file else f"nested list {list(spec.shape)}"


def _limits(manifest: Manifest, facts: CardFacts) -> str:
    lines = ["## Limits", ""]
    if any(spec.kind == "categorical" for spec in manifest.inputs):
        lines.append("- A category not seen in training is accepted and treated as unknown.")
    if any(spec.kind == "numeric" for spec in manifest.inputs):
        lines.append(
            "- A missing number is read as the training median, unless the experiment says otherwise. Numbers outside "
            "the range seen are extrapolated."
        )
    lines.append("- Scores hold for data like the held-out part; on other data they must be measured again.")
    if manifest.labels:
        lines.append("- Probabilities are the model's own and have not been calibrated.")
    if manifest.labels and facts.balanced_by:
        lines.append(
            f"- Rare classes counted for more than their share of the training rows ({', '.join(facts.balanced_by)}), "
            "so the probabilities of them are too high to be read as shares."
        )
    return "\n".join(lines)


def _lineage(manifest: Manifest, facts: CardFacts) -> str:
    lineage = manifest.lineage
    lines = [
        f"- Run: {_text(lineage.run)}" + (f", trial {_text(lineage.trial)}" if lineage.trial else ""),
        f"- Model: {_text(facts.architecture)}",
        f"- Written: {manifest.created_at}",
        f"- Data fingerprint: `{lineage.data_fingerprint}`",
        *(
            f"- Read as {source['name']}: `{_text(str(source['uri']))}`, {source['num_rows']:,} rows, content digest "
            f"`{source['digest']}`"
            for source in lineage.data_sources
        ),
        "- Versions: "
        + (", ".join(f"{name} {version}" for name, version in lineage.versions.items()) or "not recorded"),
    ]
    return "## Lineage\n\n" + "\n".join(lines)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(heads)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _listed(values: tuple[str, ...]) -> str:
    shown = ", ".join(_text(value) for value in values[:MAX_LISTED])
    return f"{shown} and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else shown


def _text(value: str) -> str:
    """A value from data inside Markdown: a bar or a line break would end the table's cell."""
    return value.replace("|", "\\|").replace("\n", " ").replace("`", "'")
