"""A trial by itself: it goes on where it stood, to the last bit, whatever takes it away. No Ray."""

from pathlib import Path

import pytest
import torch

from tests.training.search.made_up_slots import around_of, curve_of, iris, to_its_end
from training.checkpoint.store import CheckpointStore
from training.errors import StorageError
from training.search.messages import Assignment, Cloning
from training.search.slot.solo import USEFUL_S, SoloRun
from training.search.slot.trial_session import TrialKeeper

PARAMS = {"train.peak_lr": 0.02}


def trial(until: int = 6, known: int = 0, *, resumes: bool = False) -> Assignment:
    return Assignment("t0000", PARAMS, until, known, resumes)


def unbroken(storage: Path, **search: object) -> list[float]:
    return curve_of(to_its_end(SoloRun(trial(), around_of(iris(storage / "unbroken", search=search)))))


def test_a_trial_waits_for_its_verdict_and_goes_on(tmp_path: Path) -> None:
    run = SoloRun(trial(until=2), around_of(iris(tmp_path)))
    heard = to_its_end(run)
    assert (heard[-1].state, heard[-1].level, heard[-1].share) == ("judged", 2, pytest.approx(1 / 3))
    assert run.heard() == []
    run.go_on("t0000", 6)
    to_its_end(run, heard)
    assert heard[-1].state == "finished"
    assert curve_of(heard) == unbroken(tmp_path)
    assert sum(each.useful_s for each in heard) > 0
    run.end("t0000", keep=False)
    assert not (tmp_path / "slots" / "checkpoints").exists(), "a short trial writes nothing"


def test_a_trial_that_leaves_in_the_middle_of_an_epoch_goes_on_elsewhere_to_the_same_bits(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path))
    run = SoloRun(trial(), around)
    heard = []
    for _ in range(3):
        run.advance()
        heard += run.heard()
    passed, boundary = [0], around.notices

    def passes(count: int = 3) -> None:
        passed[0] += 1
        if passed[0] == count:
            boundary.leave("its node is to go")

    trainer = run._trainer
    assert trainer is not None
    original = trainer.session.boundary
    trainer.session.boundary = lambda *told: (passes(), original(*told))[1]  # type: ignore[method-assign]
    run.advance()
    heard += run.heard()
    assert heard[-1].state == "left"
    left_at = CheckpointStore(around.place_of("t0000")).list()[-1]
    assert left_at.step % trainer.steps_per_epoch == 3, "in the middle of the third epoch"
    elsewhere = around_of(iris(tmp_path))
    again = SoloRun(trial(known=heard[-1].level, resumes=True), elsewhere)
    more = to_its_end(again)
    assert curve_of([*heard, *more]) == unbroken(tmp_path)
    assert more[0].restored_s is not None
    assert more[0].restored_s > 0
    kept = CheckpointStore(around.place_of("t0000")).newest_intact()
    assert kept is not None
    assert kept[1][USEFUL_S] >= sum(each.useful_s for each in heard[:-1]), "the part of the epoch counts, too"


def test_who_leaves_between_two_folds_keeps_those_that_are_done(tmp_path: Path) -> None:
    search = {"folds": 3, "scheduler": "none"}
    around = around_of(iris(tmp_path, search=search))
    run = SoloRun(trial(until=2), around)
    heard = to_its_end(run)
    assert (heard[-1].state, len(heard[-1].parts)) == ("judged", 2)
    run.leave()
    heard += run.heard()
    assert heard[-1].state == "left"
    again = SoloRun(trial(until=3, known=2, resumes=True), around_of(iris(tmp_path, search=search)))
    more = to_its_end(again)
    assert more[-1].epochs == 18
    assert [part.score for part in more[-1].parts][:2] == [part.score for part in heard[-1].parts]
    whole = to_its_end(SoloRun(trial(until=3), around_of(iris(tmp_path / "unbroken", search=search))))
    assert curve_of([*heard, *more]) == curve_of(whole)
    assert more[-1].values == whole[-1].values == (sum(curve_of(whole)) / 3,)


