"""The page's section on the final training: curves, how fast it went, and what happened to it."""

from training.event_text import TOLD, counted, duration, event_text
from training.journal import Event
from training.report import training_charts
from training.report.shell import chart
from training.report.text import esc, score, table
from training.run_record import RunRecord

MAX_SHOWN = 200  # events; a run on spot machines may have thousands


def training(record: RunRecord) -> str:
    """Curves and scores of the final training."""
    fit, happened = record.last("fit"), events_of(record)
    if not record.epochs and not fit and not happened:
        return ""
    taken = f"{len(record.epochs)} epochs" + (f", the best was {fit['best_epoch']}" if fit else ", not finished")
    resampled = f"<p>{esc(record.last('resampled')['note'])}</p>" if record.last("resampled") else ""
    rows = [(esc(name), score(value)) for name, value in fit.get("metrics", {}).items()]
    grid = table(("score", "value"), rows, classes=("", "num"))
    details = f"<details><summary>All scores of the best epoch</summary>{grid}</details>" if rows else ""
    return (
        f"<section><h2>Final training</h2><p class='muted'>{taken}{_losses(happened)}</p>"
        f"{resampled}{_charts(record)}{_what_happened(record, happened)}{details}</section>"
    )


def _charts(record: RunRecord) -> str:
    if not record.epochs:
        return ""
    names = {"losses": "Loss", "scores": "Score"} | {
        name: drawn.caption for name, drawn in training_charts.MEASURED.items() if drawn.is_known(record)
    }
    places = "".join(chart(name, caption) for name, caption in names.items())
    return f'<div class="charts">{places}</div>'


def events_of(record: RunRecord) -> list[Event]:
    """What happened to trainings, executions that were begun again included."""
    found: list[Event] = []
    for event in record.events:
        if event.get("event") in TOLD:
            is_unknown = (
                event["event"] == "resumed" and bool(found) and _is_killed(found) and not event.get("steps_lost")
            )
            found.append({**event, "steps_lost": None} if is_unknown else event)
        elif event.get("event") == "started" and _goes_on(record, event):
            found.append(event)
    return found


def _is_killed(found: list[Event]) -> bool:
    """Whether the driver was gone without a word: how far it was, nobody knows."""
    return found[-1]["event"] == "started" and (len(found) < 2 or found[-2]["event"] != "preempted")


def _goes_on(record: RunRecord, started: Event) -> bool:
    """Whether an execution goes on with a training that an earlier one began and did not finish."""
    kinds = [event.get("event") for event in record.events[: record.events.index(started)]]
    return "epoch" in kinds and "fit" not in kinds[_last(kinds, "epoch") :]


def _last(kinds: list[str | None], kind: str) -> int:
    return len(kinds) - 1 - kinds[::-1].index(kind)


def _losses(happened: list[Event]) -> str:
    resumed = [event for event in happened if event["event"] == "resumed"]
    if not resumed:
        return ""
    steps, seconds = (sum(event.get(key) or 0 for event in resumed) for key in ("steps_lost", "seconds"))
    is_known = all(event.get("steps_lost") is not None for event in resumed)
    lost = f"{counted(steps, 'step')} lost" + ("" if is_known else " where that is known")
    return f"; resumed {counted(len(resumed), 'time')}, {lost}, {duration(seconds)} to resume"


def _what_happened(record: RunRecord, happened: list[Event]) -> str:
    if not happened:
        return ""
    began = next(
        (event["time"] for event in record.events if event.get("event") == "started"), record.events[0]["time"]
    )
    rows = [
        (
            duration(event["time"] - began), "" if event.get("step") is None else f"{event['step']:,}",
            esc(_sentence(event)),
        )
        for event in happened[-MAX_SHOWN:]
    ]  # fmt: skip
    more = f"<p class='muted'>the last {MAX_SHOWN} of {len(happened)}</p>" if len(happened) > MAX_SHOWN else ""
    grid = table(("after", "step", "what"), rows, classes=("num", "num", "cause"))
    return f"<h3>What happened</h3>{more}{grid}"


def _sentence(event: Event) -> str:
    """The step has a column of its own."""
    if event["event"] == "started":
        return "begun again" + (f": {event['command']}" if event.get("command") else "")
    return event_text({key: value for key, value in event.items() if key != "step"}) or ""
