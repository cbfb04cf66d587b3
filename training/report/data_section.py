"""The page's section on data: what was read, what was set aside, what a person should know of it."""

from typing import Any

from training.journal import Event
from training.redact import shown
from training.report.text import esc, facts, size, table
from training.run_record import RunRecord

SHOWN_LABELS = 20
SHOWN_FILES = 20
COUNTED = {
    "read": "read", "bad": "set aside as bad", "duplicates": "equal to an earlier one", "dropped": "of these left out",
    "kept": "to work with", "overlap": "of training that are held out as well",
}  # fmt: skip


def data(record: RunRecord) -> str:
    """What was learned from."""
    event, config = record.last("data"), record.experiment.get("data") or {}
    if not event and not config:
        return ""
    pairs = [
        ("source", _shown(config.get("source"))), ("held-out source", _shown(config.get("test"))),
        ("target", config.get("target")), ("task", event.get("task")), ("rows", _rows(event)),
        ("features", event.get("num_features")),
        ("labels", _labels(event)), ("rows set aside", _set_aside(record, event)),
        ("fingerprint", event.get("fingerprint")),
    ]  # fmt: skip
    told = facts((name, esc(value)) for name, value in pairs if value)
    return f"<section><h2>Data</h2>{told}{_counts(event)}{_notes(event)}{_sources(event)}</section>"


def _shown(source: Any) -> str:
    return shown(str(source)) if source else ""


def _rows(event: Event) -> str:
    return ", ".join(f"{count:,} {part}" for part, count in (event.get("num_rows") or {}).items())


def _labels(event: Event) -> str:
    labels = [str(label) for label in event.get("labels") or ()]
    more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
    return ", ".join(labels[:SHOWN_LABELS]) + more


def _set_aside(record: RunRecord, event: Event) -> str:
    quarantine = record.folder / "quarantine.parquet"
    return f"{quarantine}, each with its reason" if event and quarantine.exists() else ""


def _counts(event: Event) -> str:
    counts = event.get("counts") or {}
    told = [f"{count:,} {COUNTED.get(name, name)}" for name, count in counts.items() if count]
    return facts([("counted", esc(", ".join(told)))]) if told else ""


def _notes(event: Event) -> str:
    notes = event.get("notes") or []
    return "<ul>" + "".join(f"<li>{esc(note)}</li>" for note in notes) + "</ul>" if notes else ""


def _sources(event: Event) -> str:
    rows = [_source_row(source) for source in event.get("sources") or ()]
    if not rows:
        return ""
    heads = ("read as", "location", "rows", "columns", "files", "content digest")
    return f"<h3>Sources</h3>{table(heads, rows, classes=('', 'cause', 'num', 'num', 'cause', ''))}"


def _source_row(source: dict[str, Any]) -> tuple[str, ...]:
    files = source.get("files") or []
    listed = "<br>".join(
        f"{esc(file['path'])}, {size(file['size_bytes'])}{_dated(file)}" for file in files[:SHOWN_FILES]
    )
    more = f"<br>and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
    return (
        esc(source["name"]), esc(source["uri"]), f"{source['num_rows']:,}", str(len(source["columns"])),
        f"{listed}{more}", f"<code>{esc(source['digest'])}</code>",
    )  # fmt: skip


def _dated(file: dict[str, Any]) -> str:
    return f", {esc(file['modified_at'])}" if file["modified_at"] else ""
