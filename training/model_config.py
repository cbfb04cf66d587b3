"""Architectures: what a person may say about the model. Importable without torch or ray."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from training.package.shapes import StrictModel

LARGE_IMAGE = 64  # pixels a side from which an image is quartered before a residual network's first stage


class MlpConfig(StrictModel):
    """A multilayer perceptron; categorical columns enter through embeddings."""

    kind: Literal["mlp"] = Field(
        default="mlp",
        description="mlp, table_resnet, ft_transformer for tables; convnet, resnet for images; transformer for texts; "
        "or give `target` for your own class",
    )
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

    def require_fits(self, shape: tuple[int, int, int]) -> None:
        """Raise ValueError where images of this shape (C, H, W) are shrunk to nothing."""
        least, (_, height, width) = min(shape[1:]), shape
        if least < 2 ** (len(self.channels) - 1):
            raise ValueError(
                f"model.channels has {len(self.channels)} blocks, which shrink a {height}x{width} image "
                f"to nothing; at most {least.bit_length()} fit"
            )


class TableResNetConfig(StrictModel):
    """A residual network for tables; categorical columns enter through embeddings."""

    kind: Literal["table_resnet"] = Field(description="residual blocks for tables (Gorishniy et al. 2021)")
    blocks: int = Field(default=2, ge=1, le=64, description="residual blocks")
    dim: int = Field(default=128, ge=1, le=8192, description="width between the blocks")
    hidden_factor: float = Field(default=2.0, gt=0, le=16, description="width inside a block, in widths between them")
    hidden_dropout: float = Field(default=0.2, ge=0, lt=1, description="share of units silenced inside a block")
    residual_dropout: float = Field(default=0.0, ge=0, lt=1, description="share silenced of what a block adds")
    norm: Literal["batch", "layer"] = Field(
        default="batch",
        description="batch: by the rows of a step, of all workers together; layer: each row by itself, so that "
        "train.micro_batch changes nothing",
    )
    max_embedding_dim: int = Field(default=16, ge=1, description="embedding width at most; few categories get less")


class FtTransformerConfig(StrictModel):
    """A Transformer whose tokens are the columns of a table."""

    kind: Literal["ft_transformer"] = Field(description="a Transformer over columns (Gorishniy et al. 2021)")
    blocks: int = Field(default=2, ge=1, le=64, description="Transformer blocks; the paper's default is 3")
    dim: int = Field(default=64, ge=1, le=8192, description="width of a column's token; the paper's default is 192")
    heads: int = Field(default=8, ge=1, le=256, description="attention heads; must divide dim")
    ffn_factor: float = Field(default=1.33, gt=0, le=16, description="hidden width of a token's own layers, in dims")
    activation: Literal["reglu", "gelu"] = Field(default="reglu", description="of a token's own hidden layer")
    attention_dropout: float = Field(default=0.2, ge=0, lt=1, description="share of looks at other columns silenced")
    ffn_dropout: float = Field(default=0.1, ge=0, lt=1, description="share of hidden units silenced")
    residual_dropout: float = Field(default=0.0, ge=0, lt=1, description="share silenced of what a block adds")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        _require_heads_divide(self.dim, self.heads)
        return self


class ResNetConfig(StrictModel):
    """A residual network for images; needs data.image_shape."""

    kind: Literal["resnet"] = Field(
        description="a residual network for images (He et al. 2016); ResNet-18: depths [2, 2, 2, 2], width 64"
    )
    depths: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        default=(1, 1, 1),
        min_length=1,
        max_length=8,
        description="blocks of each stage; every stage after the first halves the image and doubles the channels",
    )
    width: int = Field(default=32, ge=1, le=1024, description="channels of the first stage")
    stem: Literal["auto", "small", "large"] = Field(
        default="auto",
        description="small: a 3x3 convolution; large: a 7x7 one and a pool, which quarter the image; auto: large from "
        "64x64 pixels on",
    )
    norm: Literal["batch", "group"] = Field(
        default="batch",
        description="batch: by the images of a step, of all workers together; group: each image by itself, so that "
        "train.micro_batch changes nothing",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of units silenced before the output")

    def has_large_stem(self, shape: tuple[int, int, int]) -> bool:
        """Whether images of this shape (C, H, W) are quartered before the first stage."""
        return self.stem == "large" or (self.stem == "auto" and min(shape[1:]) >= LARGE_IMAGE)

    def require_fits(self, shape: tuple[int, int, int]) -> None:
        """Raise ValueError where images of this shape (C, H, W) are shrunk to nothing."""
        least, (_, height, width) = min(shape[1:]), shape
        quartered = self.has_large_stem(shape)
        if quartered and least < 4:
            raise ValueError(
                f"model.stem={self.stem} quarters a {height}x{width} image, which leaves nothing of it; small does not"
            )
        most = (least // (4 if quartered else 1)).bit_length()
        if len(self.depths) > most:
            raise ValueError(
                f"model.depths has {len(self.depths)} stages, which shrink a {height}x{width} image to nothing; "
                f"at most {most} fit"
            )


class TransformerConfig(StrictModel):
    """A Transformer that reads the texts of a row, or, where data.task is language_modelling, continues a text."""

    kind: Literal["transformer"] = Field(
        description="a Transformer over tokens; of a language model, GPT-2's: layers 12, dim 768, heads 12"
    )
    layers: int = Field(default=2, ge=1, le=256, description="Transformer blocks")
    dim: int = Field(default=64, ge=1, le=65536, description="width of a token")
    heads: int = Field(default=4, ge=1, le=1024, description="attention heads; must divide dim")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share silenced of tokens, looks and hidden units")
    pool: Literal["mean", "cls"] = Field(
        default="mean", description="what answers for a row: the mean of its tokens, or one that stands before them"
    )
    max_embedding_dim: int = Field(
        default=16, ge=1, description="embedding width of categorical columns beside the texts, at most"
    )
    tie_weights: bool = Field(
        default=True, description="of a language model: logits are made with the embeddings of the tokens"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        _require_heads_divide(self.dim, self.heads)
        return self


def _require_heads_divide(dim: int, heads: int) -> None:
    if remainder := dim % heads:
        raise ValueError(f"dim={dim} is not a multiple of heads={heads}; {dim - remainder + heads} is")


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
    | Annotated[TableResNetConfig, Tag("table_resnet")]
    | Annotated[FtTransformerConfig, Tag("ft_transformer")]
    | Annotated[ResNetConfig, Tag("resnet")]
    | Annotated[TransformerConfig, Tag("transformer")]
    | Annotated[CustomModelConfig, Tag("custom")],
    Discriminator(_model_kind),
]
