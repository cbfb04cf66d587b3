"""Trials of earlier runs: which are lent, how they are marked, and what is said of the others."""

import contextlib
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.training.search.spaces import KINDS, experiment, space_of
from training.config import Experiment
from training.errors import ConfigError
from training.run_folder import RunFolder
from training.search.sampling.proposals import Proposals
from training.search.sampling.warm_start import Lent, lend
from training.search.space.drawing import Space
from training.search.study import EARLIER, FILE, SearchStudy, best_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)
LR = {"train.peak_lr": {"log": [1e-4, 1e-1]}}


def earlier_run(storage: Path, name: str, space: dict[str, Any], metric: str = "accuracy", **more: Any) -> Experiment:
    """A run's folder with six ended trials: complete ones, one stopped early, one failed, one that runs."""
    wanted = experiment(space, storage=str(storage), **more).model_copy(update={"name": name})
    folder = RunFolder.of(wanted)
    folder.open(wanted)
    folder.journal.append("search", metric=f"validation/{metric}", mode="max", objectives=[])
    folder.journal.append("searched", metric=f"validation/{metric}", mode="max", best_trial="t0000")
    kept = SearchStudy(folder.trials / FILE, ["max"])
    drawn_by = space_of(wanted)
    for i in range(6):
        trial = kept.study.ask()
        drawn_by.draw(trial)
        trial.report(0.5 + i / 10, 2)
        trial.set_user_attr("loss", float(i))
        if i == 3:
            kept.study.tell(trial, None, TrialState.PRUNED)
        elif i == 4:
            kept.study.tell(trial, None, TrialState.FAIL)
        elif i < 5:
            kept.study.tell(trial, 0.5 + i / 10)
    kept.close()
    return wanted


def lent_to(
    storage: Path, space: dict[str, Any], names: list[str], metric: str = "accuracy", **more: Any
) -> tuple[SearchStudy, Space, list[Lent]]:
    now = experiment(space, storage=str(storage), search={"from": names}, **more)
    with contextlib.closing(SearchStudy(RunFolder.of(now).trials / FILE, ["max"])) as kept:
        return kept, space_of(now), lend(kept.study, space_of(now), now, metric)


def trials_of(wanted: Experiment) -> list[FrozenTrial]:
    with contextlib.closing(SearchStudy(RunFolder.of(wanted).trials / FILE, ["max"])) as kept:
        return kept.study.trials


def test_trials_that_fit_are_known_marked_and_not_ours(tmp_path: Path) -> None:
    earlier = earlier_run(tmp_path, "earlier", KINDS)
    kept, space, told = lent_to(tmp_path, KINDS, ["earlier"])
    theirs = trials_of(earlier)
    lent = kept.study.trials
    assert [trial.user_attrs[EARLIER] for trial in lent] == [f"earlier/t{i:04d}" for i in range(4)]
    assert [space.values_of(trial) for trial in lent] == [space_of(earlier).values_of(trial) for trial in theirs[:4]]
    assert [trial.state for trial in lent] == [TrialState.COMPLETE] * 3 + [TrialState.PRUNED]
    assert [trial.intermediate_values for trial in lent] == [trial.intermediate_values for trial in theirs[:4]]
    assert lent[2].user_attrs["loss"] == 2.0
    assert kept.trials == []
    assert best_trial(kept.study, kept.trials) is None
    assert told[0].words() == "4 of 6 trials of earlier are known (1 failed; 1 have not ended)"


