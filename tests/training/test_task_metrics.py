"""Scores of several labels a row, of next tokens and of quantiles: scikit-learn's, and the same over workers."""

import math
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn import metrics as sk
from torch import Tensor

from training.metric_names import METRIC_MODES, default_metric, metrics_of
from training.metrics import Scores, held_out_scores
from training.package.byte_tokens import FIRST_BYTE, IGNORED


def labelled(num_rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    target = (draw.random((num_rows, 4)) < [0.1, 0.4, 0.6, 0.2]).astype(np.float32)
    noisy = np.clip(0.3 * target + 0.7 * draw.random(target.shape), 0.01, 0.99)
    return np.round(noisy, 2).astype(np.float32), target


@pytest.mark.parametrize("threshold", [None, 0.3])
def test_labels_have_the_scores_of_scikit_learn(threshold: float | None) -> None:
    scores, target = labelled()
    given = scores >= np.float32(threshold or 0.5)
    found = held_out_scores("multilabel", scores, target, threshold=threshold)
    assert found == pytest.approx(
        {
            "f1_micro": sk.f1_score(target, given, average="micro"),
            "f1_macro": sk.f1_score(target, given, average="macro"),
            "subset_accuracy": sk.accuracy_score(target, given),
            "hamming_loss": sk.hamming_loss(target, given),
            "average_precision": sk.average_precision_score(target, scores, average="macro"),
            "roc_auc": sk.roc_auc_score(target, scores, average="macro"),
            "log_loss": np.mean([sk.log_loss(target[:, k], scores[:, k].astype(float)) for k in range(4)]),
        }
    )
    assert set(found) == set(metrics_of("multilabel", 4)) <= set(METRIC_MODES)


def test_a_label_that_no_row_has_leaves_the_means_as_they_are() -> None:
    scores, target = labelled()
    target[:, 3] = 0
    found = held_out_scores("multilabel", scores, target)
    expected = sk.roc_auc_score(target[:, :3], scores[:, :3], average="macro")
    assert found["roc_auc"] == pytest.approx(expected)
    nobody = held_out_scores("multilabel", np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32))
    assert (nobody["f1_macro"], nobody["subset_accuracy"], nobody["hamming_loss"]) == (0.0, 1.0, 0.0)
    assert "roc_auc" not in nobody


def texts(num_rows: int = 12) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(1, 20, (num_rows, 6), generator=draw)
    for row in range(num_rows):
        target[row, 1 + row % 6 :] = IGNORED
    return torch.randn(num_rows, 6, 20, generator=draw) * 3, target


def test_tokens_have_the_scores_of_their_definition() -> None:
    logits, target = texts()
    scores = Scores("language_modelling", 0)
    for rows in torch.arange(12).split(5):
        scores.update(logits[rows], target[rows])
    found = scores.compute()
    is_token = target != IGNORED
    nats = F.cross_entropy(logits[is_token], target[is_token], reduction="sum").item()
    num_tokens, num_bytes = int(is_token.sum()), int((target >= FIRST_BYTE).sum())
    assert num_bytes < num_tokens
    assert found == pytest.approx(
        {
            "log_loss": nats / num_tokens,
            "perplexity": math.exp(nats / num_tokens),
            "bits_per_byte": nats / num_bytes / math.log(2),
            "accuracy": (logits.argmax(2) == target).sum().item() / num_tokens,
        },
        rel=1e-6,
    )
    assert default_metric("language_modelling") == "log_loss"


def test_a_quantile_is_judged_by_its_own_loss_where_it_is_one() -> None:
    draw = np.random.default_rng(0)
    target = draw.normal(size=500).astype(np.float32)
    low = np.full(500, np.quantile(target, 0.1), dtype=np.float32)
    found = held_out_scores("regression", low, target, quantile=0.1)
    assert found["pinball"] == pytest.approx(sk.mean_pinball_loss(target, low, alpha=0.1))
    assert set(found) == set(metrics_of("regression", 0, of_quantile=True))
    assert "pinball" not in held_out_scores("regression", low, target)
    assert "pinball" not in metrics_of("regression", 0)
    assert default_metric("regression", of_quantile=True) == "pinball"


def all_scores(rows: Callable[[int], slice]) -> dict[str, dict[str, float]]:
    """What each task's scores come to over some of the rows, and over all workers'."""
    probabilities, target = (torch.from_numpy(array) for array in labelled())
    logits, tokens = texts()
    values = torch.linspace(-3, 3, 40)
    found: dict[str, dict[str, float]] = {}
    cases: dict[str, tuple[Scores, Tensor, Tensor]] = {
        "multilabel": (Scores("multilabel", 4), probabilities, target),
        "language_modelling": (Scores("language_modelling", 0), logits, tokens),
        "quantile": (Scores("regression", 0, quantile=0.2), values.sin(), values),
    }
    for name, (scores, said, true) in cases.items():
        scores.update(said[rows(len(said))], true[rows(len(true))])
        found[name] = scores.compute()
    return found


def _worker(rank: int, folder: Path, sent: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    sent.put((rank, all_scores(lambda num_rows: slice(rank, num_rows, 2) if rank else slice(0, num_rows, 2))))
    dist.destroy_process_group()


def test_two_workers_have_the_scores_of_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # a new interpreter would import torch anew
    sent = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, tmp_path, sent)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = dict(sent.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    whole = all_scores(slice)
    for task, expected in whole.items():
        assert found[0][task] == found[1][task]
        assert found[0][task] == pytest.approx(expected, rel=1e-6)
