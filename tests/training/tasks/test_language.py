"""A language model, from a column of texts to the served likelihood of others."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from serving.predictor import Predictor
from tests.training.tasks.way import QUICK, packaged
from training.config import Experiment
from training.data.config import DataConfig
from training.data.prepare import prepare
from training.data.prepared import Part
from training.data.text_windows import text_part, token_counts
from training.errors import DataError
from training.package.byte_tokens import (
    BEGIN,
    END,
    IGNORED,
    PAD,
    VOCAB_SIZE,
    ByteEncoder,
    text_of,
    tokens_of,
    windows_of,
)
from training.package.fitted import ByteTransform

LENGTH = 16


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(2, 9))
def test_bytes_give_the_text_back_and_every_one_is_wanted_once(text: str, length: int) -> None:
    ids = tokens_of(text)
    assert (ids[0], ids[-1]) == (BEGIN, END)
    assert text_of(ids) == text
    part = text_part(pa.chunked_array([[text]]), ByteTransform(name="t", length=length))
    tokens, target = part.tensors["tokens"], part.target
    assert tokens.shape == target.shape == (math.ceil((len(ids) - 1) / length), length)
    np.testing.assert_array_equal(target[target != IGNORED], ids[1:])
    np.testing.assert_array_equal(tokens[target != IGNORED], ids[:-1])


def test_a_lone_surrogate_is_no_reason_to_fail() -> None:
    assert text_of(tokens_of("a\ud800b")) == "a?b"


def test_scored_texts_are_padded_and_cut() -> None:
    encode = ByteEncoder(ByteTransform(name="t", length=4, max_windows=2))
    tokens = encode(np.array(["", "abc", "x" * 100, None], dtype=object))
    assert tokens.shape == (4, 2, 5)
    np.testing.assert_array_equal(tokens[0, 0], [BEGIN, END, PAD, PAD, PAD])
    np.testing.assert_array_equal(tokens[3], tokens[0])
    np.testing.assert_array_equal(tokens[2], windows_of("x" * 100, 4)[:2])
    assert token_counts(tokens).tolist() == [[1, 0], [4, 3], [8, 8], [1, 0]]


def texts(num: int = 200) -> list[str]:
    """Counting in words, so that the next byte can be learned, at lengths of less and more than one window."""
    words = ["zero", "one", "two", "three", "four", "five"]
    return [" ".join(words[(i + k) % 6] for k in range(1 + i % 7)) for i in range(num)]


def experiment(folder: Path, **more: Any) -> dict[str, Any]:
    table = pa.table({"n": list(range(200)), "text": texts(), "file": [b"\x00"] * 200})
    pq.write_table(table, folder / "t.parquet")
    return {
        "name": "words",
        "data": {"source": str(folder / "t.parquet"), "target": "text", "task": "language_modelling",
                 "sequence_length": LENGTH},
        "model": {"kind": "transformer", "layers": 1, "dim": 32, "heads": 2, "dropout": 0.0},
        "train": {"epochs": 10, "global_batch_size": 16, "peak_lr": 0.01, "warmup_fraction": 0.05},
        "compress": QUICK, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("words")
    return packaged(experiment(folder), folder)


def test_rows_become_windows_and_stay_on_their_side(tmp_path: Path) -> None:
    prepared = prepare(DataConfig.model_validate(experiment(tmp_path)["data"]))
    facts, train = prepared.facts, prepared.train
    assert isinstance(train, Part)
    assert (facts.labels, facts.num_outputs, facts.sequence_length) == ((), VOCAB_SIZE, LENGTH)
    assert [spec.name for spec in facts.inputs] == ["text"]
    assert train.tensors["tokens"].dtype == train.target.dtype == np.int64
    assert prepared.split is not None
    rows = [texts()[row] for row in prepared.split.train]
    expected = np.concatenate([windows_of(text, LENGTH) for text in rows])
    np.testing.assert_array_equal(train.tensors["tokens"], expected[:, :-1])


def test_training_learns_and_is_judged_a_token(packed: Any) -> None:
    work, model, _, history = packed
    assert work.metric == "log_loss"
    assert history[-1]["validation/log_loss"] < 1.0 < history[0]["validation/log_loss"]
    part = work.prepared.validation
    target = torch.from_numpy(part.target)
    with torch.no_grad():
        logits = model(torch.from_numpy(part.tensors["tokens"]))
    nats = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED, reduction="sum").item()
    num_tokens, num_bytes = int((target != IGNORED).sum()), int((target > END).sum())
    best = min(history, key=lambda epoch: epoch["validation/log_loss"])
    assert best["validation/log_loss"] == pytest.approx(nats / num_tokens, rel=1e-5)
    assert best["validation/perplexity"] == pytest.approx(math.exp(nats / num_tokens), rel=1e-5)
    assert best["validation/bits_per_byte"] == pytest.approx(nats / num_bytes / math.log(2), rel=1e-5)
    right = (logits.argmax(2) == target).sum().item()
    assert best["validation/accuracy"] == pytest.approx(right / num_tokens)


def likelihood(model: nn.Module, text: str) -> float:
    """Mean log-likelihood a byte of one text by itself, window after window."""
    windows = torch.from_numpy(windows_of(text, LENGTH))
    with torch.no_grad():
        log_p = model(windows[:, :-1]).log_softmax(2)
    total = sum(
        float(log_p[w, i, token]) for w, row in enumerate(windows[:, 1:]) for i, token in enumerate(row) if token != PAD
    )
    return total / max(len(text.encode()), 1)


@pytest.mark.parametrize("variant", ["fp32", "int8_static"])
def test_a_served_text_has_the_likelihood_that_torch_gives_it(packed: Any, variant: str) -> None:
    work, model, _, _ = packed
    predictor = Predictor.load(work.run.package, variant)
    predictor.self_test()
    said = ["one two three four five zero one", "two", "", "qqqq", "one two three four five zero one two three", "é"]
    answers = predictor.predict_records([{"text": text} for text in said])
    found = [answer["log_likelihood"] for answer in answers]
    assert found == pytest.approx([likelihood(model, text) for text in said], abs=2e-4 if variant == "fp32" else 0.3)
    assert found[0] > -1.0 > found[3]  # it has learned to count
    # A text's answer does not depend on the longer ones that it is asked with.
    alone = [predictor.predict_records([{"text": text}])[0]["log_likelihood"] for text in said]
    assert alone == pytest.approx(found, abs=1e-4)
    assert predictor.predict_table(pa.table({"text": said})).column_names == ["log_likelihood"]


def test_the_package_tells_the_scores_of_what_it_serves(packed: Any) -> None:
    work, model, manifest, _ = packed
    held_out = work.prepared.test_rows["text"].to_pylist()
    nats = -sum(likelihood(model, text) * len(text.encode()) for text in held_out)
    num_bytes = sum(len(text.encode()) for text in held_out)
    told = manifest.variant("fp32").metrics
    assert told["test/bits_per_byte"] == pytest.approx(nats / num_bytes / math.log(2), rel=1e-3)
    assert told["test/log_loss"] == pytest.approx(nats / (num_bytes + len(held_out)), rel=1e-3)
    assert manifest.metric == "test/log_loss"
    assert [output.name for output in manifest.outputs] == ["log_likelihood"]
    assert json.loads((work.run.package / "transforms.json").read_text())["bytes"]["length"] == LENGTH
    assert "mean log-likelihood of each of its bytes" in (work.run.package / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"train": {"loss": {"kind": "focal"}}}, "focal is not for a language model"),
        ({"train": {"loss": {"target": "a:b"}}}, "train.loss.target is not for a language model"),
        ({"train": {"augment": {"mixup": 0.2}}}, "mixup is not for a language model"),
        ({"train": {"imbalance": {"class_weights": "balanced"}}}, "class_weights is for classes"),
        ({"ensemble": {"members": 2}}, "ensemble answers"),
    ],
)
def test_settings_that_a_language_model_does_not_have(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Experiment.model_validate(experiment(tmp_path, **more))


def test_a_language_model_needs_texts_and_a_model_of_sequences(tmp_path: Path) -> None:
    raw = experiment(tmp_path)
    with pytest.raises(DataError, match="is of type int64"):
        prepare(DataConfig.model_validate({**raw["data"], "target": "n"}))
    with pytest.raises(ValueError, match=r"model\.kind=mlp is no language model"):
        packaged({**raw, "model": {"kind": "mlp"}}, tmp_path)
