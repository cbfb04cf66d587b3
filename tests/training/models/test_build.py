"""Models: built in, your own, and the ways your own can be wrong."""

import sys
from pathlib import Path

import pytest
import torch

from tests.kinds import config as data_config
from tests.kinds import table
from tests.training.models.kinds import WORDS
from training.data.table import infer_schema
from training.errors import ConfigError
from training.features import fit_transforms
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
from training.models import ModelInputs, build_model
from training.models.ft_transformer import FtTransformer
from training.package.transforms import FeatureEncoder, encoder_inputs

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
        "    def forward(self, *tensors):\n"
        "        return self.layer(tensors[0])\n"
        "class OfTables(Linear):\n"
        "    def forward(self, numeric, categorical):\n"
        "        return self.layer(numeric)\n"
        "class Numbers(torch.nn.Linear):\n"
        "    pass\n"
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
        ("own_nets:Numbers", {"in_features": 3, "out_features": 2}, r"forward\(self, numeric, categorical\)"),
    ],
)
def test_your_own_class_gone_wrong(own_code: str, target: str, args: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_model(CustomModelConfig(target=target, args=args), TABLE, 0, own_code)


TEXTS = ModelInputs(2, (5,), None, 3, num_tokens=(30, 9), text_length=6)
EVERYTHING = ModelInputs(2, (), (1, 4, 4), 3, num_tokens=(30,), text_length=6)


def test_texts_enter_as_the_mean_of_their_tokens() -> None:
    model = build_model(MlpConfig(hidden=()), TEXTS, 0)
    for embedding in model.stem.token_embeddings:
        torch.nn.init.normal_(embedding.weight)
    numeric, codes = torch.rand(2, 2), torch.ones(2, 1, dtype=torch.int64)
    tokens = torch.zeros(2, 2, 6, dtype=torch.int64)
    tokens[0, 0, :2], tokens[1, 0, :4] = torch.tensor([3, 7]), torch.tensor([7, 3, 7, 3])
    same = torch.zeros(2, 2)
    assert torch.allclose(*model(same, codes, tokens))  # the same mean, however many there are
    assert model(numeric, codes, torch.zeros_like(tokens)).isfinite().all()
    only_texts = ModelInputs(0, (), None, 3, num_tokens=(30, 9), text_length=6)
    assert build_model(MlpConfig(), only_texts, 0)(tokens).shape == (2, 3)


def test_tokens_are_learned_from_embeddings_that_start_at_0() -> None:
    tokens = torch.randint(1, 30, (200, 1, 6), generator=torch.Generator().manual_seed(0))
    target = (tokens == 7).any(dim=2)[:, 0].long()
    model = build_model(MlpConfig(hidden=(16,)), ModelInputs(0, (), None, 2, num_tokens=(30,), text_length=6), 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens), target).backward()
        optimizer.step()
    assert (model(tokens).argmax(dim=1) == target).float().mean() > 0.98


def test_what_training_never_met_moves_no_answer() -> None:
    model = build_model(MlpConfig(hidden=(8,)), TEXTS, 0)
    numeric, padded = torch.rand(1, 2).expand(4, 2), torch.zeros(4, 2, 6, dtype=torch.int64)
    unknown = torch.tensor([[0], [1], [0], [0]])
    padded[2, 0, 0], padded[3, 1, :3] = 11, 4
    answers = model(numeric, unknown, padded)
    assert torch.equal(answers, answers[:1].expand(4, 3))
    assert not torch.equal(model(numeric[:1], unknown[:1] + 2, padded[:1]), answers[:1])


@pytest.mark.parametrize("config", [MlpConfig(), ConvNetConfig(kind="convnet")])
def test_built_in_models_take_images_or_a_table(config: MlpConfig | ConvNetConfig) -> None:
    with pytest.raises(ConfigError, match=f"{config.kind} takes images or a table, .* numeric, tokens") as error:
        build_model(config, EVERYTHING, 0)
    assert "called with image, numeric, tokens, in this order" in error.value.hint


def test_your_own_class_is_given_the_sizes_of_everything(own_code: str) -> None:
    model = build_model(CustomModelConfig(target="own_nets:Linear"), EVERYTHING, 0, own_code)
    assert model.layer.in_features == 2


def test_a_forward_that_does_not_take_the_datas_tensors_is_refused(own_code: str) -> None:
    with pytest.raises(ConfigError, match=r"OfTables: forward\(.*\) cannot be called with \(image, numeric, tokens\)"):
        build_model(CustomModelConfig(target="own_nets:OfTables"), EVERYTHING, 0, own_code)


