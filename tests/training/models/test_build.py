"""Models: built in, your own, and the ways your own can be wrong."""

import sys
from pathlib import Path

import pytest
import torch

from training.config import ConvNetConfig, CustomModelConfig, MlpConfig
from training.errors import ConfigError
from training.models import ModelInputs, build_model

TABLE = ModelInputs(num_numeric=3, num_codes=(5, 40), image_shape=None, num_outputs=2)
IMAGE = ModelInputs(num_numeric=0, num_codes=(), image_shape=(1, 8, 8), num_outputs=10)


def test_first_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = build_model(MlpConfig(), TABLE, seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))  # the global state was left alone
    two, other = build_model(MlpConfig(), TABLE, seed=3), build_model(MlpConfig(), TABLE, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_tables_of_numbers_categories_or_both() -> None:
    numbers, codes = torch.rand(4, 3), torch.ones(4, 2, dtype=torch.int64)
    assert build_model(MlpConfig(), TABLE, 0)(numbers, codes).shape == (4, 2)
    only_numbers = ModelInputs(3, (), None, 1)
    assert build_model(MlpConfig(hidden=()), only_numbers, 0)(numbers).shape == (4, 1)
    only_codes = ModelInputs(0, (5, 40), None, 2)
    assert build_model(MlpConfig(), only_codes, 0)(codes).shape == (4, 2)


@pytest.mark.parametrize("channels", [(4,), (4, 8), (4, 8, 8, 8)])
def test_images(channels: tuple[int, ...]) -> None:
    image = torch.rand(2, 1, 8, 8)
    assert build_model(ConvNetConfig(kind="convnet", channels=channels), IMAGE, 0)(image).shape == (2, 10)
    assert build_model(MlpConfig(), IMAGE, 0)(image).shape == (2, 10)


@pytest.fixture
def own_code(tmp_path: Path) -> str:
    (tmp_path / "own_nets.py").write_text(
        "import torch\n"
        "class Linear(torch.nn.Module):\n"
        "    def __init__(self, inputs, bias=True):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(inputs.num_numeric, inputs.num_outputs, bias)\n"
        "    def forward(self, numeric, categorical):\n"
        "        return self.layer(numeric)\n"
        "class NotAModule:\n"
        "    pass\n"
    )
    yield str(tmp_path)
    sys.modules.pop("own_nets", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def test_your_own_class(own_code: str) -> None:
    model = build_model(CustomModelConfig(target="own_nets:Linear", args={"bias": False}), TABLE, 0, own_code)
    assert model(torch.rand(4, 3), torch.ones(4, 2)).shape == (4, 2)
    assert len(list(model.parameters())) == 1


@pytest.mark.parametrize(
    ("target", "args", "said"),
    [
        ("no_such_module:X", {}, "cannot be imported"),
        ("own_nets:Linaer", {}, "no class Linaer"),
        ("own_nets:Linear", {"bais": 1}, "model.args do not fit"),
        ("own_nets:NotAModule", {}, "not a torch.nn.Module"),
    ],
)
def test_your_own_class_gone_wrong(own_code: str, target: str, args: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model(CustomModelConfig(target=target, args=args), TABLE, 0, own_code)
