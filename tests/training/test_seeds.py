"""Code of somebody's own that draws from Python or NumPy: the same weights twice, whatever the process drew before."""

import random

import numpy as np
import torch
from torch import Tensor, nn

from training.data.config import DataConfig
from training.data.prepare import prepare
from training.loop import Trainer
from training.model_config import CustomModelConfig
from training.models import ModelInputs, build_model
from training.session import PlainSession
from training.train_config import TrainConfig


class Drawing(nn.Module):
    """First weights from NumPy and Python, and noise from both in training."""

    def __init__(self, inputs: ModelInputs) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs.num_numeric, inputs.num_outputs)
        first = np.random.normal(0, 0.1 + random.random(), self.linear.weight.shape)
        self.linear.weight.data = torch.from_numpy(first).float()

    def forward(self, numeric_BF: Tensor) -> Tensor:
        noise = np.random.normal(0, random.random(), numeric_BF.shape) if self.training else 0
        return self.linear(numeric_BF + torch.as_tensor(noise, dtype=torch.float32))


def weights_after(drawn_before: int, seed: int = 0) -> Tensor:
    random.seed(drawn_before)
    np.random.seed(drawn_before)
    iris = prepare(DataConfig(source="sklearn:iris", target="target"))
    config = CustomModelConfig(target="tests.training.test_seeds:Drawing")
    model = build_model(config, ModelInputs.of(iris.facts.transforms, 3), seed)
    train = TrainConfig(epochs=2, global_batch_size=16, seed=seed)
    one = Trainer(train, model, iris.facts, iris.train, iris.validation, PlainSession(), "accuracy")
    one.train_epoch()
    return next(one.model.parameters()).detach().clone()


def test_what_was_drawn_before_changes_nothing() -> None:
    assert torch.equal(weights_after(1), weights_after(2))
    assert not torch.equal(weights_after(1), weights_after(1, seed=1))


def test_making_a_model_leaves_the_generators_as_they_were() -> None:
    inputs, drawn = ModelInputs(num_numeric=2, num_codes=(), image_shape=None, num_outputs=3), []
    for makes in (True, False):
        random.seed(3)
        np.random.seed(3)
        if makes:
            build_model(CustomModelConfig(target="tests.training.test_seeds:Drawing"), inputs, 0)
        drawn.append((random.random(), float(np.random.random())))
    assert drawn[0] == drawn[1]