def test_sizes_follow_the_transforms() -> None:
    rows, data = table(), data_config()
    transforms, specs = fit_transforms(rows, infer_schema(rows, data), data)
    inputs = ModelInputs.of(transforms, 2)
    tensors = FeatureEncoder(transforms)(encoder_inputs(rows, specs))
    assert inputs.num_numeric == tensors["numeric"].shape[1]
    assert (len(inputs.num_tokens), inputs.text_length) == tensors["tokens"].shape[1:]
    assert len(inputs.num_codes) == tensors["categorical"].shape[1]
    assert inputs.image_shape == tensors["image"].shape[1:]
    assert all(tensors["tokens"][:, i].max() < num for i, num in enumerate(inputs.num_tokens))


TABLE_KINDS = (TableResNetConfig(kind="table_resnet"), FtTransformerConfig(kind="ft_transformer"))
READER = TransformerConfig(kind="transformer")


@pytest.mark.parametrize(
    ("config", "inputs", "said", "hint"),
    [
        *((config, IMAGE, "takes the columns of a table, .* an image", "resnet") for config in TABLE_KINDS),
        *((config, ModelInputs(0, (), None, 2), "the data gives none", "data.ignore") for config in TABLE_KINDS),
        *((config, EVERYTHING, "takes images or a table, not both", "data.ignore") for config in TABLE_KINDS),
        (READER, TABLE, "no column is one: the data gives numeric, categorical", "ft_transformer"),
        (READER, IMAGE, "takes the columns of a table, .* an image", "resnet"),
        (ResNetConfig(kind="resnet"), TABLE, "resnet needs data.image_shape", "image_shape"),
        (ResNetConfig(kind="resnet", depths=(1,) * 5), IMAGE, "5 stages, .* at most 4 fit", ""),
        *((config, WORDS, f"{config.kind} is no language model", "transformer") for config in TABLE_KINDS),
        (MlpConfig(), WORDS, "mlp is no language model", "transformer"),
    ],
)  # fmt: skip
def test_what_does_not_suit_the_data(config: ModelConfig, inputs: ModelInputs, said: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        build_model(config, inputs, 0)
    assert hint in error.value.hint


def test_what_training_never_met_leaves_only_the_bias_of_its_column() -> None:
    model = build_model(TABLE_KINDS[1], TEXTS, 0)
    assert isinstance(model, FtTransformer)
    numeric, padded = torch.rand(1, 2).expand(4, 2), torch.zeros(4, 2, 6, dtype=torch.int64)
    unknown = torch.tensor([[0], [1], [0], [0]])
    padded[2, 0, 0], padded[3, 1, :3] = 11, 4  # texts' embeddings start at 0
    tokens_BSD = model.tokenizer(numeric, unknown, padded)
    assert tokens_BSD.shape == (4, 6, 64)  # what answers, 2 numbers, a category, 2 texts
    assert torch.equal(tokens_BSD, tokens_BSD[:1].expand(4, 6, 64))
    assert torch.equal(tokens_BSD[0, 3:], model.tokenizer.bias_SD[3:])
    assert not torch.equal(model.tokenizer(numeric, unknown + 2, padded)[:, 3], tokens_BSD[:, 3])


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_padding_says_nothing_and_every_text_reads_its_own_words(pool: str) -> None:
    config = TransformerConfig.model_validate({"kind": "transformer", "pool": pool})
    inputs = ModelInputs(0, (), None, 3, num_tokens=(30, 9), text_length=4)
    model, same = build_model(config, inputs, 0).eval(), build_model(config, inputs, 0).eval()
    tokens = torch.tensor([[[3, 7, 0, 0], [5, 0, 0, 0]]])
    expected = model(tokens)
    with torch.no_grad():
        same.token_embedding.weight[0], same.token_embedding.weight[30] = 9.0, 9.0  # of padding
        same.place_embedding.weight[[3, 4, 6, 7, 8]] = 9.0  # places that hold none: 0 is before all texts
    torch.testing.assert_close(same(tokens), expected)
    for other in ([[[7, 3, 0, 0], [5, 0, 0, 0]]], [[[3, 7, 0, 0], [6, 0, 0, 0]]], [[[3, 7, 5, 0], [0, 0, 0, 0]]]):
        assert not torch.allclose(model(torch.tensor(other)), expected, atol=1e-6)
    assert model(torch.zeros(2, 2, 4, dtype=torch.int64)).isfinite().all()
