"""An experiment trained unbroken, then under blows, and the two compared."""

import math
import shutil
from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster.drill.machines import Machines, machines
from cluster.drill.order import Order
from cluster.drill.plan import plan_blows
from cluster.drill.process import Driver
from cluster.drill.result import DrillResult, RunFacts
from cluster.drill.runs import facts_of, result_of
from cluster.drill.scripts import Calm, Drawn, Replay
from cluster.drill.settings import Drilled, longer, nodes_for, settings_for
from cluster.drill.storm import Rules, Script, Storm
from cluster.drill.trace import Trace, acceleration_for, changes_of
from cluster.drill.watch import Watch
from cluster.drill.wish import Wish
from training.checkpoint.interval import FIRST_S, interval_s
from training.errors import TrainingFailed
from training.progress import Progress
from training.run_folder import RunFolder

RESTART_S = 10.0  # what a restart takes about, on a small machine: only to space blows by
WRITING_S = 3.0  # until a checkpoint that began is whole, and until a step that was made is seen
UNBROKEN, BROKEN = "unbroken", "broken"


@dataclass(frozen=True)
class _Field:
    """Where both runs take place."""

    machines: Machines
    wish: Wish
    progress: Progress

    def storm(self, drilled: Drilled, name: str, allowed_s: float = math.inf) -> Storm:
        """One run, not begun yet."""
        wish, experiment = self.wish, drilled.experiment(name)
        order = drilled.storage / f"{name}.order.json"
        Order(str(drilled.config), drilled.overrides_of(name), str(drilled.config.parent), wish.verbose).write(order)
        rules = Rules(
            wish.notice_s, wish.replace_s, wish.patience_s, wish.max_s, allowed_s, experiment.train.min_workers
        )
        driver = Driver(order, drilled.storage / f"{name}.log")
        return Storm(self.machines, driver, Watch(RunFolder.of(experiment).path), rules, self.progress)


def drill(drilled: Drilled, wish: Wish, progress: Progress) -> DrillResult:
    """Train twice, and compare.

    Args:
        drilled: what to train, and where.
        wish: what shall happen to it.
        progress: told what happens.

    Raises:
        ConfigError, DrillError: it cannot be done like this.
        TrainingFailed: the experiment fails by itself, without any blow.
    """
    experiment = drilled.experiment(UNBROKEN)
    settings, notes = settings_for(experiment, wish.spacing + RESTART_S)
    drilled, train = drilled.with_own(*settings), experiment.train
    num_nodes = nodes_for(experiment, wish)
    progress.stage("drill", f"{num_nodes} nodes of {train.cpus_per_worker:g} CPU each, on this machine")
    for note in notes:
        progress.note(note)
    with machines(num_nodes, train.cpus_per_worker, verbose=wish.verbose) as cluster:
        field = _Field(cluster, wish, progress)
        drilled, unbroken = _unbroken(field, drilled)
        facts = facts_of(unbroken)
        broken = field.storm(drilled, BROKEN, _allowed_s(drilled, unbroken))
        script, said = _script(wish, facts, num_nodes)
        progress.stage("broken", said)
        broken.run(script)
    told = _told(wish, num_nodes, said, drilled.own)
    return result_of(experiment_name(drilled), told, unbroken, broken, script.num_missed)


def _unbroken(field: _Field, drilled: Drilled) -> tuple[Drilled, Storm]:
    """The run to which nothing happens; once more, and longer, where it leaves no room for the events."""
    storm = _calm_run(field, drilled)
    wanted_s = field.wish.spacing * (field.wish.num_events + 1)
    settings, notes = longer(drilled.experiment(UNBROKEN), facts_of(storm).epoch_s, wanted_s)
    if settings:
        for note in notes:
            field.progress.note(note)
        shutil.rmtree(storm.watch.folder)
        drilled = drilled.with_own(*settings)
        storm = _calm_run(field, drilled)
    return drilled, storm


def _calm_run(field: _Field, drilled: Drilled) -> Storm:
    epochs = drilled.experiment(UNBROKEN).train.epochs
    field.progress.stage("unbroken", f"up to {epochs} epochs, and nothing happens")
    storm = field.storm(drilled, UNBROKEN)
    storm.run(Calm())
    if storm.problem:
        raise TrainingFailed(f"the training fails without any event: {storm.problem}", "see to it with `manta train`")
    facts = facts_of(storm)
    field.progress.note(f"{facts.num_steps} steps in {facts.step_s:.1f} s; {facts.wall_s:.1f} s with start-up")
    return storm


def _allowed_s(drilled: Drilled, unbroken: Storm) -> float:
    """Steps that a blow without notice may cost: one interval, as it follows from what a checkpoint costs here."""
    config = drilled.experiment(BROKEN).train.checkpoint
    costs = [float(event["cost_s"]) for event in unbroken.watch.events if event["event"] == "checkpoint"]
    interval = interval_s(max(costs, default=0.0), config.mean_s_between_losses, config.max_interval_s)
    return max(min(FIRST_S, config.max_interval_s), interval) + WRITING_S


def _script(wish: Wish, facts: RunFacts, num_nodes: int) -> tuple[Script, str]:
    """What will happen, and in words."""
    if wish.trace is None:
        planned = plan_blows(wish.seed, wish.num_events, wish.kinds, facts.num_steps)
        return Drawn(planned), f"{wish.num_events} events of {', '.join(wish.kinds)}, seed {wish.seed}"
    acceleration = wish.acceleration or _acceleration(wish, wish.trace, facts.step_s)
    changes = changes_of(wish.trace, acceleration, num_nodes)
    warning = f"a notice of {wish.notice_s:g} s" if wish.with_notice else "no notice"
    said = f"the trace's machines at {acceleration:,.0f} times their speed, {warning}"
    return Replay(changes, wish.seed, with_notice=wish.with_notice), said


def _acceleration(wish: Wish, trace: Trace, step_s: float) -> float:
    """So that machines are lost about as often as was asked for."""
    overhead_s = RESTART_S + (wish.notice_s if wish.with_notice else 0.0)
    return acceleration_for(trace, wish.num_events, step_s, overhead_s)


def _told(wish: Wish, num_nodes: int, said: str, own: tuple[str, ...]) -> dict[str, Any]:
    facts = {key: value for key, value in asdict(replace(wish, trace=None)).items() if key not in ("trace", "verbose")}
    return facts | {"num_nodes": num_nodes, "spacing_s": wish.spacing, "script": said, "set_by_drill": list(own)}


def experiment_name(drilled: Drilled) -> str:
    """The person's name for it."""
    return drilled.config.stem
