"""Pruning: units really go, the right ones, zeros stay zero, and what cannot be pruned is said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.compress.learned.made import around, untrained
from tests.training.models.kinds import DIGIT, KINDS, LANGUAGE_MODEL, TABLE, WORDS, rows_of, tensors_of
from training.compress.errors import NotMade
from training.compress.forms.export import export_onnx
from training.compress.learned.around import Around, Base, num_weights
from training.compress.learned.attention_units import kept_units, without_heads_and_units
from training.compress.learned.prune import _prune_units, prune, pruned, pruned_name
from training.compress.learned.traced_units import without_units
from training.compress_config import PruneConfig
from training.data.prepared import Prepared
from training.learning_config import EnsembleConfig
from training.model_config import MlpConfig
from training.models import build_model
from training.models.attention import Block, BlockShape
from training.package.manifest import Task
from training.package.runtime import VariantRunner

OF_LINES = {**KINDS, "mlp_of_pictures": (MlpConfig(hidden=(64,)), DIGIT), "language_model": LANGUAGE_MODEL}
REST = [kind for kind in OF_LINES if kind not in ("convnet", "ft_transformer")]  # each export takes seconds
PAIR = EnsembleConfig(members=2)


def answers(model: nn.Module, rows: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        answer: Tensor = model.eval()(*rows)
    return answer


def as_exported(kind: str) -> tuple[dict[str, np.ndarray], Task]:
    if kind != "language_model":
        return rows_of(OF_LINES[kind][1], 3), "classification"
    tokens = rows_of(WORDS, 3)["tokens"]
    return {"tokens": np.concatenate([tokens, tokens[:, :1]], axis=1)[:, None]}, "language_modelling"


@pytest.mark.parametrize("kind", OF_LINES)
def test_every_architecture_is_really_smaller_and_takes_any_number_of_rows(kind: str) -> None:
    settings, inputs = OF_LINES[kind]
    model = build_model(settings, inputs, 0).eval()
    before, shape = num_weights(model), answers(model, tensors_of(inputs, 5)).shape
    _prune_units(model, 0.5, tensors_of(inputs, 8))
    assert 0.2 * before < num_weights(model) < 0.6 * before
    assert answers(model, tensors_of(inputs, 5)).shape == shape
    assert answers(model, tensors_of(inputs, 1)).shape == (1, *shape[1:])


@pytest.mark.parametrize(
    "kind", ["convnet", "ft_transformer", *(pytest.param(kind, marks=pytest.mark.slow) for kind in REST)]
)
@pytest.mark.parametrize("members", [None, pytest.param(PAIR, marks=pytest.mark.slow)], ids=["one", "two"])
def test_a_pruned_model_is_exported(kind: str, members: EnsembleConfig | None, tmp_path: Path) -> None:
    settings, inputs = OF_LINES[kind]
    if members is not None and inputs.vocab_size:
        pytest.skip("there are no ensembles of language models")
    model = build_model(settings, inputs, 0, ensemble=members).eval()
    _prune_units(model, 0.5, tensors_of(inputs, 8))
    rows, task = as_exported(kind)
    export_onnx(model, rows, task=task, target_mean=0.0, target_scale=1.0, path=tmp_path / "m.onnx")
    assert len(VariantRunner(tmp_path / "m.onnx")(rows)) == len(next(iter(rows.values())))


@pytest.mark.parametrize("kind", [kind for kind in OF_LINES if kind != "language_model"])
def test_of_an_ensemble_each_member_is_pruned_by_itself(kind: str) -> None:
    settings, inputs = OF_LINES[kind]
    model = build_model(settings, inputs, 0, ensemble=PAIR)
    before = num_weights(model)
    _prune_units(model, 0.5, tensors_of(inputs, 8))
    assert num_weights(model) < 0.6 * before
    assert model.train()(*tensors_of(inputs, 5)).shape == (5, 2, 4)


@pytest.mark.parametrize("activation", ["gelu", "reglu"])
def test_heads_and_hidden_units_that_do_nothing_go_first(activation: str) -> None:
    block = Block(BlockShape(16, 4, 32, activation)).eval()  # type: ignore[arg-type]
    attention, ffn = block.attention, block.ffn
    with torch.no_grad():
        for head in (0, 2):
            attention.out.weight[:, head * 4 : head * 4 + 4] = 0
            attention.query_key_value.weight.unflatten(0, (3, 4, 4))[:, head] = 0
        ffn.out.weight[:, ::2] = 0
        ffn.into.weight.unflatten(0, (-1, 32))[:, ::2] = 0
    rows = (torch.randn(3, 5, 16),)
    expected = answers(block, rows)
    without_heads_and_units(block, 0.5)
    assert (attention.heads, attention.out.in_features, ffn.out.in_features) == (2, 8, 16)
    torch.testing.assert_close(answers(block, rows), expected)


def test_one_head_stays() -> None:
    block = Block(BlockShape(16, 4, 32, "gelu")).eval()
    without_heads_and_units(block, 0.99)
    assert (block.attention.heads, block.ffn.out.in_features) == (1, 8)
    assert answers(block, (torch.randn(3, 5, 16),)).shape == (3, 5, 16)


def test_units_that_do_nothing_go_first() -> None:
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    with torch.no_grad():
        for weight in (model[0].weight, model[0].bias, model[2].weight.T):
            weight[::2] = 0
    rows = (torch.randn(9, 6),)
    expected = answers(model, rows)
    without_units(model, rows, 0.5)
    assert model[0].out_features == 16
    torch.testing.assert_close(answers(model, rows), expected)


@pytest.mark.parametrize(("num", "sparsity", "kept"), [(64, 0.5, 32), (64, 0.99, 8), (20, 0.5, 8), (3, 0.9, 1)])
def test_a_multiple_of_what_kernels_like_is_kept(num: int, sparsity: float, kept: int) -> None:
    assert kept_units(num, sparsity) == kept


class Branches(nn.Module):
    """Two heads side by side, and a layer that must not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 32).requires_grad_(requires_grad=False)
        self.one, self.other = nn.Linear(32, 8), nn.Linear(32, 8)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = self.first(rows).relu()
        return torch.cat([self.one(hidden), self.other(hidden)], dim=1)


