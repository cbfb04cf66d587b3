"""Architectures: what a person may say about the model. Importable without torch or ray."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from training.package.shapes import StrictModel


class MlpConfig(StrictModel):
    """A multilayer perceptron; categorical columns enter through embeddings."""

    kind: Literal["mlp"] = Field(default="mlp", description="mlp, convnet, or give `target` for your own class")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(128, 128), description="width of each hidden layer"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of hidden units silenced in training")
    max_embedding_dim: int = Field(default=16, ge=1, description="embedding width at most; few categories get less")


class ConvNetConfig(StrictModel):
    """A small convolutional net; needs data.image_shape."""

    kind: Literal["convnet"] = Field(description="a small convolutional net")
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(16, 32),
        min_length=1,
        description="channels of each block; every block after the first halves the image",
    )
    hidden: int = Field(default=64, ge=1, description="width of the layer before the output")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of units silenced before the output")


class CustomModelConfig(StrictModel):
    """Your own torch module, by import path."""

    target: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:Class, importable from the experiment's folder",
    )
    args: dict[str, Any] = Field(default={}, description="keyword arguments of the class")


def _model_kind(value: Any) -> str:
    if isinstance(value, CustomModelConfig) or (isinstance(value, dict) and "target" in value):
        return "custom"
    return value.get("kind", "mlp") if isinstance(value, dict) else getattr(value, "kind", "mlp")


ModelConfig = Annotated[
    Annotated[MlpConfig, Tag("mlp")]
    | Annotated[ConvNetConfig, Tag("convnet")]
    | Annotated[CustomModelConfig, Tag("custom")],
    Discriminator(_model_kind),
]
