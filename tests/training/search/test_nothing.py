"""A search that found nothing says why, and what would do."""

from pathlib import Path

import torch
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.training.search.made_up_slots import around_of, iris
from training.data.prepare import prepare
from training.journal import Journal
from training.search.limits.spending import Spending
from training.search.nothing import why_nothing
from training.search.plan.cost import Bench
from training.search.space.drawing import Space
from training.search.study import SearchStudy


def said(tmp_path: Path, trials: list[FrozenTrial], wall_s: float, trial_s: float = 0.0, ended: str = "") -> str:
    wanted = iris(tmp_path, search={"budget": {"wall_s": wall_s}})
    assert wanted.search is not None
    now = [1000.0]
    spending = Spending(wanted.search, Journal(tmp_path / "j.jsonl"), tmp_path / "live", ["max"], 1.0, lambda: now[0])
    now[0] += wall_s
    space = Space(wanted.search, wanted)
    bench = Bench(wanted, space, prepare(wanted.data), around_of(wanted).metric, torch.device("cpu"), "")
    return str(why_nothing(trials, ended, spending, trial_s, bench, space.conditions.completed({})))


def failed(cause: str) -> FrozenTrial:
    return create_trial(state=TrialState.FAIL, user_attrs={"cause": cause})


def test_all_trials_failed_names_the_causes(tmp_path: Path) -> None:
    told = said(tmp_path, [failed("ValueError: no"), failed("ValueError: no"), failed("MemoryError: full")], 10)
    assert told.startswith("all 3 trials failed\n  MemoryError: full\n  ValueError: no")


def test_a_budget_that_was_too_small_names_one_that_does(tmp_path: Path) -> None:
    """By what was seen of a trial, or where no step was made, by a few steps made here. Slots take 12 s to begin."""
    with_one = SearchStudy(tmp_path / "study.log", ["max"])
    with_one.study.ask()
    told = said(tmp_path, with_one.trials, 10, trial_s=100.0, ended="the budget of 10 s is spent")
    assert told.startswith("the search ended before any trial had a score: the budget of 10 s is spent\n")
    assert "one trial takes about 100 s after 12 s in which its slot starts; 160 would do" in told
    told = said(tmp_path, with_one.trials, 10, ended="the budget of 10 s is spent")
    assert " s after 15 s in which its slot starts; " in told, "this one's time was not enough to make a step"
    assert " would do" in told
    assert "trials failed" not in said(tmp_path, [*with_one.trials, failed("ValueError: no")], 10, trial_s=1.0)
