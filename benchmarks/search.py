"""Trials an hour: a search of ours beside a plain loop and beside Ray's own ways, all in one run.

    python -m benchmarks.search [--trials 64] [--rows plain,recipe,function,unfused,fused] [--rounds 3]

Digits, an MLP of 64 and 64, 5 epochs a trial, nothing stopped early, rates and dropouts drawn at random, two at a time:

    plain      our training loop in one process on one thread, one trial after the other: no Ray, no search
    twice      two of them at once: what two cores can do at best
    recipe     a TorchTrainer inside a Tune function, as Ray's guide on tuning with Train V2 shows
    function   a Tune function that trains in its own process and reports each epoch
    unfused    ours, a trial at a time in each of two slots
    fused      ours as it decides by itself (`search.fuse: auto`): stacked trials in each of two slots

Outside every row: the data is prepared, Ray is up. `total s` is from the call to its return, start-up included;
`marginal` is seconds a trial from the end of the first trials (as many as train at once) to the end of the last one. Of
a row that ran fewer trials than asked for, the rest of the total is counted by its marginal rate, and the table says
so. The rates of `unfused` and `fused` are those of longer searches: at the end of 64 trials one slot has nothing to do
for as long as the other's last trial takes, and of 64 trials stacked each slot makes one stack, with nothing after it
(the longer one has at most 32 lanes, so that many stacks follow each other). Short rows are repeated in turns; the
medians count, and ratios are taken within a turn.

The last line is JSON. vs_documented_recipe: total of the recipe / ours (fused). efficiency_unfused: trials a second of
ours, unfused / (of the plain loop x slots). fused_gain: marginal seconds, unfused / fused. driver_mb_per_1000_trials:
see `benchmarks.search_many`.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray

from benchmarks.search_many import grown_mb
from benchmarks.search_rows import (
    EPOCHS,
    SLOTS,
    Row,
    function,
    make_experiment,
    ours,
    plain,
    plain_twice,
    recipe,
)
from training.data.prepare import prepare

ROWS = ("plain", "twice", "recipe", "function", "unfused", "fused")
RATE = " rate"  # of a row: a longer search of it, for the marginal rate alone
LANES = 32  # at most, in that search
Rounds = dict[str, list[Row]]


def main() -> None:
    """Run what was asked for, and print the table."""
    arguments = parsed()
    wanted = arguments.rows.split(",")
    if unknown := set(wanted) - set(ROWS):
        raise SystemExit(f"no rows: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory() as storage:
        prepared = prepare(make_experiment(storage, 1, "bench", False).data)
        ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        try:
            found = measured(arguments, wanted, runners(arguments, storage, prepared))
            memory = grown_mb(arguments.memory_trials, "random") if arguments.memory_trials else None
        finally:
            ray.shutdown()
    report(found, arguments.trials, memory)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--rows", default=",".join(ROWS), help="what to run, by commas")
    parser.add_argument("--rounds", type=int, default=3, help="of the short rows, in turns")
    parser.add_argument("--recipe-trials", type=int, default=8, help="that are run of the recipe")
    parser.add_argument("--function-trials", type=int, default=16, help="that are run of the Tune function")
    parser.add_argument("--unfused-trials", type=int, default=256, help="of the unfused search that gives the rate")
    parser.add_argument("--fused-trials", type=int, default=1024, help="of the fused search that gives the rate")
    parser.add_argument("--memory-trials", type=int, default=2000, help="of the search for the memory; 0: none")
    return parser.parse_args()


def runners(arguments: argparse.Namespace, storage: str, prepared: Any) -> dict[str, Callable[[int], Row]]:
    """What runs each row; each takes the round's number."""

    def experiment(name: str, num_trials: int, fuse: bool | str, lanes: int | None = None) -> Any:
        return make_experiment(storage, num_trials, name, fuse, lanes)

    base, trials = experiment("bench", arguments.trials, False), arguments.trials
    long, longer = max(arguments.unfused_trials, trials), max(arguments.fused_trials, trials)
    return {
        "plain": lambda _: plain(base, prepared, trials),
        "twice": lambda _: plain_twice(base, prepared, trials),
        "recipe": lambda _: recipe(base, prepared, min(arguments.recipe_trials, trials), storage),
        "function": lambda _: function(base, prepared, min(arguments.function_trials, trials), storage),
        "unfused": lambda i: ours(experiment(f"unfused-{i}", trials, False), prepared),
        "unfused" + RATE: lambda i: ours(experiment(f"long-{i}", long, False), prepared),
        "fused": lambda i: ours(experiment(f"fused-{i}", trials, "auto"), prepared),
        "fused" + RATE: lambda i: ours(experiment(f"longer-{i}", longer, "auto", LANES), prepared),
    }


