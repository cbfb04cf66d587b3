"""Who proposes trials: every sampler on every kind of space, resumed, with one objective and with two."""

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tests.training.search.spaces import FINITE, KINDS, experiment, space_of
from training.config import Experiment
from training.errors import ConfigError
from training.search.sampling.few_trials import NUM_BEST, FewTrials
from training.search.sampling.samplers import NEWEST, is_exhausted, sampler_of, source_of
from training.search.space.drawing import Space
from training.search.study import EARLIER, SearchStudy

optuna.logging.set_verbosity(optuna.logging.ERROR)
NUMBERS = {"train.peak_lr": {"log": [1e-4, 1e-1]}, "train.l1": {"range": [0, 1]}, "train.seed": {"int": [0, 30]}}
LISTED = {**NUMBERS, "train.optimizer.kind": {"choice": ["adamw", "sgd"]}}

OPEN: list[SearchStudy] = []


class Search:
    """A study in a file, asked as the driver asks it."""

    def __init__(self, wanted: Experiment, path: Path, num_objectives: int = 1) -> None:
        self.wanted, self.space = wanted, space_of(wanted)
        if OPEN:
            OPEN.pop().close()  # as the driver that was here before
        self.kept = SearchStudy(path, ["max"] * num_objectives)
        OPEN.append(self.kept)
        self.study.sampler, self.notes = sampler_of(wanted.search, self.space, self.study)

    @property
    def study(self) -> Study:
        return self.kept.study

    def ask(self) -> tuple[Trial, dict[str, Any], str]:
        trial = self.study.ask()
        values = self.space.draw(trial)
        return trial, values, source_of(self.study, trial._trial_id)

    def run(self, num_trials: int) -> list[tuple[dict[str, Any], str]]:
        done = []
        for _ in range(num_trials):
            trial, values, source = self.ask()
            assert self.space.lacking(values) is None
            self.tell(trial, values)
            done.append((values, source))
        return done

    def tell(self, trial: Trial, values: dict[str, Any]) -> None:
        score = -abs(values.get("train.peak_lr", 0.01) - 0.01) - values.get("train.l1", 0.0)
        if len(self.study.directions) > 1:
            self.study.tell(trial, [score, -values.get("train.seed", 0.0)])
        elif trial.number % 3 == 2:
            trial.report(score, 1)
            self.study.tell(trial, None, TrialState.PRUNED)
        else:
            trial.report(score, 3)
            self.study.tell(trial, score)


@pytest.fixture(autouse=True)
def _no_warning() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    while OPEN:
        OPEN.pop().close()


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random", "nsga2"])
@pytest.mark.parametrize("space", [NUMBERS, LISTED, KINDS], ids=["numbers", "listed", "conditions"])
def test_every_sampler_takes_every_space_and_goes_on_with_new_trials(
    sampler: str, space: dict[str, Any], tmp_path: Path
) -> None:
    wanted = experiment(space, search={"sampler": sampler, "startup_trials": 4})
    first = Search(wanted, tmp_path / "study.log").run(12)
    resumed = Search(wanted, tmp_path / "study.log").run(4)
    texts = [json.dumps(values, sort_keys=True) for values, _ in [*first, *resumed]]
    if sampler != "nsga2":  # which keeps its best as they are
        assert len(set(texts)) == len(texts), "a search that goes on must not repeat its draws"
    assert resumed not in (first[:4], first[-4:])
    sources = [source for _, source in first]
    assert sources[:4] == ["random"] * 4
    assert ("sampler" in sources[4:]) == (sampler != "random")
    again = Search(wanted, tmp_path / "again.log").run(12)
    assert again == first, "one slot, no interruption: the same trials"


@pytest.mark.parametrize("space", [LISTED, KINDS], ids=["listed", "conditions"])
def test_a_gaussian_process_takes_over_from_tpe(space: dict[str, Any], tmp_path: Path) -> None:
    wanted = experiment(space, search={"sampler": "gp", "startup_trials": 3})
    done = Search(wanted, tmp_path / "study.log").run(5)
    assert [source for _, source in done] == ["random"] * 3 + ["sampler"] * 2


