"""The whole room on real models: files, measurements, and a choice that follows from them."""

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.compress.made_up_jobs import experiment_of, job_on
from training.compress.compress import compress, doubts
from training.compress.errors import NoBaseline, NoScratch, NotMade
from training.compress.gate.candidate import Candidate, beats
from training.compress.job import CompressResult, Job, Kept
from training.progress import Silent


def compressed(folder: Path, compress_settings: Mapping[str, Any] | None = None, **more: Any) -> CompressResult:
    return compress(job_on(experiment_of(folder, dict(compress_settings or {}), **more)), Silent())


def candidates_of(result: CompressResult) -> list[Candidate]:
    return [Candidate(variant, result.comparison.costs[variant.name]) for variant in result.variants]


def test_every_form_is_made_scored_and_measured_and_the_choice_follows(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, {"usd_per_hour": 1.0, "max_drop": 0.5})
    result = compress(job_on(experiment), Silent())
    assert [variant.name for variant in result.variants] == ["fp32", "int8", "int8_static", "int4", "fp16"]
    for variant in result.variants:
        cost = result.comparison.costs[variant.name]
        assert set(cost.latency) == {"1", "8", "32"}
        assert all(0 < found.p50_ms <= found.p99_ms for found in cost.latency.values())
        assert cost.usd_per_million is not None
        assert cost.usd_per_million > 0
        assert cost.memory_mb is not None
        assert 0 < cost.memory_mb < 500
        assert variant.size_bytes == len(result.files[variant.file])
        assert "test/accuracy" in variant.metrics
        assert variant.machine == result.comparison.machine
        assert variant.note
        assert len(result.scores[variant.name]) == len(result.scores["fp32"])
    fp32, *others = candidates_of(result)
    assert fp32.variant.quality is None
    assert all(other.variant.weights_quantized_fraction > 0.9 for other in others)
    passed = [other for other in others if other.name in result.comparison.passed]
    winner = next(each for each in [fp32, *others] if each.name == result.chosen)
    assert winner.name == "fp32" or beats(winner, fp32, experiment.compress)
    assert {variant.name for variant in result.variants if variant.offered} == {fp32.name, *(p.name for p in passed)}


def test_a_small_model_stays_fp32_and_says_what_could_not_be_made(tmp_path: Path) -> None:
    result = compressed(tmp_path, {"forms": ["int8"]}, model={"kind": "mlp", "hidden": [16]})
    assert result.chosen == "fp32"
    assert result.not_made == {"int8": "it has no matrix product with 16,384 constant weights or more"}
    assert result.reason == "fp32 is the only form that was made"


def test_a_regression_is_judged_and_tolerated_in_its_own_unit(tmp_path: Path) -> None:
    result = compressed(tmp_path, {"forms": ["int8", "fp16"]}, target="rent", other="income")
    fp32, int8, fp16 = result.variants
    scale = 250  # about the deviation of the rents
    assert scale * 0.5e-4 < fp32.tolerance < scale * 2e-4
    assert int8.tolerance >= scale * 0.5e-3
    assert fp16.quality is not None
    assert abs(fp16.quality.drop) < 0.01
    assert fp16.quality.metric == "test/rmse"


def test_a_form_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(form: str, source: Path, target: Path, calibration: Any) -> None:
        if form == "int8_static":
            raise NotMade("tokens holds NaN in row 3")
        real(form, source, target, calibration)

    from training.compress import tasks

    real = tasks.make_onnx_form
    monkeypatch.setattr(tasks, "make_onnx_form", fails)
    result = compressed(tmp_path, {"forms": ["int8", "int8_static"]})
    assert [variant.name for variant in result.variants] == ["fp32", "int8"]
    assert result.not_made == {"int8_static": "tokens holds NaN in row 3"}


def test_a_packages_form_that_does_not_run_here_stays_unmeasured(tmp_path: Path) -> None:
    job = job_on(experiment_of(tmp_path, {"forms": ["fp16"]}))
    kept = _with_broken_form(job)
    result = compress(replace(job, kept=kept), Silent())
    assert [variant.name for variant in result.variants] == ["fp32", "broken", "fp16"]
    assert result.variants[:2] == kept.variants
    assert result.files["variants/broken.onnx"] == b"no model"
    assert "not measured here: " in result.comparison.notes["broken"]
    assert "broken" not in result.comparison.costs


def test_a_model_that_answers_nothing_on_some_rows_is_an_error(tmp_path: Path) -> None:
    job = job_on(experiment_of(tmp_path, {"forms": []}))
    tensors = {name: values.copy() for name, values in job.held_out.tensors.items()}
    tensors["numeric"][5] = np.nan
    with pytest.raises(NoBaseline, match="1 held-out rows are answered with NaN or infinity"):
        compress(replace(job, held_out=replace(job.held_out, tensors=tensors)), Silent())


def test_a_full_disk_for_temporary_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_on(experiment_of(tmp_path, {"forms": []}))

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(NoScratch, match="no space is left in") as caught:
        compress(job, Silent())
    assert "TMPDIR" in caught.value.hint


def test_what_a_judgement_is_worth_is_said(tmp_path: Path) -> None:
    job = job_on(experiment_of(tmp_path, {"forms": []}, target="rent", other="income"))
    (few,) = doubts(job)
    assert few == "only 45 held-out rows judge: what forms lose is known to 0.022 at best"
    far = replace(job, trained=replace(job.trained, target_mean=1e9, target_scale=300.0))
    assert "where float32 has steps of 64: that is 21% of how far it varies" in doubts(far)[1]


def _with_broken_form(job: Job) -> Kept:
    whole = compress(job, Silent())
    fp32 = whole.variants[0]
    broken = fp32.model_copy(update={"name": "broken", "file": "variants/broken.onnx"})
    return Kept((fp32, broken), {fp32.file: whole.files[fp32.file], broken.file: b"no model"})


def test_a_form_that_saturates_is_refused_by_what_it_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong int8 on purpose: scales a hundred times too small, so that every activation is cut off."""
    from training.compress.forms import static_int8 as room
    from training.compress.forms.make import FORMS

    def saturating(source: Path, target: Path, calibration: Mapping[str, np.ndarray]) -> None:
        cut = {name: values / 100 if values.dtype == np.float32 else values for name, values in calibration.items()}
        room.static_int8(source, target, cut)

    monkeypatch.setitem(FORMS, "int8_static", saturating)
    experiment = experiment_of(
        tmp_path, {"forms": ["int8_static"], "qat": None}, target="rent", other="income",
        train={"epochs": 6, "global_batch_size": 16, "peak_lr": 1e-2},
    )  # fmt: skip
    result = compress(job_on(experiment, learns=True), Silent())
    assert result.chosen == "fp32"
    assert result.comparison.passed == ("fp32",)
    assert "int8_static is not offered: test/rmse worsens by " in result.reason


def test_forms_that_were_there_are_measured_again_and_stay(tmp_path: Path) -> None:
    job = job_on(experiment_of(tmp_path, {"forms": ["fp16"]}))
    before = compress(job, Silent())
    again = replace(job, kept=Kept(before.variants, before.files), config=job.config.model_copy(
        update={"forms": ("int8", "fp16")}))  # fmt: skip
    after = compress(again, Silent())
    assert [variant.name for variant in after.variants] == ["fp32", "fp16", "int8"]
    assert after.variants[:2] == before.variants
    assert all(after.files[path] == content for path, content in before.files.items())
    assert set(after.comparison.costs) == {"fp32", "fp16", "int8"}
