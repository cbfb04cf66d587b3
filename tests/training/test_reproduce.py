"""Two trainings compared, and what differs between then and now: pure, on made-up outcomes."""

import math
from typing import Any

import pytest
import torch

from training.config import Experiment
from training.provenance import Provenance, provenance_of
from training.reproduce import Outcome, compare, differences_of, likely_causes, weights_digest


def outcome(
    shift: float = 0.0, *, best: int = 2, losses: tuple[float | None, ...] = (0.5, 0.4, 0.45), **tensors: Any
) -> Outcome:
    weights = {"layer.weight": torch.tensor([[1.0, 2.0 + shift]]), "steps": torch.tensor(7)} | tensors
    epochs = [
        {"epoch": i, "metrics": {"train/loss": loss, "samples_per_s": float(i)}} for i, loss in enumerate(losses, 1)
    ]
    return Outcome(best, weights, epochs)


def test_the_same_bits_are_bit_equal() -> None:
    found = compare(outcome(), outcome())
    assert (found.verdict, found.largest_difference, found.first_difference) == ("bit-equal", 0.0, "")
    assert found.digest[0] == found.digest[1]


def test_a_last_digit_is_equal_within_the_tolerance() -> None:
    found = compare(outcome(), outcome(5e-7))
    assert (found.verdict, found.where) == ("equal within tolerance", "layer.weight")
    assert found.largest_difference == pytest.approx(5e-7, rel=0.1)
    assert compare(outcome(), outcome(5e-5)).verdict == "different"
    assert compare(outcome(), outcome(5e-5), tolerance=1e-3).verdict == "equal within tolerance"


def test_what_and_where_of_a_difference() -> None:
    scores = compare(outcome(), outcome(losses=(0.5, 0.4001, 0.45)))
    assert (scores.verdict, scores.first_difference) == ("different", "epoch 2, train/loss: 0.4 then, 0.4001 now")
    assert scores.largest_score_difference == pytest.approx(1e-4)
    assert compare(outcome(), outcome(best=3)).verdict == "different"
    shorter = compare(outcome(), outcome(losses=(0.5, 0.4)))
    assert (shorter.verdict, shorter.first_difference) == ("different", "3 epochs then, 2 now")
    lost = compare(outcome(), outcome(losses=(0.5, None, 0.45)))
    assert (lost.verdict, lost.largest_score_difference) == ("different", math.inf)
    other = compare(outcome(), outcome(extra=torch.zeros(1)))
    assert (other.verdict, other.largest_difference, other.where) == ("different", None, "only one of them has extra")
    shaped = compare(outcome(), Outcome(2, {**outcome().weights, "steps": torch.zeros(2)}, outcome().epochs))
    assert shaped.where == "steps is () then, (2,) now"
    broken = {"layer.weight": torch.tensor([[1.0, math.nan]])}
    assert compare(outcome(), outcome(**broken)).largest_difference == math.inf


def test_a_digest_tells_names_types_shapes_and_bits_apart_and_no_order() -> None:
    weights = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert weights_digest(weights) == weights_digest(dict(reversed(weights.items())))
    others = [
        {"a": torch.zeros(2), "c": torch.ones(2)}, {"a": torch.zeros(2), "b": torch.ones(2).bfloat16()},
        {"a": torch.zeros(2), "b": torch.ones(1, 2)}, {"a": -torch.zeros(2), "b": torch.ones(2)},
    ]  # fmt: skip
    assert len({weights_digest(each) for each in [weights, *others]}) == 5


@pytest.fixture(scope="module")
def now() -> Provenance:
    data = {"source": "sklearn:iris", "target": "target"}
    return provenance_of(Experiment.model_validate({"name": "iris", "data": data}))


def test_differences_name_what_changed(now: Provenance) -> None:
    assert differences_of(now, now) == []
    then = now.model_copy(
        update={
            "versions": {**now.versions, "torch": "2.0.0", "gone": "1"},
            "code": now.code.model_copy(update={"digest": "0" * 64}),
            "machine": now.machine.model_copy(
                update={"num_threads": 64, "gpus": ("H100",), "cpu_flags": (*now.machine.cpu_flags, "made_up")}
            ),
        }
    )
    found = differences_of(then, now)
    told = [f"{each.kind}: {each}" for each in found]
    assert f"versions: torch: 2.0.0 then, {now.versions['torch']} now" in told
    assert "versions: gone: 1 then, none now" in told
    assert "machine: CPU flags that only one has: made_up then, none now" in told
    assert any(text.startswith("code: Manta's code: 000000000000 then") for text in told)
    assert "machine: GPUs: H100 then, none now" in told
    assert any(each.kind == "threads" and each.then == "64" for each in found)
    causes = likely_causes(found, deterministic=False, on_gpu=True)
    assert [cause.partition(":")[0] for cause in causes] == ["code", "versions", "machine", "threads", "kernels"]
    assert likely_causes([], deterministic=True, on_gpu=True) == ()


def test_a_run_of_an_older_version_says_that_nothing_is_known(now: Provenance) -> None:
    (only,) = differences_of(None, now)
    assert (only.kind, only.then) == ("unknown", "not recorded")
