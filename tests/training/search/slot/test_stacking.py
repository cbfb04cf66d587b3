"""Trials as lanes of one stack: what a slot tells of each, and that none ends with another. No Ray."""

from pathlib import Path

import pytest

from tests.training.search.made_up_slots import around_of, curve_of, iris, to_its_end
from training.checkpoint.store import CheckpointStore
from training.search.messages import Assignment, Heard, Orders
from training.search.slot.solo import SoloRun
from training.search.slot.stacking import Stacking, StackRun
from training.search.slot.surroundings import Surroundings
from training.search.slot.workbench import Workbench

STACKED = {"fuse": True, "lanes": 4}
RATES = [0.001, 0.005, 0.02, 0.05]


def assignments(until: int, rates: list[float] = RATES, known: int = 0, *, resumes: bool = False) -> list[Assignment]:
    return [Assignment(f"t{i:04d}", {"train.peak_lr": rate}, until, known, resumes) for i, rate in enumerate(rates)]


def stack_of(around: Surroundings, given: list[Assignment]) -> StackRun:
    """One stack with all of them."""
    stacking = Stacking(around, 4, 4000.0)
    runs: list[StackRun] = []
    for assignment in given:
        run = stacking.admit(assignment, list(runs))
        assert isinstance(run, StackRun)
        runs = [run]
    return runs[0]


def by_itself(tmp_path: Path, rate: float) -> list[float]:
    run = SoloRun(Assignment("t0000", {"train.peak_lr": rate}, 6), around_of(iris(tmp_path / "alone")))
    return curve_of(to_its_end(run))


def test_lanes_that_left_go_on_in_another_stack_and_alone(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path, search=STACKED))
    run = stack_of(around, assignments(3))
    heard = to_its_end(run)
    assert {each.state for each in run.heard() or heard[-4:]} == {"judged"}
    run.leave()
    heard += run.heard()
    assert [each.state for each in heard[-4:]] == ["left"] * 4
    elsewhere = around_of(iris(tmp_path, search=STACKED))
    again = stack_of(elsewhere, assignments(6, RATES[:3], 3, resumes=True))
    more = to_its_end(again)
    assert [each.state for each in more[-3:]] == ["finished"] * 3
    alone = SoloRun(Assignment("t0003", {"train.peak_lr": RATES[3]}, 6, 3, resumes=True), elsewhere)
    to_its_end(alone, more)
    for i, rate in enumerate(RATES):
        told = curve_of([*heard, *more], f"t{i:04d}")
        assert len(told) == 6
        assert told == pytest.approx(by_itself(tmp_path, rate), abs=0.05), f"lane {i}"


def test_a_lane_that_is_done_when_it_comes_back_is_told_without_a_step(tmp_path: Path) -> None:
    """It had left while it waited for its verdict, or finished while its driver died: nobody would ever ask again."""
    around = around_of(iris(tmp_path, search=STACKED))
    run = stack_of(around, assignments(3))
    to_its_end(run)
    run.leave()
    bench = Workbench(around_of(iris(tmp_path, search=STACKED)), Stacking(around, 4, 4000.0))
    bench.obey(Orders(start=tuple(assignments(3, known=3, resumes=True))))
    told = bench.work()
    assert [(each.trial, each.state, each.level) for each in told.heard] == [
        (f"t{i:04d}", "judged", 3) for i in range(4)
    ]


def test_a_lane_that_diverges_when_it_is_saved_ends_alone(tmp_path: Path) -> None:
    train = {
        "checkpoint": {"max_interval_s": 0.001}, "warmup_fraction": 0.0, "max_grad_norm": None,
        "optimizer": {"kind": "sgd"},
    }  # fmt: skip
    around = around_of(iris(tmp_path, train=train, search=STACKED))
    run = stack_of(around, assignments(6, [0.001, 0.005, 0.99]))
    run._stack._tensors.weights[2] *= 1e30  # its next losses are no numbers
    run.advance()
    heard = run.heard()
    assert {each.trial: each.state for each in heard} == {"t0000": "running", "t0001": "running", "t0002": "failed"}
    assert "diverged" in heard[-1].cause
    run.end("t0002", keep=False)
    heard = to_its_end(run)
    assert [each.state for each in heard[-2:]] == ["finished"] * 2
    assert CheckpointStore(around.place_of("t0000")).newest_intact() is not None, "a save was due at every step"


def test_finished_lanes_save_their_weights_when_the_machine_goes(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path, search=STACKED))
    run = stack_of(around, assignments(6, RATES[:2]))
    to_its_end(run)
    run.leave()
    assert [each.state for each in run.heard()] == []
    assert all(CheckpointStore(around.place_of(name)).newest_intact() for name in ("t0000", "t0001"))


def test_seconds_of_a_stack_are_shared_out_among_its_lanes_also_of_half_an_epoch(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path, search=STACKED))
    run = stack_of(around, assignments(6))
    run.advance()
    whole = sum(each.useful_s for each in run.heard())
    around.notices.leave("its node is to go")
    run.advance()
    heard = run.heard()
    assert [each.state for each in heard] == ["left"] * 4
    assert 0 < sum(each.useful_s for each in heard) < 10 * whole
    assert heard[0].useful_s == pytest.approx(heard[3].useful_s)


def test_what_cannot_be_stacked_says_so_once(tmp_path: Path) -> None:
    around = around_of(iris(tmp_path, train={"compile": False, "ema": {"decay": 0.9}}, search={"fuse": "auto"}))
    stacking = Stacking(around, 4, 4000.0)
    assert [stacking.admit(each, []) for each in assignments(6)] == [None] * 4
    notes = stacking.notes()
    assert len(notes) == 1
    assert notes[0][1].startswith("some trials train one at a time: ")
    assert stacking.notes() == ()


@pytest.mark.parametrize(("where", "cause"), [("built", "it cannot be built"), ("called", "it cannot be called")])
def test_a_model_that_raises_fails_its_trial_and_not_the_slot(where: str, cause: str, tmp_path: Path) -> None:
    model = {"target": "tests.training.nets:Breaks", "args": {"where": "nowhere"}}
    around = around_of(iris(tmp_path, model=model, search={"fuse": "auto"}))
    bench = Workbench(around, Stacking(around, 4, 4000.0))
    bad = [Assignment(f"t{i:04d}", {"model.args.where": where}, 6) for i in range(2)]
    good = [Assignment(f"t{i:04d}", {"model.args.where": "nowhere"}, 6) for i in range(2, 4)]
    bench.obey(Orders(start=(bad[0], good[0], bad[1], good[1])))
    heard: dict[str, Heard] = {}
    while len([each for each in heard.values() if each.state in ("failed", "finished")]) < 4:
        heard |= {each.trial: each for each in bench.work().heard}
        bench.obey(Orders())
    assert {name: each.state for name, each in heard.items()} == {
        "t0000": "failed", "t0001": "failed", "t0002": "finished", "t0003": "finished",
    }  # fmt: skip
    assert all(cause in heard[name].cause for name in ("t0000", "t0001"))
