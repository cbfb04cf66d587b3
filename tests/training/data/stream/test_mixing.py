"""Rows to mix with, from a stream: of the same window, and the same ones for any number of workers."""

from pathlib import Path

import torch
from torch import Tensor

from tests.training.data.stream import tables
from training.data.batches import LoaderState
from training.data.stream.part import StreamPart
from training.data.stream.prepare import prepare_stream
from training.learning_config import EnsembleConfig
from training.loop import Trainer
from training.model_config import MlpConfig
from training.models import ModelInputs, build_model
from training.session import PlainSession
from training.train_config import TrainConfig

SETTINGS = {
    "epochs": 1, "global_batch_size": 100, "augment": {"mixup": 0.4, "noise": 0.1},
    "imbalance": {"class_weights": {"no": 3}},
}  # fmt: skip


def last_gradients(folder: Path, workers: int) -> list[Tensor]:
    """Of every step of an epoch, summed, as the mean over workers."""
    prepared = prepare_stream(tables.config(folder))
    assert isinstance(prepared.train, StreamPart)
    small = prepared.train.with_windows_of(6 << 10)
    assert len(small.plan_windows(0, 0, 100)) > 2
    of_ranks = []
    for rank in range(workers):
        session = PlainSession(rank=rank, world_size=workers)
        inputs = ModelInputs.of(prepared.facts.transforms, 2)
        ensemble = EnsembleConfig(members=2, balanced=False)
        model = build_model(MlpConfig(hidden=(8,)), inputs, 0, ensemble=ensemble)
        config = TrainConfig.model_validate(SETTINGS)
        one = Trainer(config, model, prepared.facts, small, prepared.validation, session, "accuracy")
        for batch in one._loader.batches(LoaderState()):
            assert batch.others is not None
            one._make_step.gradients(batch, 0)
        of_ranks.append([parameter.grad for parameter in model.parameters()])
    return [torch.stack(grads).mean(dim=0) for grads in zip(*of_ranks, strict=True)]


def test_any_number_of_workers_mixes_the_same_rows(tmp_path: Path) -> None:
    """With class weights and bootstraps too, over batches that lie in two windows."""
    folder = tables.write(tmp_path / "t", tables.rows())
    for one, several in zip(last_gradients(folder, 1), last_gradients(folder, 3), strict=True):
        torch.testing.assert_close(several, one, rtol=1e-3, atol=1e-4)
