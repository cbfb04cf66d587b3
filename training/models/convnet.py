"""A small convolutional net. Shape letters: B batch, C channels, H height, W width, K outputs."""

from collections.abc import Sequence

from torch import Tensor, nn


class ConvNet(nn.Module):
    """Blocks of two 3x3 convolutions, a hidden layer, a linear head."""

    def __init__(
        self, shape: tuple[int, int, int], num_outputs: int, channels: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        width, height_H, width_W = shape
        blocks: list[nn.Module] = []
        for i, units in enumerate(channels):
            blocks += [
                nn.Conv2d(width, units, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(units, units, 3, padding=1),
                nn.ReLU(),
            ]
            width = units
            if i:
                blocks.append(nn.MaxPool2d(2))
                height_H, width_W = height_H // 2, width_W // 2
        self.blocks = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(width * height_H * width_W, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_outputs),
        )

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Normalised images to logits (B, K)."""
        return self.head(self.blocks(image_BCHW))
