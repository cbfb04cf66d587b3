"""From what was seen of the two runs to what a drill found."""

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cluster.drill.compare import Difference, compare_history, compare_weights
from cluster.drill.goodput import Goodput
from cluster.drill.outcome import Reading, outcomes_of
from cluster.drill.result import DrillResult, RunFacts, saving_of
from cluster.drill.storm import Storm
from training.checkpoint.store import CheckpointStore
from training.errors import TrainingFailed
from training.pipeline import OWN
from training.run_record import RunRecord


def facts_of(storm: Storm) -> RunFacts:
    """Of a run that is over."""
    record, seen = RunRecord.read(storm.watch.folder), storm.seen()
    seconds = [float(epoch["seconds"]) for epoch in record.epochs]
    workers = {int(epoch["workers"]) for epoch in record.epochs if epoch.get("workers")}
    workers |= {start.num_workers for start in seen.starts if start.num_workers}
    steps = [reading.step for reading in seen.readings] + [each.step for each in storm.watch.checkpoints.values()]
    return RunFacts(
        wall_s=(storm.ended_at or math.nan) - storm.began_at,
        step_s=sum(seconds),
        epoch_s=statistics.median(seconds) if seconds else math.nan,
        num_steps=max(steps, default=0),
        num_workers=tuple(sorted(workers)),
        readings=tuple(
            sorted([*seen.readings, *(Reading(each.time, each.step) for each in seen.starts)], key=lambda r: r.time)
        ),
        began_at=storm.began_at,
    )


def result_of(
    name: str, settings: Mapping[str, Any], unbroken: Storm, broken: Storm, num_missed: int
) -> DrillResult:  # fmt: skip
    """Compare the two, where both came to their end."""
    seen, facts, reference = broken.seen(), facts_of(broken), facts_of(unbroken)
    absent_s = seen.absent_s(broken.began_at, broken.ended_at or broken.began_at)
    taken = broken.watch.checkpoints.values()
    weights: Difference | None = None
    history: Difference | None = None
    if not broken.problem:
        weights = compare_weights(final_weights(unbroken.watch.folder), final_weights(broken.watch.folder))
        records = [RunRecord.read(storm.watch.folder).epochs for storm in (unbroken, broken)]
        history = compare_history(*([epoch["metrics"] for epoch in epochs] for epochs in records))
    return DrillResult(
        name=name, settings=settings, unbroken=reference, broken=facts,
        outcomes=outcomes_of(broken.blows, seen, broken.rules.allowed_s), absences=tuple(broken.absences),
        num_missed=num_missed, weights=weights, history=history,
        goodput=Goodput(reference.step_s, facts.wall_s, absent_s, len(broken.blows)),
        saving=saving_of(broken.watch.events, len(taken), sum(each.num_bytes for each in taken), reference.step_s),
        allowed_s=broken.rules.allowed_s, lost=broken.problem,
    )  # fmt: skip


def final_weights(run: Path) -> dict[str, Tensor]:
    """Of the last step, and of the best epoch, as `last/...` and `best/...`. Raises TrainingFailed without any."""
    found = CheckpointStore(str(run / "checkpoints" / OWN)).newest_intact()
    if found is None:
        raise TrainingFailed(f"{run} has no intact checkpoint, though its training came to its end")
    both = {"last": found[1]["model"], "best": found[1]["best"]["model"]}
    return {f"{part}/{name}": tensor for part, weights in both.items() for name, tensor in weights.items()}
