"""Whether a search's trials can train as stacked models, and what that would bring, as far as it is known before."""

from collections import Counter
from dataclasses import dataclass

import optuna
from optuna.samplers import RandomSampler

from training.config import Experiment
from training.search.fused import Shape, find_lanes, signature
from training.search.plan.cost import Bench
from training.search.sampling.samplers import GENERATIONS, LEARNING

DRAWS = 48


@dataclass(frozen=True)
class Stackable:
    """What is known of stacking."""

    words: str
    share: float = 0.0  # of the trials drawn, that can be stacked
    num_shapes: int = 0  # among those drawn
    lanes: int = 1  # found by measuring the commonest shape
    speedup: float = 1.0  # of so many lanes, over trials one after the other

    @property
    def most_gain(self) -> float:
        """How many times faster the search is where all is stacked as measured."""
        return 1 / (1 - self.share + self.share / max(self.speedup, 1.0))

    @property
    def usual_gain(self) -> float:
        """Half of the trials that can be stacked find others of their shape at their time."""
        half = self.share / 2
        return 1 / (1 - half + half / max(self.speedup, 1.0))


def stackable(bench: Bench, num_slots: int, num_trials: int) -> Stackable:
    """Draw some trials, compare their shapes, and measure the commonest one."""
    experiment = bench.experiment
    search = experiment.search
    assert search is not None
    if search.fuse is False:
        return Stackable("no: search.fuse is off")
    if why := _never(bench):
        return Stackable(f"no: {why}")
    shapes, reasons = Counter[Shape](), Counter[str]()
    examples: dict[Shape, Experiment] = {}
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(DRAWS):
        drawn = bench.experiment_of(bench.space.draw(study.ask()))
        shape = signature(drawn, bench.prepared.facts)
        if isinstance(shape, str):
            reasons[shape] += 1
            continue
        shapes[shape] += 1
        examples[shape] = drawn
    if not shapes:
        return Stackable(f"no: {'; '.join(reason for reason, _ in reasons.most_common(2))}")
    commonest, count = shapes.most_common(1)[0]
    found = find_lanes(
        examples[commonest], bench.prepared.facts, bench.prepared.train, bench.prepared.validation,
        metric=bench.metric, device=bench.device, most=_most_lanes(bench, num_slots, num_trials),
        code_path=bench.code_path,
    )  # fmt: skip
    share = sum(number for number in shapes.values() if number > 1) / DRAWS
    if found.lanes < 2:
        return Stackable(f"no: {found.reason}", num_shapes=len(shapes))
    words = f"{found.reason}; {len(shapes)} shapes among {DRAWS} trials drawn, {count} of the commonest"
    speedup = min(found.speedup, float(found.lanes))  # more is what a busy machine makes of it
    return Stackable(words, share, len(shapes), found.lanes, speedup)


def _never(bench: Bench) -> str:
    experiment = bench.experiment
    search = experiment.search
    assert search is not None
    reasons = {
        "train.workers is above 1": experiment.train.max_workers > 1,
        "search.folds and search.seeds train each trial several times": search.replicates > 1,
        "members of a population take over each other's weights": search.scheduler.kind == "pbt",
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def _most_lanes(bench: Bench, num_slots: int, num_trials: int) -> int:
    search = bench.experiment.search
    assert search is not None
    share = -(-num_trials // num_slots)
    if search.sampler in LEARNING:
        share = max(1, -(-share // GENERATIONS))
    return min(search.lanes or share, share)
