"""What every built-in architecture must be able to do."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import nn

from tests.training.models.kinds import KINDS, LANGUAGE_MODEL, NUMBERS, rows_of, tensors_of
from training.compress.forms.dynamic_int8 import quantize_int8
from training.compress.forms.export import ScoringModel, export_onnx
from training.compress.forms.weights import weights_quantized_fraction
from training.learning_config import EnsembleConfig
from training.models import build_model
from training.optim.groups import decayed_parameters
from training.package.runtime import VariantRunner

ALL = KINDS | {"language_model": LANGUAGE_MODEL}
INT8_LAYERS = {  # convolutions, and products of few weights, stay fp32
    "table_resnet": 4, "ft_transformer": 8, "resnet": 0, "resnet_of_photos": 0, "transformer": 9, "transformer_cls": 4,
}  # fmt: skip


def varied(kinds: Iterable[str]) -> list[ParameterSet]:
    """Those that stand for another setting of a kind take their second only where time is no matter."""
    slow = ("mlp", "convnet", "resnet_of_photos", "transformer_cls")
    return [pytest.param(kind, marks=[pytest.mark.slow] if kind in slow else []) for kind in kinds]


def shaken(model: nn.Module) -> nn.Module:
    """With weights as after some training: none is 0, and norms remember other statistics than they began with."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", ALL)
def test_first_weights_depend_on_the_seed_alone(kind: str) -> None:
    config, inputs = ALL[kind]
    torch.manual_seed(1)
    one = build_model(config, inputs, seed=3).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))  # the global state was left alone
    two, other = build_model(config, inputs, seed=3).state_dict(), build_model(config, inputs, seed=4).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert sum(not torch.equal(one[name], other[name]) for name in one) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_ensemble_of_it_trains_apart_and_answers_together(kind: str) -> None:
    config, inputs = KINDS[kind]
    model = build_model(config, inputs, seed=0, ensemble=EnsembleConfig(members=2))
    tensors = tensors_of(inputs, 5)
    logits_BMK = model(*tensors)
    assert logits_BMK.shape == (5, 2, 4)
    logits_BMK.square().sum().backward()
    trained = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert len(trained) == len(list(model.parameters()))
    assert model.eval()(*tensors).shape == (5, 4)


@pytest.mark.parametrize("kind", varied(INT8_LAYERS))
def test_it_is_exported_and_quantized(kind: str, tmp_path: Path) -> None:
    config, inputs = KINDS[kind]
    model = shaken(build_model(config, inputs, seed=0)).eval()
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_onnx(model, rows_of(inputs, 3), task="classification", target_mean=0.0, target_scale=1.0, path=fp32)
    rows = rows_of(inputs, 13, seed=1)
    with torch.no_grad():
        expected = ScoringModel(model, "classification")(*tensors_of(inputs, 13, seed=1)).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3  # it does answer each row by itself
    for num_rows in (1, 4, 13):
        scores = VariantRunner(fp32)({name: values[:num_rows] for name, values in rows.items()})
        np.testing.assert_allclose(scores, expected[:num_rows], atol=1e-5)
    assert quantize_int8(fp32, int8) == INT8_LAYERS[kind]
    np.testing.assert_allclose(VariantRunner(int8)(rows), expected, atol=0.02)
    assert (weights_quantized_fraction(int8) > 0.5) == (INT8_LAYERS[kind] > 0)


@pytest.mark.parametrize("kind", varied(ALL))
def test_it_compiles_in_one_piece(kind: str) -> None:
    config, inputs = ALL[kind]
    torch.compiler.reset()
    model = build_model(config, inputs, seed=0)
    tensors = tensors_of(inputs, 5)
    model.eval()
    expected = model(*tensors)
    compiled = torch.compile(model, backend="eager", fullgraph=True)  # fails where Python must look at a value
    torch.testing.assert_close(compiled(*tensors), expected)
    compiled.train()
    compiled(*tensors).sum().backward()


@pytest.mark.parametrize("kind", ALL)
def test_in_bfloat16_it_answers_nearly_the_same_and_learns(kind: str) -> None:
    config, inputs = ALL[kind]
    model = shaken(build_model(config, inputs, seed=0))
    tensors = tensors_of(inputs, 6)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(*tensors).float().square().mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        narrow = model(*tensors)
    with torch.no_grad():
        wide = model(*tensors)
    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), wide, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_row_is_trained_on(kind: str) -> None:
    config, inputs = KINDS[kind]
    model = build_model(config, inputs, seed=0)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(*tensors_of(inputs, 1)).square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert all(buffer.isfinite().all() for buffer in model.buffers())
    if kind == "table_resnet":  # one row has no variance to be remembered
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_the_tokenizer_of_a_table_is_kept_out_of_weight_decay() -> None:
    model = build_model(*KINDS["ft_transformer"], seed=0)
    decayed = {id(parameter) for parameter in decayed_parameters(model)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert not any(name.startswith("tokenizer.") for name in names)
    assert "blocks.0.attention.query_key_value.weight" in names
    numbers = build_model(KINDS["ft_transformer"][0], NUMBERS, seed=0)
    assert decayed_parameters(numbers)  # names that such a table has no parameter of are not asked for
