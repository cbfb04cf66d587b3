"""The decision, row by row: who is chosen, who is offered, and the sentence that says why."""

from typing import Any

import pytest

from training.compress.gate.candidate import Candidate, beats
from training.compress.gate.choose import choose
from training.compress_config import CompressConfig
from training.package.manifest import Cost, Latency, Quality, SliceDrop, Variant


def latency(p50_ms: float, noise: float = 0.01) -> Latency:
    low, high = p50_ms * (1 - noise), p50_ms * (1 + noise)
    return Latency(p50_ms=p50_ms, p99_ms=2 * p50_ms, p50_range_ms=(low, high), p99_range_ms=(2 * low, 2 * high))


def candidate(
    name: str, drop: float | None = 0.0, times_ms: tuple[float, float] = (0.3, 0.9), *, size: int = 1000,
    share: float = 0.9, usd: float | None = None, slices: tuple[SliceDrop, ...] = (), **more: Any,
) -> Candidate:  # fmt: skip
    one, many = (latency(time_ms, more.get("noise", 0.01)) for time_ms in times_ms)
    quality = None
    if drop is not None:
        quality = Quality(
            metric="test/accuracy", drop=drop, low=drop - 0.001, high=drop + 0.001, num_rows=500, slices=slices
        )
    variant = Variant(
        name=name, file=f"variants/{name}.onnx", runtime=more.get("runtime", "onnxruntime"), size_bytes=size,
        metrics={}, latency={}, weights_quantized_fraction=share, tolerance=1e-3, offered=True, quality=quality,
    )  # fmt: skip
    return Candidate(variant, Cost(latency={"1": one, "8": one, "32": many}, usd_per_million=usd))


FP32 = candidate("fp32", None, share=0.0)
P50 = CompressConfig(objective="latency_p50")


@pytest.mark.parametrize(
    ("drop", "times_ms", "share", "chosen", "says"),
    [
        (0.000, (0.09, 0.40), 0.99, "int8", "one row in 0.18 ms (p99) against 0.6 ms of fp32"),
        (0.004, (0.09, 0.40), 0.99, "int8", "drops by 0.004 (95 % 0.003 to 0.005), 0.005 is allowed"),
        (0.005 + 1e-16, (0.09, 0.40), 0.99, "int8", "drops by 0.005"),
        (-0.02, (0.09, 0.40), 0.99, "int8", "test/accuracy rises by 0.02 (95 % 0.019 to 0.021)"),
        (
            0.010,
            (0.09, 0.40),
            0.99,
            "fp32",
            "drops by 0.01 (95 % 0.009 to 0.011), and 0.005 is allowed",
        ),
        (0.000, (0.29, 0.89), 0.99, "fp32", "neither faster nor smaller (one row in 0.29 ms against 0.3 ms"),
        (0.000, (0.60, 1.80), 0.99, "fp32", "neither faster nor smaller"),
        (0.000, (0.09, 0.94), 0.99, "int8", "0.18 ms"),
        (0.000, (0.09, 1.80), 0.99, "fp32", "better, but 32 rows take it longer: 1.8 ms against 0.9 ms"),
        (0.000, (0.09, 0.40), 0.00, "fp32", "no weight is stored in fewer bits"),
    ],
)
def test_a_form_is_chosen_only_when_it_is_better_and_as_good(
    drop: float, times_ms: tuple[float, float], share: float, chosen: str, says: str
) -> None:
    decision = choose([FP32, candidate("int8", drop, times_ms, share=share)], CompressConfig())
    assert decision.chosen == chosen
    assert says in decision.reason
    assert says in decision.notes["int8"] or chosen == "int8"
    assert decision.notes["fp32"]


def test_a_group_must_not_be_sacrificed_for_the_mean() -> None:
    bad = SliceDrop(
        column="sex", value="F", num_rows=90, baseline=0.9, score=0.8, drop=0.1, p_value=0.001, sacrificed=True
    )
    decision = choose([FP32, candidate("int8", 0.0, (0.09, 0.4), slices=(bad,))], CompressConfig())
    assert decision.chosen == "fp32"
    assert (
        "sex=F loses 0.1 of its 90 rows, and 0.01 is allowed (p 0.001), though test/accuracy is kept on the whole"
        in decision.reason
    )


def test_the_objective_decides_among_those_that_keep_the_score() -> None:
    candidates = [
        candidate("fp32", None, share=0.0, usd=1.0),
        candidate("quick", 0.001, (0.05, 0.4), size=900, usd=0.5),
        candidate("small", 0.001, (0.20, 0.8), size=100, usd=0.8),
        candidate("cheap", 0.001, (0.25, 0.1), size=900, usd=0.1),
        candidate("wrong", 0.100, (0.01, 0.01), size=10, usd=0.01),
    ]
    chosen = {
        objective: choose(candidates, CompressConfig.model_validate({"objective": objective, "usd_per_hour": 1})).chosen
        for objective in ("latency_p99", "latency_p50", "size", "cost")
    }
    assert chosen == {"latency_p99": "quick", "latency_p50": "quick", "size": "small", "cost": "cheap"}
    decision = choose(candidates, CompressConfig())
    assert decision.passed == ("fp32", "quick", "small", "cheap")
    assert set(decision.front) == {"fp32", "quick", "small"}
    assert decision.ranking == ("quick", "small", "cheap", "fp32")


def test_of_forms_that_noise_alone_tells_apart_the_one_that_loses_least_is_taken() -> None:
    candidates = [FP32, candidate("a", 0.004, (0.100, 0.4)), candidate("b", 0.000, (0.102, 0.4))]
    assert choose(candidates, P50).chosen == "b"
    candidates[1] = candidate("a", 0.004, (0.050, 0.4))
    assert choose(candidates, P50).chosen == "a"


def test_a_p99_that_noise_hides_is_believed_where_the_medians_say_the_same() -> None:
    noisy = candidate("int8", 0.0, (0.1, 0.4))
    wide = Latency(p50_ms=0.1, p99_ms=0.4, p50_range_ms=(0.09, 0.11), p99_range_ms=(0.1, 5.0))
    noisy = Candidate(noisy.variant, Cost(latency=dict.fromkeys(("1", "8", "32"), wide)))
    assert beats(noisy, FP32, CompressConfig())
    blurred = candidate("int8", 0.0, (0.25, 0.4), noise=0.5)
    assert not beats(blurred, FP32, CompressConfig())


def test_a_form_that_is_smaller_and_no_faster_is_offered_and_not_chosen_for_speed() -> None:
    decision = choose([FP32, candidate("fp16", 0.0, (0.3, 0.9), size=500)], CompressConfig())
    assert decision.passed == ("fp32", "fp16")
    assert decision.chosen == "fp32"
    assert "fp16 is no better: one row in 0.6 ms" in decision.reason
    decision = choose([FP32, candidate("fp16", 0.0, (0.295, 0.9), size=500)], CompressConfig())
    assert "fp16 is not better by more than noise" in decision.reason


def test_the_reason_for_the_baseline_counts_what_failed() -> None:
    others = [candidate("a", 0.1, (0.1, 0.1)), candidate("b", 0.0, (0.5, 0.9)), candidate("c", 0.0, size=400)]
    reason = choose([FP32, *others], CompressConfig()).reason
    assert reason.startswith("none of 3 other forms beats fp32: 1 loses more than is allowed; the best that keeps")
    assert reason.endswith("1 is neither faster nor smaller")


def test_without_another_form_the_baseline_is_chosen_and_says_so() -> None:
    decision = choose([FP32], CompressConfig())
    assert (decision.chosen, decision.reason) == ("fp32", "fp32 is the only form that was made")
