"""The stages of a run, and how long each took."""

from training.journal import Event
from training.run_record import RunRecord


def seconds_by_stage(record: RunRecord) -> tuple[dict[str, float], str]:
    """Time of each stage that ended, and of the one that goes on or was broken off; and that one's name, or nothing."""
    stage, seconds = _open_stage(record)
    ended = record.seconds_by_stage
    if not stage or seconds <= 0:
        return dict(ended), ""
    return ended | {stage: seconds}, stage


def _open_stage(record: RunRecord) -> tuple[str, float]:
    """The stage that has begun and not ended, and what it took so far, the pauses between executions left out."""
    stage, passed, previous, is_on = "", 0.0, 0.0, True
    for event in record.events:
        kind = event.get("event")
        if is_on and kind != "started":
            passed += event["time"] - previous
        previous = event["time"]
        following = _stage_after(record, event, stage)
        if following != stage:
            stage, passed = following, 0.0
        # An execution that goes on with a search first reads and plans, which is none of it.
        if stage != "search" or kind in ("started", "search"):
            is_on = stage != "search" or kind == "search"
    news = float(record.live.get("time") or previous) if is_on else previous
    return stage, passed + max(news - previous, 0.0)


def _stage_after(record: RunRecord, event: Event, stage: str) -> str:
    match event.get("event"):
        case "started":
            return stage or ("" if record.last("data") else "data")
        case "data":
            return "" if record.experiment.get("search") else "train"
        case "search":
            return "search"
        case "searched":
            return "train"
        case "fit":
            return "compress"
        case "registered":
            return "serve"
        case "compressed" | "served" | "finished":
            return ""
    return stage
