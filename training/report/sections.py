"""The page's sections, each an HTML string, empty where a run has nothing to say. Every text goes through `esc`."""

from datetime import UTC, datetime

import yaml

from training.event_text import counted, duration
from training.journal import Event
from training.redact import without_secrets
from training.report.search.view import Search
from training.report.shell import tile_row
from training.report.stages import seconds_by_stage
from training.report.text import esc, facts, milliseconds, score, size
from training.run_record import RunRecord


def header(record: RunRecord, found: Search, *, is_on: bool = False) -> str:
    """Name, state, and the figures that matter, one tile each.

    Args:
        record: of the run.
        found: its search.
        is_on: whether the run goes on right now.
    """
    state = "running" if is_on and record.state == "unfinished" else record.state
    started = next((event["time"] for event in record.events if event.get("event") == "started"), None)
    when = f"{datetime.fromtimestamp(started, UTC):%Y-%m-%d %H:%M} UTC" if started else "not started"
    command = record.last("started").get("command", "")
    return (
        f'<header><p class="kicker">manta run</p><h1>{esc(record.name)} '
        f'<span class="state {state}">{state}</span></h1>'
        f'<p class="muted">{when}{f" · <code>{esc(command)}</code>" if command else ""}</p></header>'
        f"{_failure(record)}{_tiles(record, found)}{_choice(record)}{_time(record)}"
    )


def _failure(record: RunRecord) -> str:
    failed = record.last("failed")
    if record.state != "failed":
        return ""
    stage, message = esc(failed.get("stage")), esc(failed.get("message"))
    return f'<div class="alert"><strong>Failed in {stage}</strong><pre>{message}</pre></div>'


def _tiles(record: RunRecord, found: Search) -> str:
    packaged, fit, tiles = record.last("packaged"), record.last("fit"), []
    if packaged:
        tiles.append((packaged["metric"], score(packaged["score"]), "held-out rows"))
    if record.best_score is not None:
        note = f"best trial {found.best}" if found.best else "final training"
        tiles.append((record.metric, score(record.best_score), note))
    chosen = next((v for v in record.variants if v.name == record.last("compressed").get("chosen")), None)
    if chosen:
        tiles.append(("variant", chosen.name, size(chosen.size_bytes)))
        if "1" in chosen.latency:
            num_threads = record.comparison.num_threads if record.comparison else 1
            note = f"median, {counted(num_threads, 'thread')}"
            tiles.append(("one row", milliseconds(chosen.latency["1"].p50_ms), note))
    if fit:
        tiles.append(("best epoch", str(fit["best_epoch"]), f"{fit.get('num_workers', 1)} worker(s)"))
    if record.seconds:
        tiles.append(("time", duration(record.seconds), "all executions"))
    return tile_row(tiles)


def _choice(record: RunRecord) -> str:
    pairs = []
    if compressed := record.last("compressed"):
        pairs.append(("served variant", f"<b>{esc(compressed['chosen'])}</b>: {esc(compressed['reason'])}"))
    if packaged := record.last("packaged"):
        pairs.append(("package", f"<code>{esc(packaged['path'])}</code>"))
    if registered := record.last("registered"):
        pairs.append(("release", f"<code>{esc(registered['name'])}@{esc(registered['version'])}</code>"))
    if served := record.last("served"):
        pairs.append(("endpoint", _endpoint(served)))
    return facts(pairs) if pairs else ""


def _endpoint(served: Event) -> str:
    parts = [f"<code>{esc(served['url'])}</code>"]
    if served.get("num_rows"):
        parts.append(f"{served['num_rows']:,} held-out rows asked over HTTP")
    if served.get("agree_fraction") is not None:
        parts.append(f"{served['agree_fraction']:.1%} answered like the package")
    if served.get("p50_ms") is not None:
        parts.append(f"p50 {milliseconds(served['p50_ms'])}, p99 {milliseconds(served['p99_ms'])}")
    return ", ".join(parts)


def _time(record: RunRecord) -> str:
    stages, open_one = seconds_by_stage(record)
    if not stages:
        return ""
    shown = {
        stage: f"<b>{duration(seconds)}</b>{' so far' if stage == open_one else ''}"
        for stage, seconds in stages.items()
    }
    bars = "".join(
        f'<i class="{stage}" style="flex-grow:{1000 * seconds:.0f}"></i>' for stage, seconds in stages.items()
    )
    keys = "".join(f'<li><i class="{stage}"></i>{stage} {told}</li>' for stage, told in shown.items())
    return f'<div class="timebar" aria-hidden="true">{bars}</div><ul class="key">{keys}</ul>'


def environment(record: RunRecord) -> str:
    """Machine, versions, and the experiment as it was resolved."""
    started = record.last("started")
    versions = ", ".join(f"{esc(name)} {esc(version)}" for name, version in (started.get("versions") or {}).items())
    pairs = [
        ("machine", esc(started.get("machine") or "")),
        ("versions", versions),
        ("folder", f"<code>{esc(record.folder)}</code>"),
    ]
    experiment = yaml.safe_dump(without_secrets(record.experiment), sort_keys=False) if record.experiment else ""
    details = (
        f"<details><summary>Resolved experiment</summary><pre>{esc(experiment)}</pre></details>" if experiment else ""
    )
    return f"<section><h2>Environment</h2>{facts((name, value) for name, value in pairs if value)}{details}</section>"
