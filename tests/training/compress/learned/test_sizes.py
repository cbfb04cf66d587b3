"""Settings of students: smaller, allowed, and wide enough for kernels."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tests.training.models.kinds import KINDS
from training.compress.errors import NotMade
from training.compress.learned.sizes import can_be_shallower, shrunk
from training.model_config import CustomModelConfig, FtTransformerConfig, ModelConfig

SHARES = st.floats(0.01, 1.0)


@pytest.mark.parametrize(
    ("given_settings", "share", "wanted"),
    [
        ({"hidden": (256, 100, 4)}, 0.25, {"hidden": (64, 24, 4)}),
        ({"kind": "convnet", "channels": (16, 32), "hidden": 64}, 0.3, {"channels": (8, 8), "hidden": 16}),
        ({"kind": "resnet", "width": 64, "depths": (2, 2)}, 0.4, {"width": 24, "depths": (2, 2)}),
        ({"kind": "table_resnet", "dim": 128}, 0.1, {"dim": 16}),
        ({"kind": "ft_transformer", "dim": 64, "heads": 8}, 0.37, {"dim": 24, "heads": 3}),
        ({"kind": "transformer", "dim": 64, "heads": 4}, 0.5, {"dim": 32, "heads": 4}),
        ({"target": "a:B", "args": {"width": 64, "heads": 4}}, 0.5, {"args": {"width": 32, "heads": 4}}),
        ({"target": "a:B", "args": {"hidden": [64, 32]}}, 0.5, {"args": {"hidden": [32, 16]}}),
    ],
)
def test_widths_become_multiples_of_eight(given_settings: Any, share: float, wanted: dict[str, Any]) -> None:
    config: ModelConfig = TypeAdapter(ModelConfig).validate_python(given_settings)
    small = shrunk(config, share)
    assert {name: getattr(small, name) for name in wanted} == wanted


@given(st.sampled_from(sorted(KINDS)), SHARES, SHARES)
def test_no_student_is_larger_or_refused(kind: str, width: float, depth: float) -> None:
    config, _ = KINDS[kind]
    small = shrunk(config, width, depth)
    for name in ("dim", "width", "blocks", "layers", "heads"):
        if hasattr(config, name):
            assert 1 <= getattr(small, name) <= getattr(config, name)


@given(st.integers(1, 8), st.integers(1, 24), SHARES)
def test_heads_divide_whatever_width(heads: int, of_a_head: int, share: float) -> None:
    config = FtTransformerConfig(kind="ft_transformer", dim=heads * of_a_head, heads=heads)
    small = shrunk(config, share)
    assert isinstance(small, FtTransformerConfig)  # and was validated: heads divide dim
    assert small.dim // small.heads >= min(8, of_a_head) or small.heads == 1


def test_layers_become_fewer_where_there_are_several() -> None:
    config = FtTransformerConfig(kind="ft_transformer", blocks=4)
    small = shrunk(config, 1.0, 0.5)
    assert isinstance(small, FtTransformerConfig)
    assert small.blocks == 2
    assert can_be_shallower(config)
    assert not can_be_shallower(FtTransformerConfig(kind="ft_transformer", blocks=1))
    assert not can_be_shallower(CustomModelConfig(target="a:B", args={"width": 64}))


@pytest.mark.parametrize("args", [{}, {"rate": 3}, {"width": 0.5}, {"width": True}, {"hidden": []}])
def test_a_model_of_your_own_must_say_its_width(args: dict[str, Any]) -> None:
    with pytest.raises(NotMade, match="a model of your own says nothing of its size"):
        shrunk(CustomModelConfig(target="a:B", args=args), 0.5)
