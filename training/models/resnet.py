"""A residual network for images. Shape letters: B batch, C channels, H height, W width, K outputs.

Source: He et al., Deep Residual Learning for Image Recognition, 2016. Small images enter as they do there on CIFAR.
"""

import math

from torch import Tensor, nn

from training.model_config import ResNetConfig
from training.models.batch_norm import BatchNorm

GROUPS = 32  # of channels that are normalised together, at most: Wu and He, Group Normalization, 2018


class ResNet(nn.Module):
    """A stem, stages of basic blocks, the mean over the image, a linear head."""

    def __init__(self, shape: tuple[int, int, int], num_outputs: int, config: ResNetConfig) -> None:
        super().__init__()
        self.stem = _stem(shape, config)
        channels = config.width
        stages: list[nn.Module] = []
        for stage, depth in enumerate(config.depths):
            widened = config.width * 2**stage
            for i in range(depth):
                stride = 2 if stage and not i else 1
                stages.append(_Block(channels, widened, stride, config))
                channels = widened
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(channels, num_outputs))
        _initialise(self)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Normalised images to logits (B, K)."""
        return self.head(self.stages(self.stem(image_BCHW)).mean(dim=(2, 3)))


class _Block(nn.Module):
    """Two 3x3 convolutions beside a way around them."""

    def __init__(self, channels: int, widened: int, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        self.first = nn.Sequential(_conv(channels, widened, 3, stride), _norm(widened, config), nn.ReLU())
        self.second, self.norm = _conv(widened, widened, 3, 1), _norm(widened, config)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or channels != widened:
            self.around = nn.Sequential(_conv(channels, widened, 1, stride), _norm(widened, config))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return (self.norm(self.second(self.first(image_BCHW))) + self.around(image_BCHW)).relu()


def _stem(shape: tuple[int, int, int], config: ResNetConfig) -> nn.Sequential:
    if not config.has_large_stem(shape):
        return nn.Sequential(_conv(shape[0], config.width, 3, 1), _norm(config.width, config), nn.ReLU())
    halved = [_conv(shape[0], config.width, 7, 2), _norm(config.width, config), nn.ReLU()]
    return nn.Sequential(*halved, nn.MaxPool2d(3, stride=2, padding=1))


def _conv(channels: int, out: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=False)


def _norm(channels: int, config: ResNetConfig) -> BatchNorm | nn.GroupNorm:
    return BatchNorm(channels) if config.norm == "batch" else nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def _initialise(model: ResNet) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, _Block):
            # Blocks begin by passing on what they are given: Goyal et al., Accurate, Large Minibatch SGD, 2017.
            nn.init.zeros_(module.norm.weight)
