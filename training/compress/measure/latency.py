"""How long a call takes, of several forms in turn. Shape letters: N rows, T turns, C calls of a turn, R resamples."""

import resource
import time
from collections.abc import Callable, Mapping

import numpy as np

from training.package.manifest import Latency

Tensors = Mapping[str, np.ndarray]
Runner = Callable[[Tensors], np.ndarray]

BATCH_SIZES = (1, 8, 32)
CALLS_PER_TURN = 10
WARM_UP_CALLS = 3  # of every turn: the form before has taken the caches
TURN_S = 0.02  # slower calls have fewer of them in a turn, so that the turns stay close together
MIN_TURNS, MAX_TURNS = 6, 400
NUM_RESAMPLES = 200
LEVEL = 0.95
MOST_DISTURBED = 0.5  # share of a form's calls; beyond it a busy machine is what the figures are of


def measure_latency(
    runners: Mapping[str, Runner], tensors: Tensors, budget_s: float = 1.0, batch_sizes: tuple[int, ...] = BATCH_SIZES
) -> dict[str, dict[str, Latency]]:
    """Latency by form, then by batch size.

    Forms take turns, so that a noisy neighbour slows all of them and not one.

    Args:
        runners: loaded forms by name.
        tensors: held-out rows; repeated where there are fewer than the largest batch.
        budget_s: time to spend on each batch size; at least MIN_TURNS are measured however long they take.
        batch_sizes: rows of a call.
    """
    latency: dict[str, dict[str, Latency]] = {name: {} for name in runners}
    for batch_size in batch_sizes:
        batch = first_rows(tensors, batch_size)
        calls = {name: _call(runner, batch) for name, runner in runners.items()}
        seconds, is_busy = _take_turns(calls, budget_s)
        for name, seconds_TC in seconds.items():
            latency[name][str(batch_size)] = latency_of(seconds_TC).model_copy(update={"busy": is_busy})
    return latency


def latency_of(seconds_TC: np.ndarray) -> Latency:
    """Percentiles of all calls, each with where it lies in 95 % of resamples of the turns.

    Turns are drawn and not calls: what disturbs a call disturbs its neighbours too.

    Args:
        seconds_TC: NaN where a call does not count.
    """
    turns = seconds_TC[np.isfinite(seconds_TC).any(axis=1)]
    drawn_RT = np.random.default_rng(0).integers(0, len(turns), (NUM_RESAMPLES, len(turns)))
    drawn_2R = np.nanpercentile(turns[drawn_RT].reshape(NUM_RESAMPLES, -1), [50, 99], axis=1)
    bounds_22 = 1e3 * np.quantile(drawn_2R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1).T
    (p50_low, p50_high), (p99_low, p99_high) = bounds_22.tolist()
    p50_ms, p99_ms = (1e3 * np.nanpercentile(turns, [50, 99])).tolist()
    return Latency(
        p50_ms=p50_ms, p99_ms=p99_ms, p50_range_ms=(p50_low, p50_high), p99_range_ms=(p99_low, p99_high)
    )  # fmt: skip


def first_rows(tensors: Tensors, num_rows: int) -> dict[str, np.ndarray]:
    """So many rows, each array in one piece; from the beginning again where there are fewer."""
    return {name: np.resize(values, (num_rows, *values.shape[1:])) for name, values in tensors.items()}


def _call(runner: Runner, batch: Tensors) -> Callable[[], object]:
    return lambda: runner(batch)


def _take_turns(calls: Mapping[str, Callable[[], object]], budget_s: float) -> tuple[dict[str, np.ndarray], bool]:
    """Seconds of the calls (T, C) of each form, and whether the machine was too busy to leave disturbed ones out."""
    num_calls = {name: _calls_per_turn(call) for name, call in calls.items()}
    turns_s: dict[str, list[list[tuple[float, int]]]] = {name: [] for name in calls}
    names = list(calls)
    deadline = time.perf_counter() + budget_s
    for turn in range(MAX_TURNS):
        if turn >= MIN_TURNS and time.perf_counter() > deadline:
            break
        for name in names:
            turns_s[name].append(_turn(calls[name], num_calls[name]))
        names = names[1:] + names[:1]  # nobody always follows the same one
    found = {name: np.array(turns) for name, turns in turns_s.items()}
    # One rule for all: with the pauses of one form left out and those of another not, they could not be compared.
    is_busy = any((seconds[..., 1] > 0).mean() > MOST_DISTURBED for seconds in found.values())
    return {name: _counted(seconds, is_busy=is_busy) for name, seconds in found.items()}, is_busy


def _counted(seconds_TC2: np.ndarray, *, is_busy: bool) -> np.ndarray:
    """Calls during which no other program took the processor away; all of them on a machine that is busy anyway.

    Such a pause is 4 ms long, and of a call of 0.1 ms it would be all that a p99 tells.
    """
    seconds_TC, was_disturbed_TC = seconds_TC2[..., 0], seconds_TC2[..., 1] > 0
    return seconds_TC if is_busy else np.where(was_disturbed_TC, np.nan, seconds_TC)


def _calls_per_turn(call: Callable[[], object]) -> int:
    """Also what warms a form up: the first call allocates, and may compile."""
    call()
    began = time.perf_counter()
    call()
    return max(1, min(CALLS_PER_TURN, int(TURN_S / max(time.perf_counter() - began, 1e-9))))


def _turn(call: Callable[[], object], num_calls: int) -> list[tuple[float, int]]:
    """Seconds of each call, and how often the processor was taken away meanwhile."""
    for _ in range(min(WARM_UP_CALLS, num_calls)):
        call()
    found = []
    for _ in range(num_calls):
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        began = time.perf_counter()
        call()
        seconds = time.perf_counter() - began
        found.append((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - switches))
    return found
