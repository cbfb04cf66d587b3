"""A model's settings with smaller widths and fewer layers."""

from typing import Any, assert_never

from training.compress.errors import NotMade
from training.model_config import (
    ConvNetConfig,
    CustomModelConfig,
    FtTransformerConfig,
    MlpConfig,
    ModelConfig,
    ResNetConfig,
    TableResNetConfig,
    TransformerConfig,
)

MULTIPLE = 8  # of all widths: kernels take eight at a time
WIDTHS = frozenset(
    {"width", "widths", "hidden", "hidden_dim", "hidden_size", "dim", "d_model", "embed_dim", "channels", "units"}
)  # of a class of one's own, arguments that say how wide it is


def shrunk(config: ModelConfig, width: float, depth: float = 1.0) -> ModelConfig:
    """The settings with shares of the widths and of the layers.

    Widths become multiples of 8, and at least 8 where they were; attention has fewer heads where they would not divide
    the width, or be narrower than 8. At least one layer stays.

    Args:
        config: of the larger model.
        width: share of each width.
        depth: share of the layers, blocks or, of a resnet, blocks of each stage; a convnet and a class of one's own
            keep theirs.

    Raises:
        NotMade: a class of one's own, whose arguments name no width.
    """
    return type(config).model_validate({**config.model_dump(), **_changes(config, width, depth)})


def can_be_shallower(config: ModelConfig) -> bool:
    """Whether `depth` makes a difference."""
    return not isinstance(config, CustomModelConfig) and shrunk(config, 1.0, 1.0) != shrunk(config, 1.0, 0.0)


def _changes(config: ModelConfig, width: float, depth: float) -> dict[str, Any]:
    match config:
        case MlpConfig():
            kept = config.hidden[: _fewer(len(config.hidden), depth)]
            return {"hidden": tuple(_narrower(units, width) for units in kept)}
        case ConvNetConfig():
            channels = tuple(_narrower(units, width) for units in config.channels)
            return {"channels": channels, "hidden": _narrower(config.hidden, width)}
        case ResNetConfig():
            depths = tuple(_fewer(num, depth) for num in config.depths)
            return {"width": _narrower(config.width, width), "depths": depths}
        case TableResNetConfig():
            return {"dim": _narrower(config.dim, width), "blocks": _fewer(config.blocks, depth)}
        case FtTransformerConfig():
            return {**_attention(config.dim, config.heads, width), "blocks": _fewer(config.blocks, depth)}
        case TransformerConfig():
            return {**_attention(config.dim, config.heads, width), "layers": _fewer(config.layers, depth)}
        case CustomModelConfig():
            return {"args": _narrower_args(config, width)}
    assert_never(config)


def _narrower(num: int, share: float) -> int:
    return min(num, max(MULTIPLE, round(num * share / MULTIPLE) * MULTIPLE))


def _fewer(num: int, share: float) -> int:
    return max(1, round(num * share))


def _attention(dim: int, heads: int, share: float) -> dict[str, int]:
    narrow = _narrower(dim, share)
    least = min(MULTIPLE, dim // heads)
    fitting = [num for num in range(1, heads + 1) if narrow % num == 0 and narrow // num >= least]
    return {"dim": narrow, "heads": max(fitting, default=1)}


def _narrower_args(config: CustomModelConfig, share: float) -> dict[str, Any]:
    found = {name: value for name, value in config.args.items() if name in WIDTHS and _is_width(value)}
    if not found:
        raise NotMade(
            "a model of your own says nothing of its size: none of its args is called "
            f"{', '.join(sorted(WIDTHS))} and holds whole numbers"
        )
    return {**config.args, **{name: _narrower_value(value, share) for name, value in found.items()}}


def _is_width(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return bool(values) and all(isinstance(each, int) and not isinstance(each, bool) and each > 0 for each in values)


def _narrower_value(value: Any, share: float) -> Any:
    return [_narrower(each, share) for each in value] if isinstance(value, list | tuple) else _narrower(value, share)