def test_outputs_stay_and_what_is_frozen_stays_frozen() -> None:
    model = Branches()
    _prune_units(model, 0.5, (torch.randn(8, 6),))
    assert (model.first.out_features, model.one.out_features, model.other.out_features) == (16, 8, 8)
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, False, True, True, True, True]


class Fixed(nn.Module):
    """Leans on a width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.first(rows).reshape(-1, 32))


class Uses(nn.Module):
    """Has one of our blocks beside layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Linear(6, 16), Block(BlockShape(16, 4, 32, "gelu")), nn.Linear(16, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.block(self.first(rows)[:, None])[:, 0])


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Fixed(), "Fixed does not run with fewer units: RuntimeError: shape"), (Uses(), "torch_pruning cannot follow")],
    ids=["fixed width", "fused attention"],
)
def test_a_module_that_cannot_be_pruned_is_left_out_with_the_reason(model: nn.Module, reason: str) -> None:
    with pytest.raises(NotMade, match=reason):
        _prune_units(model, 0.5, (torch.randn(8, 6),))


def test_a_model_without_units_to_spare_is_left_out(digits: Prepared) -> None:
    place = around(digits, {"hidden": ()})
    with pytest.raises(NotMade, match="no layer of the model can do without 50% of its units"):
        prune(Base(untrained(place)), "structured", 0.5, place)


def test_structured_pruning_is_followed_by_training(small: Around, learned: Base) -> None:
    cut = prune(learned, "structured", 0.5, small)
    form = pruned(learned, PruneConfig(epochs=2), 0.5, small)
    assert cut.steps == form.steps == ("structured-50",)
    assert form.num_weights == cut.num_weights < 0.5 * learned.num_weights
    assert form.validation_score is not None
    assert form.validation_score > 0.9
    assert pruned(learned, PruneConfig(epochs=1), 0.25, small, learned.model).steps == ("structured-25", "taught")


def test_zeros_stay_zero_whatever_moves_the_rest(digits: Prepared, learned: Base) -> None:
    train = {"ema": {"decay": 0.9}, "weight_decay": 0.1, "l1": 1e-5}
    place = around(digits, {"hidden": (64, 64)}, train=train)
    cut = prune(learned, "magnitude", 0.8, place)
    form = pruned(learned, PruneConfig(kind="magnitude", epochs=2), 0.8, place)
    assert form.steps == ("magnitude-80",)
    assert form.num_weights == cut.num_weights == pytest.approx(0.2 * learned.num_weights, abs=2)
    moved = 0.0
    for name, weight in cut.model.named_parameters():
        tuned = form.model.get_parameter(name)
        moved = max(moved, float((tuned - weight).detach().abs().max()))
        if weight.ndim >= 2:
            assert torch.equal(tuned == 0, weight == 0)
    assert moved > 1e-3
    assert list(form.model.state_dict()) == list(learned.model.state_dict())
    assert type(form.model.layers[0]) is nn.Linear  # type: ignore[union-attr, index]


def test_matrices_that_embed_too_are_not_zeroed() -> None:
    settings, inputs = LANGUAGE_MODEL
    model = build_model(settings, inputs, 0)
    place = Base(model)
    cut = prune(place, "magnitude", 0.5, None)  # type: ignore[arg-type]  # magnitudes need no rows
    assert torch.count_nonzero(cut.model.head.weight) == model.head.weight.numel()  # type: ignore[union-attr, arg-type]
    assert cut.num_weights < num_weights(model)


def test_a_model_of_embeddings_alone_has_no_weights_to_zero() -> None:
    with pytest.raises(NotMade, match="neither a linear layer nor a convolution"):
        prune(Base(nn.Embedding(TABLE.num_codes[0], 4)), "magnitude", 0.5, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sparsity", "name"), [(0.5, "structured-50"), (0.503, "structured-50.3"), (0.29, "structured-29"),
                           (1e-7, "structured-0.00001")],
)  # fmt: skip
def test_a_share_has_one_name_in_plain_digits(sparsity: float, name: str) -> None:
    assert pruned_name("structured", sparsity) == name
