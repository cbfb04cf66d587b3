"""The decision, row by row: who is chosen, who is offered, and the sentence that says why."""

import math

import pytest

from training.compress.choose import choose
from training.package.manifest import Latency, Variant


def variant(
    name: str, score: float, times_ms: tuple[float, float], fraction: float, metric: str = "test/accuracy"
) -> Variant:
    one_ms, many_ms = times_ms
    return Variant(
        name=name,
        file=f"variants/{name}.onnx",
        size_bytes=1000,
        metrics={metric: score},
        latency={
            "1": Latency(p50_ms=one_ms, p99_ms=2 * one_ms),
            "32": Latency(p50_ms=many_ms, p99_ms=2 * many_ms),
        },
        weights_quantized_fraction=fraction,
        tolerance=1e-3,
        offered=True,
    )


FP32 = variant("fp32", 0.97, (0.30, 0.90), 0.0)


@pytest.mark.parametrize(
    ("score", "times_ms", "fraction", "chosen", "offered_and_says"),
    [
        (0.970, (0.09, 0.40), 0.99, "int8", (True, "faster and keeps the score")),
        (0.966, (0.09, 0.40), 0.99, "int8", (True, "test/accuracy 0.9660, fp32 0.9700")),
        (0.990, (0.09, 0.40), 0.99, "int8", (True, "test/accuracy 0.9900")),
        (
            0.960,
            (0.09, 0.40),
            0.99,
            "fp32",
            (False, "loses more than the 0.005 allowed (test/accuracy 0.9600, fp32 0.9700)"),
        ),
        (math.nan, (0.09, 0.40), 0.99, "fp32", (False, "loses more than")),
        (0.970, (0.29, 0.40), 0.99, "fp32", (True, "not faster: one row in 0.29 ms against 0.3 ms")),
        (0.970, (0.60, 1.80), 0.99, "fp32", (True, "not faster")),
        (0.970, (0.09, 0.94), 0.99, "int8", (True, "32 rows in 0.94 ms against 0.9 ms")),
        (
            0.970,
            (0.09, 1.80),
            0.99,
            "fp32",
            (True, "slower for 32: one row in 0.09 ms against 0.3 ms, 32 rows in 1.8 ms"),
        ),
        (0.970, (0.09, 0.40), 0.00, "fp32", (False, "no weight is stored in 8 bits")),
    ],
)
def test_int8_is_chosen_only_when_it_is_faster_and_as_good(
    score: float, times_ms: tuple[float, float], fraction: float, chosen: str, offered_and_says: tuple[bool, str]
) -> None:
    offered, says = offered_and_says
    decision = choose([FP32, variant("int8", score, times_ms, fraction)], "test/accuracy", "max", 0.005)
    assert decision.chosen == chosen
    assert says in decision.reason
    assert [found.offered for found in decision.variants] == [True, offered]
    assert decision.variants[1].note == decision.reason
    assert decision.variants[0].note


@pytest.mark.parametrize(
    ("before", "after", "chosen"),
    [(50.0, 50.2, "int8"), (50.0, 50.3, "fp32"), (50.0, 40.0, "int8"), (0.0, 0.0, "int8"), (0.0, 0.1, "fp32")],
)
def test_an_error_may_grow_by_a_share_of_itself(before: float, after: float, chosen: str) -> None:
    variants = [
        variant("fp32", before, (0.3, 0.9), 0.0, "test/rmse"),
        variant("int8", after, (0.1, 0.4), 0.9, "test/rmse"),
    ]
    assert choose(variants, "test/rmse", "min", 0.005).chosen == chosen


def test_without_another_variant_the_baseline_is_chosen_and_says_so() -> None:
    decision = choose([FP32], "test/accuracy", "max", 0.005)
    assert (decision.chosen, decision.reason) == ("fp32", "fp32 is the only variant that was made")
