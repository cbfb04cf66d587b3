"""The table of all trials; of very many the best ones."""

from training.event_text import duration
from training.report.search.best import SOURCES
from training.report.search.view import KEPT, Search
from training.report.shell import Part
from training.report.text import Cell, esc, money, score, setting, table

OPEN_UP_TO = 40  # rows; a longer table is closed at first


def listing(search: Search) -> Part:
    """Sortable. Of more than `KEPT` trials it holds the best, for a page of thousands of rows is slow."""
    trials = search.trials
    if len(trials) > KEPT:
        names = {trial["trial"] for trial in search.ranked[:KEPT]}
        trials = tuple(trial for trial in trials if trial["trial"] in names)
    has_money = any(trial.get("usd") is not None for trial in trials)
    has_source = any(trial.get("source") for trial in trials)
    rows = []
    for trial in trials:
        name = f"<b>{esc(trial['trial'])} ★</b>" if trial["trial"] == search.best else esc(trial["trial"])
        state = f'<span class="state {esc(trial["state"])}">{esc(trial["state"])}</span>'
        settings = [_setting(trial["params"].get(key)) for key in search.keys]
        row: list[Cell] = [(name, trial["trial"]), (state, trial["state"]), _sortable(trial.get("score"), score),
                           *settings, (str(trial.get("epochs") or 0), trial.get("epochs") or 0),
                           _sortable(trial.get("seconds"), duration)]  # fmt: skip
        row += [_sortable(trial.get("usd"), money)] if has_money else []
        row += [(esc(SOURCES.get(trial.get("source", ""), "–")), trial.get("source", ""))] if has_source else []
        rows.append(row)
    heads = ("trial", "state", search.metric, *search.keys, "epochs", "time", *(["cost"] if has_money else []),
             *(["found by"] if has_source else []))  # fmt: skip
    kinds = ("", "", *["num"] * (len(search.keys) + 3 + has_money), "")
    grid = table(heads, rows, sortable=True, classes=kinds)
    note = ""
    if len(trials) < len(search.trials):
        note = (
            f"<p class='muted'>The best {len(trials)} of {len(search.trials):,} trials; all are in journal.jsonl.</p>"
        )
    summary = "All trials" if not note else "The best trials"
    return Part(
        f"<details{' open' if len(rows) <= OPEN_UP_TO else ''}><summary>{summary}</summary>{note}{grid}</details>"
    )


def _sortable(value: float | None, shown: object) -> Cell:
    """A cell that sorts by its number; trials without one stay at the end."""
    assert callable(shown)
    return ("–", "") if value is None else (str(shown(value)), value)


def _setting(value: object) -> Cell:
    if value is None:
        return "–", ""
    return esc(setting(value)), value if isinstance(value, int | float) else setting(value)
