"""Charts of the final training by epoch, with thin lines where it was interrupted. Colours as in `shell.figure`."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.journal import Event
from training.report.shell import Figure, figure
from training.run_record import RunRecord

MARKS = {  # the journal's event before a training goes on -> what its line is called, and how it is drawn
    "preempted": ("preempted", "@stage1", "dot"),
    "worker_lost": ("killed", "@bad", "dash"),
    "worker_failed": ("failed", "@bad", "dashdot"),
    "diverged": ("rolled back", "@stage4", "dash"),
    "started": ("begun again", "@muted", "longdashdot"),
}


@dataclass(frozen=True)
class Measured:
    """A number that hosts may write beside an epoch's scores, or among them."""

    key: str
    caption: str
    axis: str
    factor: float = 1.0
    colour: str = "@accent"
    from_zero: bool = True
    shape: str = "linear"
    must_vary: bool = False

    def values(self, record: RunRecord) -> list[tuple[int, float]]:
        """Pairs of epoch and value, for the epochs that have one."""
        found = [(event["epoch"], event.get(self.key, event["metrics"].get(self.key))) for event in record.epochs]
        return [(epoch, value * self.factor) for epoch, value in found if value is not None]

    def is_known(self, record: RunRecord) -> bool:
        """Whether there is something to see."""
        values = {value for _, value in self.values(record)}
        return len(values) > (1 if self.must_vary else 0)

    def draw(self, record: RunRecord) -> Figure:
        """The chart."""
        drawn = _by_epoch(record, [(self.axis, self.colour, self.values(record))], self.axis)
        if self.from_zero:
            drawn["layout"]["yaxis"]["rangemode"] = "tozero"
        drawn["data"][0]["line"]["shape"] = self.shape
        drawn["layout"]["height"] = 180
        drawn["layout"]["margin"] |= {"t": 12}
        drawn["layout"]["showlegend"] = False  # the charts of the scores name the lines
        return drawn


MEASURED = {
    "pace": Measured("samples_per_s", "Samples a second, all workers together", "samples/s"),
    "waiting": Measured("wait_fraction", "Share of time spent waiting for data", "waiting, %", 100, "@second"),
    "rate": Measured("lr", "Learning rate", "learning rate", 1, "@stage3"),
    "workers": Measured("workers", "Workers", "workers", 1, "@stage0", shape="hvh", must_vary=True),
}


def fit_losses(record: RunRecord) -> Figure:
    """Training and validation loss by epoch."""
    names = {"train/loss": "training", "validation/loss": "validation"}
    return _of_metrics(record, names, "loss")


def fit_scores(record: RunRecord) -> Figure:
    """The deciding score by epoch, training beside validation where both are recorded."""
    plain = record.metric.removeprefix("validation/")
    return _of_metrics(record, {f"train/{plain}": "training", record.metric: "validation"}, plain)


def _of_metrics(record: RunRecord, names: dict[str, str], title: str) -> Figure:
    def points(metric: str) -> list[tuple[int, float]]:
        return [(event["epoch"], event["metrics"][metric]) for event in record.epochs if metric in event["metrics"]]

    colours = dict(zip(names, ("@accent", "@second"), strict=True))
    drawn = _by_epoch(record, [(name, colours[metric], points(metric)) for metric, name in names.items()], title)
    drawn["data"] += _best(record, points(list(names)[-1]))
    return drawn


def _by_epoch(record: RunRecord, lines: Sequence[tuple[str, str, Sequence[tuple[int, float]]]], title: str) -> Figure:
    traces: list[Figure] = [
        {
            "type": "scatter", "mode": "lines+markers" if len(points) < 3 else "lines", "name": name,
            "x": [x for x, _ in points], "y": [y for _, y in points], "line": {"color": colour, "width": 2},
            "hovertemplate": f"epoch %{{x}}: %{{y:.4~g}}<extra>{name}</extra>",
        }
        for name, colour, points in lines
        if points
    ]  # fmt: skip
    marked = _marks(record)
    drawn = figure([*traces, *marked], "epoch", title)
    drawn["layout"]["showlegend"] = len(traces) > 1 or bool(marked)
    if marked:  # an axis of their own, from the bottom to the top whatever the numbers are
        drawn["layout"]["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    return drawn


def _best(record: RunRecord, points: Sequence[tuple[int, float]]) -> list[Figure]:
    """The epoch whose weights were kept, on the curve that it was chosen by."""
    best = record.last("fit").get("best_epoch")
    place = next((point for point in points if point[0] == best), None)
    if place is None:
        return []
    return [
        {
            "type": "scatter", "mode": "markers+text", "x": [place[0]], "y": [place[1]], "text": [f"best: {best}"],
            "textposition": "bottom center", "textfont": {"color": "@muted", "size": 11}, "showlegend": False,
            "marker": {"color": "@second", "size": 9, "line": {"color": "@card", "width": 2}}, "hoverinfo": "skip",
        }
    ]  # fmt: skip


def _marks(record: RunRecord) -> list[Figure]:
    """One trace a kind, so that the legend names it once, however many there are."""
    traces = []
    for kind, (name, colour, dash) in MARKS.items():
        places = [place for place, cause in interruptions(record) if cause == kind]
        if not places:
            continue
        times = f", {len(places)} times" if len(places) > 1 else ""
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": f"{name}{times}",
                "x": [x for place in places for x in (place, place, None)], "y": [0, 1, None] * len(places),
                "yaxis": "y2", "line": {"color": colour, "dash": dash, "width": 1}, "opacity": 0.7, "hoverinfo": "skip",
            }
        )  # fmt: skip
    return traces


def interruptions(record: RunRecord) -> list[tuple[float, str]]:
    """Where the training went on after something, as a place between two epochs, and what that was."""
    found: list[tuple[float, str]] = []
    events, cause = list(record.events), ""
    for index, event in enumerate(events):
        kind = str(event.get("event"))
        if kind == "diverged" and event.get("action") == "rollback":
            found.append((_next_epoch(events, index) - 0.5, kind))
        elif kind in ("preempted", "worker_lost", "worker_failed"):
            cause = kind
        elif kind == "started":
            cause = cause or kind
        elif kind == "resumed":
            place = event["epoch"] + 0.5 if "epoch" in event else _next_epoch(events, index) - 0.5
            found.append((place, cause or "started"))
            cause = ""
    return found


def _next_epoch(events: Sequence[Event], index: int) -> int:
    """The number of the epoch that ended next; after the last one where none did."""
    for event in events[index:]:
        if event.get("event") == "epoch":
            return int(event["epoch"])
    return max((int(event["epoch"]) for event in events if event.get("event") == "epoch"), default=0) + 1