def measured(arguments: argparse.Namespace, wanted: Sequence[str], run: Mapping[str, Callable[[int], Row]]) -> Rounds:
    """All rows: the long ones once, the others in turns."""
    found: Rounds = {}
    short = [name for name in run if name.removesuffix(RATE) in wanted and name not in ("recipe", "function")]
    once = [name for name in ("recipe", "function") if name in wanted]
    turns = [*once, *(short * arguments.rounds)]
    for name in turns:
        row = run[name](len(found.get(name, [])))
        found.setdefault(name, []).append(row)
        print(f"  {name}: {len(row.ended)} trials in {row.total_s:.1f} s, then {row.marginal_s:.4f} s each", flush=True)
    return found


def report(found: Rounds, num_trials: int, memory: float | None) -> None:
    """The table, then one JSON line."""
    print(f"\n{num_trials} trials of {EPOCHS} epochs, digits MLP, two at a time, {os.cpu_count()} cores")
    print(f"{'':10} {'total s':>9} {'trials/h':>9} {'marginal s':>11}")
    for name in [name for name in found if not name.endswith(RATE)]:
        total, ran = total_of(found, name, num_trials), len(found[name][0].ended)
        told = f"   {ran} were run, the others counted" if name in ("recipe", "function") and ran < num_trials else ""
        if name == "twice":
            print(f"{name:10} {'':>9} {'':>9} {marginal_of(found, name):11.4f}")
            continue
        print(f"{name:10} {total:9.1f} {num_trials / total * 3600:9.0f} {marginal_of(found, name):11.4f}{told}")
    print(json.dumps(figures(found, num_trials, memory)))


def total_of(found: Rounds, name: str, num_trials: int) -> float:
    """Seconds for all trials, the median of the turns."""
    return statistics.median(
        row.total_of(num_trials) if len(row.ended) < num_trials else row.total_s for row in found[name]
    )


def marginal_of(found: Rounds, name: str) -> float:
    """Seconds a trial, the median of the turns."""
    return statistics.median(row.marginal_s for row in found.get(name + RATE, found[name]))


def figures(found: Rounds, num_trials: int, memory: float | None) -> dict[str, Any]:
    """Ratios and absolute numbers; None where a row was not run."""
    total = {name: total_of(found, name, num_trials) for name in found if not name.endswith(RATE)}
    marginal = {name: marginal_of(found, name) for name in total}
    vs = partial(_ratio, found)
    best = "fused" if "fused" in found else "unfused"
    recipe_row = found.get("recipe")
    return {
        "vs_documented_recipe": _over(total, "recipe", best),
        "vs_documented_recipe_marginal": _over(marginal, "recipe", best),
        "vs_documented_recipe_unfused": _over(total, "recipe", "unfused"),
        "vs_function": _over(total, "function", best),
        "recipe_trials_run": len(recipe_row[0].ended) if recipe_row else None,
        "recipe_total_is_extrapolated": bool(recipe_row and len(recipe_row[0].ended) < num_trials),
        "efficiency_unfused": vs("plain", "unfused", 1 / SLOTS),
        "efficiency_unfused_vs_twice": vs("twice", "unfused", 1.0),
        "fused_gain": vs("unfused", "fused", 1.0),
        "driver_mb_per_1000_trials": memory,
        "trials": num_trials,
        "total_s": {name: round(seconds, 2) for name, seconds in total.items() if name != "twice"},
        "trials_per_hour": {n: round(num_trials / s * 3600) for n, s in total.items() if n != "twice"},
        "marginal_s": {name: round(seconds, 5) for name, seconds in marginal.items()},
    }


def _over(seconds: Mapping[str, float], slow: str, quick: str) -> float | None:
    return round(seconds[slow] / seconds[quick], 1) if slow in seconds and quick in seconds else None


def _ratio(found: Rounds, slow: str, quick: str, factor: float) -> float | None:
    """Marginal seconds of one over those of the other, turn by turn; the median."""
    pairs = zip(
        found.get(slow + RATE, found.get(slow, [])), found.get(quick + RATE, found.get(quick, [])), strict=False
    )
    ratios = [one.marginal_s / other.marginal_s * factor for one, other in pairs]
    return round(statistics.median(ratios), 3) if ratios else None


if __name__ == "__main__":
    main()
