"""The model card: what a person should know before relying on the model, in Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.package.card_measured import SliceScore, cost_section, slices_section, variants_section
from training.package.card_text import digits, listed, table, text
from training.package.compared import as_compared
from training.package.dates import iso_texts
from training.package.manifest import InputSpec, Lineage, Manifest, score_of


@dataclass(frozen=True)
class CardFacts:
    """What the card says beyond the manifest."""

    source: str
    target: str
    architecture: str
    port: int
    example: Mapping[str, Any]  # one row as a client would send it
    test_source: str | None = None
    threshold_goal: str = ""  # the score that the threshold was tuned for; empty where it was given
    balanced_by: tuple[str, ...] = ()  # settings that made rare classes count more than their share of the rows
    intended_use: str = ""  # who may use it for what, as its owner says
    out_of_scope: str = ""  # what must not be decided by it
    owner: str = ""
    slices: Sequence[SliceScore] = ()  # the chosen form's score by slice of the held-out rows, the worst first


def model_card(manifest: Manifest, facts: CardFacts) -> str:
    """Markdown in sections: use, data, inputs, measured quality and cost, calling it, limits, lineage."""
    newest = manifest.comparisons[-1] if manifest.comparisons else None
    manifest = manifest.model_copy(update={"variants": as_compared(manifest.variants, newest)})
    sections = [
        f"# {text(manifest.name)}",
        _summary(manifest, facts),
        _use(facts),
        _data(manifest, facts),
        _inputs(manifest),
        variants_section(manifest),
        slices_section(manifest, facts.slices),
        cost_section(manifest),
        _calling(manifest, facts),
        _limits(manifest, facts),
        _lineage(manifest, facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(manifest: Manifest, facts: CardFacts) -> str:
    answer = _answer(manifest)
    return (
        f"Predicts `{text(facts.target)}`, {answer}, for rows like those of `{text(facts.source)}`. "
        f"{_score(manifest)}{_threshold(manifest, facts)}"
    )


def _score(manifest: Manifest) -> str:
    chosen = manifest.variant()
    found = score_of(chosen, manifest.metric)
    if found is None:
        return f"Served is the variant {chosen.name}, whose {manifest.metric} was not measured."
    name, value = found
    where = "" if name == manifest.metric else ", on rows that were brought along"
    better = "higher" if manifest.metric_mode == "max" else "lower"
    return f"Held-out score: {name} **{digits(value)}** ({better} is better){where}, with the variant {chosen.name}."


def _use(facts: CardFacts) -> str:
    said = {"For": facts.intended_use, "Not for": facts.out_of_scope, "Owner": facts.owner}
    lines = [f"- {name}: {text(value.strip())}" for name, value in said.items() if value.strip()]
    if not facts.intended_use.strip():
        lines.insert(0, "- Who may use it for what, and what must not be decided by it, is for its owner to say.")
    return "## Intended use\n\n" + "\n".join(lines)


def _answer(manifest: Manifest) -> str:
    match manifest.task:
        case "classification":
            return f"one of {len(manifest.labels)} classes ({listed(manifest.labels)})"
        case "multilabel":
            return f"any of {len(manifest.labels)} labels ({listed(manifest.labels)})"
        case "language_modelling":
            return "the mean log-likelihood of each of its bytes (nats)"
    return "a number"


def _threshold(manifest: Manifest, facts: CardFacts) -> str:
    if manifest.threshold is None:
        return ""
    if manifest.task == "multilabel":
        return f"\n\nA label is given where its probability is at least **{manifest.threshold:.4g}**."
    negative, positive = map(text, manifest.labels)
    goal = f"tuned for {facts.threshold_goal} on the validation part" if facts.threshold_goal else "given, not tuned"
    return (
        f"\n\nThe label is `{positive}` where its probability is at least **{manifest.threshold:.4g}** ({goal}), "
        f"else `{negative}`."
    )


def _data(manifest: Manifest, facts: CardFacts) -> str:
    lines = ["## Data", "", f"- Source: `{text(facts.source)}`"]
    if facts.test_source:
        lines.append(f"- Held-out source: `{text(facts.test_source)}`")
    if num_rows := manifest.lineage.num_rows:
        lines.append("- Rows: " + ", ".join(f"{count:,} {part}" for part, count in num_rows.items()))
    lines.append(f"- Transforms were fitted on the training part alone. {_scored_on(manifest)}")
    return "\n".join(lines)


def _scored_on(manifest: Manifest) -> str:
    """Which rows the scores are of, and what these rows decided."""
    part = manifest.metric.rpartition("/")[0]
    said = f"Scores are of the {part} rows, which were kept out of training."
    if len(manifest.variants) > 1:
        said += (
            " The form that is served was chosen on the rows that it is scored on, so its score there may be a little "
            "better than on new rows."
        )
    others = {name.partition("/")[0] for variant in manifest.variants for name in variant.metrics} - {part}
    return said + "".join(
        f" Scores that are named {other}/... are of rows that were brought along later." for other in sorted(others)
    )


def _inputs(manifest: Manifest) -> str:
    rows = [(f"`{text(spec.name)}`", spec.kind, spec.datatype, _seen(spec)) for spec in manifest.inputs]
    return f"## Inputs\n\n{table(('input', 'kind', 'datatype', 'seen in training'), rows)}"


def _seen(spec: InputSpec) -> str:
    if spec.kind == "categorical":
        return listed(spec.categories)
    size = f"{'x'.join(map(str, spec.shape))}, " if spec.shape else ""
    if spec.minimum is None or spec.maximum is None:
        return size.rstrip(", ")
    if spec.kind == "date":
        first, last = iso_texts(np.array([spec.minimum, spec.maximum]).astype("datetime64[s]"))
        return f"{first} to {last}"
    return f"{size}{spec.minimum:g} to {spec.maximum:g}"


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
    if any(not spec.nullable for spec in manifest.inputs):
        needed = tuple(spec.name for spec in manifest.inputs if not spec.nullable)
        lines.append(f"- A row without {listed(needed)} is refused.")
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
        f"- Run: {text(lineage.run)}" + (f", trial {text(lineage.trial)}" if lineage.trial else ""),
        f"- Model: {text(facts.architecture)}",
        f"- Written: {manifest.created_at}",
        f"- Data fingerprint: `{lineage.data_fingerprint}`",
        *(
            f"- Read as {source['name']}: `{text(str(source['uri']))}`, {source['num_rows']:,} rows, content digest "
            f"`{source['digest']}`"
            for source in lineage.data_sources
        ),
        *_code(lineage),
        "- Versions: "
        + (", ".join(f"{name} {version}" for name, version in lineage.versions.items()) or "not recorded"),
    ]
    return "## Lineage\n\n" + "\n".join(lines)


def _code(lineage: Lineage) -> list[str]:
    said = {"Manta's code": lineage.code_digest, "Your own code": lineage.own_code_digest}
    lines = [f"- {name}: sha256 `{digest}`" for name, digest in said.items() if digest]
    return [*lines, f"- Commit: `{text(lineage.commit)}`"] if lineage.commit else lines
