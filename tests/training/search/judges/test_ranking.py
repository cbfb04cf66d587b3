"""Halving by several objectives: ranks are kept right as trials come and go, and the ends of the front are safe."""

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.search.judges.stories import Told, search, stories, verdicts
from training.search.judges import GoOn, Stop, judge_of
from training.search.judges.ranking import RankRung, crowding

LAST = 6
OBJECTIVES = ["score", "latency_ms", "size_mb"]


def ranks(losses_NM: np.ndarray) -> list[int]:
    """By their definition, one pair after another."""
    return [sum(bool((a <= b).all() and (a < b).any()) for a in losses_NM) for b in losses_NM]


@settings(max_examples=80, deadline=None)
@given(
    losses=st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=90),
    gone=st.sets(st.integers(0, 89)),
)
def test_ranks_stay_right_as_trials_come_and_go(losses: list[tuple[int, ...]], gone: set[int]) -> None:
    rung = RankRung(3)
    for i, each in enumerate(losses):
        rung.add(f"t{i:04d}", np.array(each, dtype=float))
    for i in gone:
        rung.remove(f"t{i:04d}")
    left = [i for i in range(len(losses)) if i not in gone]
    assert sorted(rung._names) == [f"t{i:04d}" for i in left]
    expected = dict(
        zip([f"t{i:04d}" for i in left], ranks(np.array([losses[i] for i in left]).reshape(-1, 3)), strict=True)
    )
    assert {name: int(rung._ranks_N[rung._rows[name]]) for name in rung._names} == expected


@settings(max_examples=150, deadline=None)
@given(losses=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_a_newcomers_place_counts_it_among_the_others(losses: list[tuple[int, int]]) -> None:
    losses_NM = np.array(losses, dtype=float)
    rung = RankRung(2)
    for i, losses_M in enumerate(losses_NM[:-1]):
        rung.add(f"t{i:04d}", losses_M)
    of_all = np.array(ranks(losses_NM))
    tied_NM = losses_NM[of_all == of_all[-1]]
    num_ahead = (of_all < of_all[-1]).sum() + (crowding(tied_NM)[:-1] > crowding(tied_NM)[-1]).sum()
    for enough in range(len(losses)):
        rank, found = rung.place(losses_NM[-1], enough)
        assert rank == of_all[-1]
        assert (found > enough) == (num_ahead > enough)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(story=stories(LAST, num_objectives=3, max_trials=10))
def test_the_only_best_in_one_objective_goes_on(story: list[Told]) -> None:
    judge = judge_of(search({"kind": "asha", "grace": 1}, objectives=OBJECTIVES), LAST, ["max", "min", "min"])
    seen: dict[int, list[np.ndarray]] = {}
    for told, verdict in verdicts(judge, story):
        losses_M = np.array(told.values) * [-1, 1, 1]
        before = seen.setdefault(told.level, [])
        if not before or (losses_M < np.min(before, axis=0)).any():
            assert verdict == GoOn()
        before.append(losses_M)


@settings(max_examples=150, deadline=None)
@given(values=st.lists(st.integers(0, 30), min_size=1, max_size=30), factor=st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_an_objective_given_twice_stops_whom_it_stops_alone(values: list[int], factor: float) -> None:
    """Dominance is then order. Only where Tune interpolates between two trials may the verdicts differ."""
    scheduler = {"kind": "asha", "grace": 2, "reduction_factor": factor}
    one = judge_of(search(scheduler), 100, ["max"])
    two = judge_of(search(scheduler, objectives=OBJECTIVES[:2]), 100, ["max", "max"])
    for i, value in enumerate(values):
        alone = one.hear(f"t{i:04d}", 2, [value])
        together = two.hear(f"t{i:04d}", 2, [value, value])
        share = (i - 1) / factor
        num_better = sum(other > value for other in values[:i])
        place = (i - 1) * (1 - 1 / factor)  # as Tune reckons it: 3.0000000000000004 lies between two trials, too
        if place.is_integer() or num_better != math.ceil(share):
            assert isinstance(together, Stop) == isinstance(alone, Stop)


def test_about_one_in_reduction_factor_goes_on() -> None:
    rng = np.random.default_rng(3)
    judge = judge_of(search("asha", objectives=OBJECTIVES[:2]), 20, ["max", "min"])
    passed = [judge.hear(f"t{i:04d}", 2, list(rng.random(2))) == GoOn() for i in range(900)]
    assert 0.28 < np.mean(passed[100:]) < 0.40


def test_the_reason_has_the_values_and_the_numbers() -> None:
    judge = judge_of(search("asha", objectives=OBJECTIVES[:2]), 20, ["max", "min"])
    for i in range(4):
        judge.hear(f"t{i:04d}", 2, [0.9 + 0.01 * i, 3.0])
    verdict = judge.hear("t0009", 2, [0.5, 12.5])
    assert isinstance(verdict, Stop)
    assert verdict.reason == (
        "(0.5, 12.5) at epoch 2: 4 of 4 trials are nowhere worse and somewhere better, and at least 4 are ahead by "
        "rank, where 1 may be"
    )


def test_crowding_is_that_of_nsga_2() -> None:
    losses_NM = np.array([[0.0, 1.0], [0.2, 0.5], [0.6, 0.4], [1.0, 0.0]])
    np.testing.assert_allclose(crowding(losses_NM), [np.inf, 0.6 + 0.6, 0.8 + 0.5, np.inf])
    assert crowding(np.ones((3, 2))).tolist() == [0.0, 0.0, 0.0]
