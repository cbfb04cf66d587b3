"""What a person may say about a model, and what is said back."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from training.config import Experiment
from training.config_schema import all_keys
from training.model_config import ModelConfig

KINDS = ("mlp", "convnet", "table_resnet", "ft_transformer", "resnet", "transformer")


def experiment(model: dict[str, Any], **data: Any) -> Experiment:
    return Experiment.model_validate({"name": "x", "data": {"source": "t.csv", "target": "y", **data}, "model": model})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_defaults_and_its_keys_are_listed(kind: str) -> None:
    config = TypeAdapter(ModelConfig).validate_python({"kind": kind})
    listed = {key.key for key in all_keys() if key.when == f"kind={kind}"}
    assert listed == {f"model.{name}" for name in type(config).model_fields}
    assert all(key.meaning for key in all_keys() if key.key.startswith("model."))


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ({"kind": "ft_transformer", "dim": 100, "heads": 8}, {}, "dim=100 is not a multiple of heads=8; 104 is"),
        ({"kind": "transformer", "dim": 10, "heads": 4}, {}, "dim=10 is not a multiple of heads=4; 12 is"),
        ({"kind": "resnet"}, {}, "model.kind=resnet needs data.image_shape"),
        ({"kind": "resnet", "depths": [1] * 5}, {"image_shape": [1, 8, 8]}, "5 stages, .* 8x8 .* at most 4 fit"),
        ({"kind": "resnet", "depths": [1] * 6}, {"image_shape": [3, 64, 90]}, "6 stages, .* 64x90 .* at most 5 fit"),
        ({"kind": "resnet", "stem": "large"}, {"image_shape": [1, 3, 8]}, "stem=large quarters a 3x8 .* small does"),
        ({"kind": "resnet", "depths": []}, {"image_shape": [1, 8, 8]}, "at least 1 item"),
        ({"kind": "resnet", "width": 5000}, {"image_shape": [1, 8, 8]}, "less than or equal to 1024"),
        ({"kind": "convnet", "channels": [4] * 5}, {"image_shape": [1, 8, 8]}, "5 blocks, .* at most 4 fit"),
        *(
            ({"kind": kind}, {"image_shape": [1, 8, 8]}, f"model.kind={kind} takes no images, .* resnet takes them")
            for kind in ("table_resnet", "ft_transformer", "transformer")
        ),
        ({"kind": "table_resnet", "blocks": 0}, {}, "greater than or equal to 1"),
        ({"kind": "table_resnet", "heads": 2}, {}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_refused_with_numbers(model: dict[str, Any], data: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        experiment(model, **data)


def test_what_fits_exactly_is_taken() -> None:
    experiment({"kind": "resnet", "depths": [1] * 4}, image_shape=[1, 8, 8])
    experiment({"kind": "resnet", "depths": [1] * 5}, image_shape=[3, 64, 90])
    experiment({"kind": "resnet", "depths": [1], "stem": "large"}, image_shape=[1, 4, 4])
    experiment({"kind": "ft_transformer", "dim": 104, "heads": 8})