@pytest.mark.parametrize(("sampler", "num_trials"), [("tpe", 10), ("gp", 5), ("random", 5), ("nsga2", 10)])
def test_several_objectives(sampler: str, num_trials: int, tmp_path: Path) -> None:
    more = {"sampler": sampler, "startup_trials": 4, "objectives": ["score", "size_mb"]}
    done = Search(experiment(KINDS, search=more), tmp_path / "study.log", num_objectives=2).run(num_trials)
    assert (done[-1][1] == "sampler") == (sampler != "random")


def test_tpe_learns_what_is_good(tmp_path: Path) -> None:
    search = Search(experiment(NUMBERS, search={"startup_trials": 8}), tmp_path / "study.log")
    done = [values["train.l1"] for values, _ in search.run(60)]
    assert sum(done[-20:]) / 20 < 0.25 < sum(done[:8]) / 8


def test_notes_say_what_a_sampler_cannot_take(tmp_path: Path) -> None:
    def notes(sampler: str, space: dict[str, Any], **more: Any) -> str:
        wanted = experiment(space, search={"sampler": sampler, **more})
        return "\n".join(Search(wanted, tmp_path / f"{sampler}{len(space)}{len(more)}").notes)

    assert notes("tpe", KINDS) == notes("random", KINDS) == notes("cmaes", NUMBERS) == ""
    assert "choices without an order: train.optimizer.kind" in notes("cmaes", LISTED)
    assert "not drawn in all trials: model.hidden, model.dim, train.optimizer.momentum" in notes("cmaes", KINDS)
    assert "left with 1 of the keys" in notes("cmaes", KINDS)
    assert "until 8 have, tpe proposes" in notes("gp", NUMBERS)
    assert notes("gp", NUMBERS, scheduler="none") == ""
    assert "draws at random what is not drawn in all trials" in notes("nsga2", KINDS)


def test_a_grid_tries_everything_once_also_after_a_restart_and_then_ends(tmp_path: Path) -> None:
    wanted = experiment(FINITE, search={"sampler": "grid", "trials": 100})
    size, done = space_of(wanted).size(), []
    point = {"model.kind": "table_resnet", "model.dim": 128}
    for restart in range(3):
        search = Search(wanted, tmp_path / "study.log")
        assert f"{size} combinations" in search.notes[0]
        if restart == 0:
            search.study.enqueue_trial(search.space.stored(point))
        while len(done) < (10, 20, size)[restart]:
            assert not is_exhausted(wanted.search, search.space, search.study.get_trials(deepcopy=False))
            done += search.run(1)
    assert len({json.dumps(values, sort_keys=True) for values, _ in done}) == size == len(done)
    assert is_exhausted(wanted.search, search.space, search.study.get_trials(deepcopy=False))
    assert [source for _, source in done] == ["point"] + ["sampler"] * (size - 1)


def test_a_grid_counts_trials_that_run_as_begun(tmp_path: Path) -> None:
    wanted = experiment({"train.seed": {"int": [0, 5]}}, search={"sampler": "grid"})
    search = Search(wanted, tmp_path / "study.log")
    running = [search.ask()[1]["train.seed"] for _ in range(6)]
    assert sorted(running) == list(range(6)), "six slots at once, six combinations"
    assert is_exhausted(wanted.search, search.space, search.study.get_trials(deepcopy=False))


def test_an_endless_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no end of them"):
        Search(experiment(NUMBERS, search={"sampler": "grid"}), tmp_path / "study.log")


def test_sources_of_points_and_of_lent_trials(tmp_path: Path) -> None:
    search = Search(experiment(NUMBERS), tmp_path / "study.log")
    search.study.enqueue_trial({"train.peak_lr": 0.01})
    assert search.ask()[2] == "point"
    params = {"train.peak_lr": 0.02, "train.l1": 0.5, "train.seed": 3}
    distributions = search.space.distributions(params)
    search.study.add_trial(
        create_trial(params=params, distributions=distributions, value=1.0, user_attrs={EARLIER: "old/t0000"})
    )
    assert source_of(search.study, search.study.get_trials()[-1]._trial_id) == "earlier run"