def test_they_are_lent_once(tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier", LR)
    first, _, told = lent_to(tmp_path, LR, ["earlier"])
    again, _, told_again = lent_to(tmp_path, LR, ["earlier", str(tmp_path / "earlier")])
    assert told[0].words() == told_again[0].words()
    assert len(first.study.trials) == 4
    assert len(again.study.trials) == 4, "the same run by its folder is the same run"


def test_a_narrower_space_takes_those_that_lie_in_it(tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier", {"train.seed": {"int": [0, 9]}})
    _, _, told = lent_to(tmp_path, {"train.seed": {"int": [20, 30]}}, ["earlier"])
    assert (told[0].num_lent, told[0].reasons["do not fit: train.seed is not whole numbers 20 to 30"]) == (0, 4)


def test_what_was_fixed_then_and_is_searched_now_has_its_value_of_then(tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier", LR, train={"l1": 0.25})
    wider = {**LR, "train.l1": {"range": [0, 1], "step": 0.25}}
    kept, space, told = lent_to(tmp_path, wider, ["earlier"])
    assert told[0].num_lent == 4
    assert {space.values_of(trial)["train.l1"] for trial in kept.study.trials} == {0.25}


def test_what_was_searched_then_and_is_fixed_now_must_have_been_the_same(tmp_path: Path) -> None:
    earlier = earlier_run(tmp_path, "earlier", {**LR, "model.hidden": {"ordered": [[8], [16]]}})
    kept, _, told = lent_to(tmp_path, LR, ["earlier"], model={"hidden": [8]})
    assert told[0].num_lent == 4 - told[0].reasons["have another model.hidden than this experiment"]
    alike = [trial for trial in trials_of(earlier)[:4] if trial.params["model.hidden"] == 0]
    assert told[0].num_lent == len(alike) == len(kept.study.trials)


def test_settings_of_one_kind_of_model_are_not_taken_for_another(tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier", LR, model={"kind": "mlp", "hidden": [64]})
    now = {
        **LR,
        "model.kind": KINDS["model.kind"],
        "model.hidden": KINDS["model.hidden"],
        "model.dim": KINDS["model.dim"],
    }
    kept, space, told = lent_to(tmp_path, now, ["earlier"])
    assert told[0].num_lent == 4
    values = space.values_of(kept.study.trials[0])
    assert (values["model.kind"], values["model.hidden"]) == ("mlp", [64])
    assert "model.dim" not in values


@pytest.mark.parametrize(
    ("metric", "space", "said"),
    [
        ("f1", LR, "0 of 6 trials of earlier are known (6 judged by validation/accuracy, not validation/f1)"),
        ("accuracy", {"train.l1": {"range": [5, 6]}}, "4 have another train.peak_lr than this experiment"),
    ],
)
def test_trials_that_cannot_be_compared(metric: str, space: dict[str, Any], said: str, tmp_path: Path) -> None:
    earlier_run(tmp_path, "earlier", LR)
    kept, _, told = lent_to(tmp_path, space, ["earlier"], metric)
    assert said in told[0].words()
    assert kept.study.trials == []


def test_runs_that_cannot_be_learned_from(tmp_path: Path) -> None:
    earlier_run(tmp_path, "good", LR)
    (tmp_path / "no-search").mkdir()
    broken = earlier_run(tmp_path, "broken", LR)
    RunFolder.of(broken).experiment_file.write_text(json.dumps({"name": "broken"}))
    for name, said, hint in [
        ("missing", "there is no run in", "runs there that have searched: broken, good"),
        ("no-search", "has not searched", "runs there"),
        ("searched", "which is this run", "its own trials"),
        ("broken", "whose search cannot be read", "take it out"),
    ]:
        with pytest.raises(ConfigError) as error:
            lent_to(tmp_path, LR, [name])
        assert said in error.value.message, name
        assert hint in error.value.hint, name


def test_a_grid_tries_every_combination_itself(tmp_path: Path) -> None:
    """Those of an earlier run would count as tried, and could never be the result."""
    grid = {"train.seed": {"choice": [0, 1, 2]}}
    earlier_run(tmp_path, "one", grid)
    now = experiment(grid, storage=str(tmp_path), search={"from": ["one"], "sampler": "grid", "trials": 9})
    told: list[str] = []
    with contextlib.closing(SearchStudy(RunFolder.of(now).trials / FILE, ["max"])) as kept:
        assert now.search is not None
        proposals = Proposals(now.search, now, kept, "accuracy", told.append)
        seen = []
        while (asked := proposals.ask()) is not None:
            seen.append(asked[1]["train.seed"])
        assert sorted(seen) == [0, 1, 2]
    assert "a grid tries every combination, whatever earlier runs found: search.from is left out" in told


def test_points_that_are_written_later_are_tried_when_the_search_goes_on(tmp_path: Path) -> None:
    def asked(points: list[dict[str, Any]], num: int) -> list[tuple[float, str]]:
        now = experiment(LR, storage=str(tmp_path), search={"points": points})
        with contextlib.closing(SearchStudy(RunFolder.of(now).trials / FILE, ["max"])) as kept:
            assert now.search is not None
            proposals = Proposals(now.search, now, kept, "accuracy", lambda _: None)
            found = [proposals.ask() for _ in range(num)]
            return [(each[1]["train.peak_lr"], each[2]) for each in found if each is not None]

    first = asked([{"train.peak_lr": 0.02}], 3)
    assert (0.02, "point") in first
    later = asked([{"train.peak_lr": 0.02}, {"train.peak_lr": 0.05}], 2)
    assert later[0] == (0.05, "point")
    assert later[1][1] != "point", "each is tried once"
