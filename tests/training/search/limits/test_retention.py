"""What may go, and what never does."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from training.metric_names import Mode
from training.search.limits.retention import Stored, best_trials, retained, size_text
from training.search_config import SearchConfig

MB = 10**6


def search(budget: str | None = None, keep_best: int = 1) -> SearchConfig:
    return SearchConfig.model_validate(
        {"space": {"train.peak_lr": {"log": [1e-4, 1e-1]}}, "storage_budget": budget, "keep_best": keep_best}
    )


def stored(trial: int, state: Any, score: float | None = None, mb: int = 1, at: float = 0.0) -> Stored:
    return Stored(f"t{trial:04d}", state, mb * MB, at, score)


found = st.builds(
    stored, st.integers(0, 12), st.sampled_from([None, None, "complete", "pruned", "failed"]),
    st.one_of(st.none(), st.just(float("nan")), st.integers(0, 9).map(float)), st.integers(1, 9), st.floats(0, 100),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    checkpoints=st.lists(found, max_size=20), budget=st.one_of(st.none(), st.integers(1, 60).map(lambda n: f"{n}MB")),
    keep=st.integers(1, 4), front=st.sets(st.integers(0, 12)), mode=st.sampled_from(["max", "min"]),
)  # fmt: skip
def test_live_and_best_never_go_and_the_rest_goes_only_for_a_reason(
    checkpoints: list[Stored], budget: str | None, keep: int, front: set[int], mode: Mode
) -> None:
    state = {each.trial: each.state for each in reversed(checkpoints)}
    checkpoints = [each for each in checkpoints if each.state == state[each.trial]]
    names = {f"t{i:04d}" for i in front}
    wanted = search(budget, keep)
    result = retained(checkpoints, wanted, mode, names)
    gone, kept = list(result.delete), best_trials(checkpoints, keep, mode) | names
    left = [each for each in checkpoints if not any(each is other for other in gone)]
    assert result.left_bytes == sum(each.num_bytes for each in left)
    running = {name for name, is_in in state.items() if is_in is None}
    assert {each.trial for each in left if each.state is None} == running
    for name in {each.trial for each in checkpoints if each.state is None}:
        newest = max(each.saved_at for each in checkpoints if each.trial == name)
        assert max(each.saved_at for each in left if each.trial == name) == newest
    assert {each.trial for each in left if each.state is not None} == {
        each.trial for each in checkpoints if each.state is not None and each.trial in kept
    }
    over = wanted.storage_budget_bytes is not None and result.left_bytes > wanted.storage_budget_bytes
    assert bool(result.too_much) == over
    superseded = [each for each in gone if each.state is None]
    if superseded:  # the last of them was still needed to come within the budget
        assert wanted.storage_budget_bytes is not None
        assert result.left_bytes + superseded[-1].num_bytes > wanted.storage_budget_bytes


def test_the_worst_goes_first_and_what_has_no_score_before_it() -> None:
    checkpoints = [
        stored(0, "complete", 0.8), stored(1, "pruned", 0.99), stored(2, "failed", 0.95), stored(3, "complete", 0.9),
        stored(4, "complete", 0.7), stored(5, "pruned", None), stored(6, None),
    ]  # fmt: skip
    result = retained(checkpoints, search(), "max")
    assert [each.trial for each in result.delete] == ["t0002", "t0005", "t0001", "t0004", "t0000"]
    assert best_trials(checkpoints, 2, "max") == {"t0003", "t0000"}
    assert best_trials(checkpoints, 2, "min") == {"t0004", "t0000"}


def test_a_stopped_trial_is_the_best_only_where_none_is_complete() -> None:
    assert best_trials([stored(0, "pruned", 0.9), stored(1, "pruned", 0.8)], 1, "max") == {"t0000"}
    assert best_trials([stored(0, "pruned", 0.9), stored(1, "complete", 0.8)], 1, "max") == {"t0001"}


def test_older_checkpoints_of_running_trials_go_when_bytes_are_short() -> None:
    checkpoints = [stored(0, None, mb=4, at=1), stored(0, None, mb=4, at=3), stored(1, None, mb=4, at=2),
                   stored(1, None, mb=4, at=4)]  # fmt: skip
    assert retained(checkpoints, search("20MB"), "max").delete == ()
    assert retained(checkpoints, search("12MB"), "max").delete == (checkpoints[0],)
    short = retained(checkpoints, search("7MB"), "max")
    assert short.delete == (checkpoints[0], checkpoints[2])
    assert short.too_much == (
        "the checkpoints of the search take 8 MB, more than search.storage_budget=7MB, and none of them can go: "
        "2 trials that run need 8 MB, and 0 that are kept need 0 bytes; raise it, or lower search.concurrency, "
        "search.lanes or search.keep_best"
    )


def test_sizes_are_for_people() -> None:
    assert [size_text(size) for size in (12, 3_400, 5_600_000, 2 * 10**9)] == ["12 bytes", "3.4 kB", "5.6 MB", "2 GB"]
