"""Residual networks: known sizes, small and large images, blocks that begin by passing on."""

import pytest
import torch

from training.model_config import ResNetConfig
from training.models import ModelInputs, build_model
from training.models.resnet import ResNet

EIGHTEEN = ResNetConfig(kind="resnet", depths=(2, 2, 2, 2), width=64)


def num_weights(config: ResNetConfig, shape: tuple[int, int, int], num_outputs: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ResNet(shape, num_outputs, config).parameters())


def test_resnet_18_has_its_number_of_weights() -> None:
    assert num_weights(EIGHTEEN, (3, 224, 224), 1000) == 11_689_512  # torchvision.models.resnet18
    assert num_weights(EIGHTEEN, (3, 32, 32), 10) == 11_173_962  # the usual form for CIFAR-10


@pytest.mark.parametrize(
    ("shape", "stem", "side"),
    [((1, 8, 8), "auto", (2, 2)), ((3, 63, 200), "auto", (16, 50)), ((3, 64, 80), "auto", (4, 5)),
     ((3, 64, 80), "small", (16, 20)), ((2, 32, 16), "large", (2, 1)), ((1, 8, 5), "small", (2, 2))],
)  # fmt: skip
def test_images_of_any_shape(shape: tuple[int, int, int], stem: str, side: tuple[int, int]) -> None:
    config = ResNetConfig.model_validate({"kind": "resnet", "width": 4, "stem": stem})
    model = build_model(config, ModelInputs(0, (), shape, 3), seed=0)
    assert isinstance(model, ResNet)
    image = torch.rand(2, *shape)
    assert model.stages(model.stem(image)).shape == (2, 16, *side)
    assert model(image).shape == (2, 3)


def test_blocks_begin_by_passing_on_what_they_are_given() -> None:
    config = ResNetConfig(kind="resnet", depths=(3,), width=8)
    model = build_model(config, ModelInputs(0, (), (1, 8, 8), 3), seed=0)
    assert isinstance(model, ResNet)
    given = torch.rand(2, 8, 8, 8)
    torch.testing.assert_close(model.stages(given), given)


def test_with_group_norm_an_answer_does_not_depend_on_the_batch() -> None:
    inputs, rows = ModelInputs(0, (), (1, 8, 8), 3), torch.rand(6, 1, 8, 8)
    for norm, is_alike in (("group", True), ("batch", False)):
        config = ResNetConfig.model_validate({"kind": "resnet", "width": 12, "norm": norm})
        model = build_model(config, inputs, seed=0)
        assert torch.allclose(model(rows)[:2], model(rows[:2]), atol=1e-5) == is_alike
