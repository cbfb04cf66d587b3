"""What a variant costs and what it is worth, from running it. Shape letters: N rows."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from training.package.manifest import Latency
from training.package.runtime import VariantRunner

Tensors = Mapping[str, np.ndarray]

BATCH_SIZES = (1, 32)
SCORING_BATCH = 64  # about what serving joins into one call
CALLS_PER_TURN = 10
MIN_ROUNDS, MAX_ROUNDS = 10, 100
WARM_UP_CALLS = 3  # of every turn: the variant before has taken the caches


def predict(runner: VariantRunner, tensors: Tensors) -> np.ndarray:
    """Scores of all rows, in batches as serving makes them."""
    num_rows = len(next(iter(tensors.values())))
    batches = [
        runner({name: values[start : start + SCORING_BATCH] for name, values in tensors.items()})
        for start in range(0, num_rows, SCORING_BATCH)
    ]
    return np.concatenate(batches)


def measure_latency(
    runners: Mapping[str, VariantRunner], tensors: Tensors, budget_s: float = 1.0
) -> dict[str, dict[str, Latency]]:
    """Latency by variant, then by batch size.

    Variants take turns round by round, so that a noisy neighbour slows all of them and not one.

    Args:
        runners: loaded variants by name.
        tensors: held-out rows; repeated where there are fewer than the largest batch.
        budget_s: time to spend on each batch size; at least MIN_ROUNDS are measured however long they take.
    """
    latency: dict[str, dict[str, Latency]] = {name: {} for name in runners}
    for batch_size in BATCH_SIZES:
        batch = _first_rows(tensors, batch_size)
        calls = {name: _call(runner, batch) for name, runner in runners.items()}
        for name, samples_s in _take_turns(calls, budget_s).items():
            p50_s, p99_s = np.percentile(samples_s, [50, 99])
            latency[name][str(batch_size)] = Latency(p50_ms=float(p50_s) * 1e3, p99_ms=float(p99_s) * 1e3)
    return latency


def _call(runner: VariantRunner, batch: Tensors) -> Callable[[], np.ndarray]:
    return lambda: runner(batch)


def _take_turns(calls: Mapping[str, Callable[[], np.ndarray]], budget_s: float) -> dict[str, list[float]]:
    samples_s: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    deadline = time.perf_counter() + budget_s
    for num_round in range(MAX_ROUNDS):
        if num_round >= MIN_ROUNDS and time.perf_counter() > deadline:
            break
        for name in names:
            samples_s[name] += _time_calls(calls[name])
        names = names[1:] + names[:1]  # nobody always follows the same one
    return samples_s


def _time_calls(call: Callable[[], np.ndarray]) -> list[float]:
    for _ in range(WARM_UP_CALLS):
        call()
    samples_s = []
    for _ in range(CALLS_PER_TURN):
        start = time.perf_counter()
        call()
        samples_s.append(time.perf_counter() - start)
    return samples_s


def _first_rows(tensors: Tensors, num_rows: int) -> dict[str, np.ndarray]:
    return {name: np.resize(values, (num_rows, *values.shape[1:])) for name, values in tensors.items()}