def test_the_best_weights_are_kept_and_of_folds_none(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path))
    run = SoloRun(trial(), around)
    to_its_end(run)
    best = run._trainer.checkpoint()["best"]["model"]  # type: ignore[union-attr]
    run.end("t0000", keep=True)
    found = CheckpointStore(around.place_of("t0000")).newest_intact()
    assert found is not None
    assert all(torch.equal(found[1]["best"]["model"][name], best[name]) for name in best)
    folds = around_of(iris(tmp_path / "folds", search={"folds": 2, "scheduler": "none"}))
    run = SoloRun(trial(until=2), folds)
    to_its_end(run)
    run.end("t0000", keep=True)
    assert CheckpointStore(folds.place_of("t0000")).newest_intact() is None


def test_a_finished_trial_saves_its_weights_when_its_machine_goes(tmp_path: Path) -> None:
    """It is told with the words that the slot leaves with: no order to keep them can follow."""
    around = around_of(iris(tmp_path))
    run = SoloRun(trial(), around)
    to_its_end(run)
    run.leave()
    assert run.state == "finished"
    assert CheckpointStore(around.place_of("t0000")).newest_intact() is not None


def test_a_storage_that_refuses_is_no_fault_of_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(TrialKeeper, "save", refused)
    around = around_of(iris(tmp_path))
    run = SoloRun(trial(until=2), around)
    to_its_end(run)
    run.leave()
    assert run.heard()[-1].state == "left"
    assert around.notes == [("storage", "a trial could not be saved: the disk is full")]


def test_a_clone_goes_on_from_the_others_weights_and_is_saved_at_once(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path, search={"scheduler": {"kind": "pbt", "interval": 2}}))
    strong = SoloRun(Assignment("t0001", {"train.peak_lr": 0.05}, 2), around)
    weak = SoloRun(trial(until=2), around)
    to_its_end(strong)
    heard = to_its_end(weak)
    lent = strong._trainer.checkpoint()["model"]  # type: ignore[union-attr]
    weak.clone("t0000", Cloning("t0001", {"train.peak_lr": 0.04}, 4))
    saved = CheckpointStore(around.place_of("t0000")).newest_intact()
    assert saved is not None
    assert all(torch.equal(saved[1]["model"][name], lent[name]) for name in lent)
    to_its_end(weak, heard)
    assert (heard[-1].state, heard[-1].level) == ("judged", 4)
    weak.clone("t0000", Cloning("t0001", {"model.hidden": [3, 3]}, 6))
    assert weak.state == "failed"
    assert weak.heard()[-1].cause.startswith("RuntimeError: ")


def test_wrong_settings_and_a_raising_model_fail_the_trial_with_their_cause(tmp_path: Path) -> None:
    run = SoloRun(Assignment("t0000", {"train.epochz": 3}, 6), around_of(iris(tmp_path)))
    assert "train.epochz" in to_its_end(run)[-1].cause
    model = {"target": "tests.training.nets:Raises", "args": {"width": 1}}
    heard = to_its_end(SoloRun(trial(), around_of(iris(tmp_path, model=model))))
    assert [(each.state, each.cause) for each in heard][-1] == ("failed", "RuntimeError: width 1 is below 10")


def test_a_start_a_compilation_and_a_save_are_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    around = around_of(iris(tmp_path))
    paused: list[str] = []
    model_of, save = around.model_of, TrialKeeper.save

    def slow_model(*asked: object) -> object:
        paused.append(f"model {around.watched.is_paused}")
        return model_of(*asked)  # type: ignore[arg-type]

    def slow_save(keeper: TrialKeeper, *told: object, **more: object) -> None:
        paused.append(f"save {around.watched.is_paused}")
        save(keeper, *told, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(around, "model_of", slow_model)
    monkeypatch.setattr(TrialKeeper, "save", slow_save)
    run = SoloRun(trial(until=2), around)
    to_its_end(run)
    trainer = run._trainer
    assert trainer is not None
    with trainer.session.stalled(trainer.checkpoint, trainer.place):
        paused.append(f"compile {around.watched.is_paused}")
    run.leave()
    assert paused == ["model True", "save True", "compile True", "save True"]
    assert not around.watched.is_paused
    before = around.watched.beats
    trainer.evaluate()
    assert around.watched.beats > before, "an evaluation shows that it goes on"
