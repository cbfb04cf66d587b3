"""The study's file: whole lines, written by one driver, readable by Optuna itself."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from training.errors import StorageError
from training.search.study import EARLIER, STUDY_NAME, SearchStudy, best_trial, front_of, score_of


def filled(path: Path) -> None:
    kept = SearchStudy(path, ["max"])
    for score in (0.5, 0.7):
        trial = kept.study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.report(score, 1)
        kept.study.tell(trial, score)
    kept.close()


def test_optuna_reads_the_file_as_its_own(tmp_path: Path) -> None:
    filled(tmp_path / "study.log")
    study = optuna.load_study(
        study_name=STUDY_NAME, storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    )
    assert study.best_value == 0.7
    assert [trial.intermediate_values for trial in study.trials] == [{1: 0.5}, {1: 0.7}]


def test_nothing_is_on_disk_before_it_is_flushed_and_all_of_it_after(tmp_path: Path) -> None:
    """A driver that acts on an outcome flushes first; until then a kill leaves the study as it was."""
    path = tmp_path / "study.log"
    kept = SearchStudy(path, ["max"])
    before = path.read_bytes()
    trial = kept.study.ask()
    kept.study.tell(trial, 0.5)
    assert path.read_bytes() == before
    assert kept.trials[0].value == 0.5, "this process sees it at once"
    kept.flush()
    assert SearchStudy(path, ["max"]).trials[0].value == 0.5


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_half_written_line_is_dropped_and_the_rest_is_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "study.log"
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    again = SearchStudy(path, ["max"])
    states = [trial.state for trial in again.trials]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING], "its end was not told, so it is still open"
    again.study.tell(again.trials[1].number, 0.9)
    again.close()
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert SearchStudy(path, ["max"]).trials[1].value == 0.9


def test_a_damaged_study_says_so(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    filled(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "garbage", *lines[1:]]) + "\n")
    with pytest.raises(StorageError, match=r"the study .*study.log is damaged"):
        SearchStudy(path, ["max"])


def test_lent_trials_are_neither_ours_nor_on_the_front(tmp_path: Path) -> None:
    kept = SearchStudy(tmp_path / "study.log", ["max", "min"])
    for values, attributes in (([0.9, 1.0], {EARLIER: "old/t0000"}), ([0.5, 2.0], {}), ([0.4, 3.0], {})):
        kept.study.add_trial(optuna.trial.create_trial(values=values, user_attrs=attributes))
    assert [trial.number for trial in kept.trials] == [1, 2]
    assert front_of(kept.study, kept.trials) == ["t0001"]
    best = best_trial(kept.study, kept.trials)
    assert best is not None
    assert score_of(best) == 0.5


def test_of_equal_scores_the_best_trial_is_one_that_no_other_beats_in_the_rest(tmp_path: Path) -> None:
    kept = SearchStudy(tmp_path / "study.log", ["max", "min"])
    for values, loss in (((0.9, 5.0), 0.1), ((0.9, 3.0), 0.4), ((0.8, 1.0), 0.0)):
        trial = kept.study.ask()
        trial.set_user_attr("loss", loss)
        kept.study.tell(trial, list(values))
    best = best_trial(kept.study, kept.trials)
    assert best is not None
    assert best.number == 1
    assert front_of(kept.study, kept.trials) == ["t0001", "t0002"]
