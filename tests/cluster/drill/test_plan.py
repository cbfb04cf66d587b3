"""Blows are decided by a seed, over the whole training, every kind equally often."""

from collections import Counter

import pytest

from cluster.drill.errors import DrillError
from cluster.drill.plan import DEFAULT_KINDS, Kind, kinds_of, plan_blows


def test_the_same_seed_plans_the_same_and_another_one_something_else() -> None:
    assert plan_blows(3, 20, DEFAULT_KINDS, 5000) == plan_blows(3, 20, DEFAULT_KINDS, 5000)
    assert plan_blows(3, 20, DEFAULT_KINDS, 5000) != plan_blows(4, 20, DEFAULT_KINDS, 5000)


@pytest.mark.parametrize("seed", range(20))
def test_blows_fall_in_order_all_over_the_training_and_never_at_its_very_ends(seed: int) -> None:
    planned = plan_blows(seed, 20, DEFAULT_KINDS, 10_000)
    steps = [blow.at_step for blow in planned]
    assert [blow.number for blow in planned] == list(range(1, 21))
    assert steps == sorted(steps)
    assert 300 <= steps[0] < 5000 < steps[-1] <= 10_000 * 20 / 21
    assert Counter(blow.kind for blow in planned) == dict.fromkeys(DEFAULT_KINDS, 5)
    assert all(0 <= blow.draw < 1 for blow in planned)


def test_fewer_steps_than_blows_are_refused() -> None:
    with pytest.raises(DrillError, match="20 events do not fit into a training of 19 steps"):
        plan_blows(0, 20, DEFAULT_KINDS, 19)


def test_kinds_are_read_from_a_list_and_an_unknown_one_is_named_with_those_there_are() -> None:
    assert kinds_of("notice, kill-node,notice") == (Kind.NOTICE, Kind.KILL_NODE)
    with pytest.raises(DrillError) as error:
        kinds_of("notice,earthquake")
    assert "earthquake is no kind of event" in error.value.message
    assert "kill_cluster" in error.value.hint
    with pytest.raises(DrillError, match="no kind of event given"):
        kinds_of(" , ")