def test_cmaes_begins_where_lent_trials_were_good(tmp_path: Path) -> None:
    wanted = experiment(NUMBERS, search={"sampler": "cmaes", "startup_trials": 1})
    kept = SearchStudy(tmp_path / "study.log", ["max"])
    space = space_of(wanted)
    for i in range(40):
        params = {"train.peak_lr": 10 ** (-4 + 3 * i / 40), "train.l1": i / 40, "train.seed": i % 30}
        score = -abs(params["train.l1"] - 0.9)
        kept.study.add_trial(
            create_trial(params=params, distributions=space.distributions(params), value=score,
                         user_attrs={EARLIER: f"old/t{i:04d}"})
        )  # fmt: skip
    kept.close()
    drawn = [values["train.l1"] for values, _ in Search(wanted, tmp_path / "study.log").run(6)]
    assert min(drawn) > 0.6


# What a sampler sees of a long search.


def filled(num_trials: int, directions: list[str]) -> tuple[Study, Space]:
    space = space_of(experiment(NUMBERS))
    study = optuna.create_study(directions=directions)
    for i in range(num_trials):
        params = {"train.peak_lr": 0.01, "train.l1": (i * 37 % 101) / 101, "train.seed": i % 30}
        values = [params["train.l1"], i * 53 % 97][: len(directions)]
        study.add_trial(create_trial(params=params, distributions=space.distributions(params), values=values))
    return study, space


def test_few_trials_are_the_best_and_the_newest_and_all_that_run() -> None:
    study, _ = filled(300, ["maximize"])
    running = study.ask()
    seen = FewTrials(40).of(study).get_trials(deepcopy=False)
    trials = study.get_trials(deepcopy=False)
    best = sorted(trials[:-1], key=lambda trial: -trial.value)[:NUM_BEST]
    expected = {trial.number for trial in [*best, *trials[-41:]]}
    assert {trial.number for trial in seen} == expected
    assert running.number in expected
    assert [trial.number for trial in seen] == sorted(expected)


def test_few_trials_hold_the_front_of_two_objectives_also_as_more_come() -> None:
    study, space = filled(200, ["maximize", "minimize"])
    few = FewTrials(20)

    def missing() -> set[int]:
        seen = {trial.number for trial in few.of(study).get_trials(deepcopy=False)}
        # Of equals one is enough.
        values = {tuple(study.trials[number].values) for number in seen}
        return {trial.number for trial in study.best_trials if tuple(trial.values) not in values}

    assert missing() == set()
    params = {"train.peak_lr": 0.01, "train.l1": 0.999, "train.seed": 1}
    winner = create_trial(params=params, distributions=space.distributions(params), values=[2.0, -1.0])
    study.add_trial(winner)
    for _ in range(30):
        study.add_trial(create_trial(params=params, distributions=space.distributions(params), values=[0.0, 99.0]))
    assert missing() == set()
    assert len(few.of(study).get_trials(deepcopy=False)) <= 20 + NUM_BEST


def test_tpe_really_looks_at_few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Optuna that asks the study in another way would quietly become slow again."""
    study, space = filled(NEWEST + 400, ["maximize"])
    wanted = experiment(NUMBERS)
    study.sampler, _ = sampler_of(wanted.search, space, study)
    looked_at: list[int] = []
    original = optuna.samplers.TPESampler._get_internal_repr

    def counted(self: Any, trials: list[FrozenTrial], *rest: Any) -> Any:
        looked_at.append(len(trials))
        return original(self, trials, *rest)

    monkeypatch.setattr(optuna.samplers.TPESampler, "_get_internal_repr", counted)
    space.draw(study.ask())
    below, above = looked_at
    assert below == 25
    assert NEWEST < below + above <= NEWEST + NUM_BEST
