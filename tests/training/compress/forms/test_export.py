"""Export: the ONNX file answers like torch at any number of rows, or a person is told why it cannot."""

import copy
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from training.compress.errors import ExportFailed
from training.compress.forms.export import ScoringModel, export_onnx
from training.compress.quiet import quiet
from training.models.convnet import ConvNet
from training.models.mlp import Mlp
from training.package.manifest import Task
from training.package.runtime import VariantRunner

RNG = np.random.default_rng(0)
NUMERIC = RNG.normal(size=(40, 5)).astype(np.float32)
CATEGORICAL = RNG.integers(0, 4, (40, 2))
TOKENS = RNG.integers(0, 9, (40, 2, 6)) * RNG.integers(0, 2, (40, 2, 6))
IMAGES = RNG.normal(size=(40, 1, 8, 8)).astype(np.float32)

MODELS: dict[str, tuple[nn.Module, dict[str, np.ndarray]]] = {
    "both": (Mlp(5, [4, 9], 3, [16], 0.5, 4), {"numeric": NUMERIC, "categorical": CATEGORICAL}),
    "numeric": (Mlp(5, [], 3, [16, 16], 0.5, 4), {"numeric": NUMERIC}),
    "categorical": (Mlp(0, [4, 9], 3, [16], 0.5, 4), {"categorical": CATEGORICAL}),
    "texts": (
        Mlp(5, [4, 9], 3, [16], 0.5, 4, [20, 9]),
        {"numeric": NUMERIC, "categorical": CATEGORICAL, "tokens": TOKENS},
    ),
    "image": (ConvNet((1, 8, 8), 3, (4, 8), 16, 0.5), {"image": IMAGES}),
}


def export(
    model: nn.Module, example: dict[str, np.ndarray], path: Path, task: Task = "classification"
) -> VariantRunner:
    export_onnx(model, example, task=task, target_mean=150.0, target_scale=20.0, path=path)
    return VariantRunner(path)


def torch_scores(model: nn.Module, example: dict[str, np.ndarray], task: Task = "classification") -> np.ndarray:
    scoring = ScoringModel(copy.deepcopy(model), task, 150.0, 20.0).eval()
    with torch.no_grad():
        return scoring(*(torch.from_numpy(values) for values in example.values())).numpy()


@pytest.mark.parametrize("kind", MODELS)
def test_exported_models_answer_like_torch_at_every_batch_size(kind: str, tmp_path: Path) -> None:
    model, example = MODELS[kind]
    for embedding in getattr(getattr(model, "stem", None), "token_embeddings", []):
        nn.init.normal_(embedding.weight)  # as it is after training; they start at 0
    runner = export(model, {name: values[:4] for name, values in example.items()}, tmp_path / "model.onnx")
    assert runner.input_names == tuple(example)
    expected = torch_scores(model, example)
    for num_rows in (1, 2, 7, 40):
        scores = runner({name: values[:num_rows] for name, values in example.items()})
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected[:num_rows], atol=1e-6)
    np.testing.assert_allclose(expected.sum(axis=1), 1.0, atol=1e-5)


def test_one_example_row_is_enough_for_a_free_batch_axis(tmp_path: Path) -> None:
    model, example = MODELS["numeric"]
    runner = export(model, {"numeric": NUMERIC[:1]}, tmp_path / "model.onnx")
    np.testing.assert_allclose(runner(example), torch_scores(model, example), atol=1e-6)


def test_a_regression_answers_in_the_unit_of_its_target(tmp_path: Path) -> None:
    model = Mlp(5, [], 1, [16], 0.0, 4)
    runner = export(model, {"numeric": NUMERIC}, tmp_path / "model.onnx", "regression")
    predictions = runner({"numeric": NUMERIC})
    assert predictions.shape == (40,)
    np.testing.assert_allclose(predictions, torch_scores(model, {"numeric": NUMERIC}, "regression"), rtol=1e-6)
    assert 50 < predictions.mean() < 250


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model, example = MODELS["both"]
    model.train()
    export(model, example, tmp_path / "model.onnx")
    assert model.training


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(tmp_path: Path) -> None:
    export(*MODELS["both"], tmp_path / "model.onnx")
    raw = (tmp_path / "model.onnx").read_bytes()
    assert b"stack_trace" not in raw
    assert str(Path(__file__).parents[3]).encode() not in raw
    assert all(opset.version == 18 for opset in onnx.load(tmp_path / "model.onnx").opset_import if not opset.domain)


def test_export_is_silent_and_leaves_logging_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.getLogger().handlers)
    export(*MODELS["image"], tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == 0


def test_a_model_that_cannot_be_traced_is_not_dumped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportFailed):
        export(BranchesOnValues(), {"numeric": NUMERIC[:4]}, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_what_onnxruntime_warns_of_is_not_heard_in_quiet_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    unused = [onnx.numpy_helper.from_array(np.ones(2, np.float32), "unused")]
    value = onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [2])
    result = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [2])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["a"], ["b"])], "has more than it needs", [value], [result], unused
    )
    path = tmp_path / "unused.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path
    )  # fmt: skip
    with quiet():
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert capfd.readouterr() == ("", "")
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert "Removing initializer" in capfd.readouterr().err


class BranchesOnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, numeric: Tensor) -> Tensor:
        return self.layer(numeric) if numeric.sum() > 0 else -self.layer(numeric)


class FixedRows(nn.Module):
    def forward(self, numeric: Tensor) -> Tensor:
        return numeric.reshape(4, 5)[:, :3]


class Random(nn.Module):
    def forward(self, numeric: Tensor) -> Tensor:
        return numeric[:, :3] + torch.rand_like(numeric[:, :3])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (BranchesOnValues(), "BranchesOnValues cannot be exported to ONNX: "),
        (FixedRows(), "FixedRows fails on 1 row: RuntimeError: shape '[4, 5]' is invalid"),
        (Random(), "Random answers differently as ONNX than in torch on 1 row: by up to"),
        (nn.Linear(6, 3), "Linear cannot be exported to ONNX: RuntimeError: "),
    ],
    ids=["branch", "rows", "random", "shape"],
)
def test_a_model_that_cannot_be_exported_is_named_with_one_line_of_cause(
    model: nn.Module, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportFailed) as caught:
        export(model, {"numeric": NUMERIC[:4]}, tmp_path / "model.onnx")
    assert caught.value.message.startswith(reason)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 1
    assert caught.value.hint


class DrawsALittle(nn.Module):
    """Random by some standard deviations of the target, and by a ten-thousandth of what it answers."""

    def forward(self, numeric: Tensor) -> Tensor:
        return numeric[:, :1] + torch.rand_like(numeric[:, :1]) * 10


def export_far(model: nn.Module, path: Path, scale: float) -> None:
    """A regression whose target lies around 1e9."""
    export_onnx(model, {"numeric": NUMERIC[:8]}, task="regression", target_mean=1e9, target_scale=scale, path=path)


def test_far_from_0_a_deviation_is_measured_by_the_spread_of_the_target(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="DrawsALittle answers differently as ONNX than in torch on "):
        export_far(DrawsALittle(), tmp_path / "a.onnx", 1e4)
    export_far(Mlp(5, [], 1, [16], 0.0, 4), tmp_path / "b.onnx", 1e4)
    export_far(Mlp(5, [], 1, [16], 0.0, 4), tmp_path / "c.onnx", 1.0)  # 64 is the step of float32 there


class RootOfNegatives(nn.Module):
    """No number for rows whose first value is negative."""

    def forward(self, numeric: Tensor) -> Tensor:
        return numeric[:, :3] + torch.sqrt(numeric[:, :1])


class Alone(nn.Module):
    def forward(self, numeric: Tensor) -> Tensor:
        return numeric[:, :3] / numeric[:, :3].std(dim=0)


def test_answers_that_are_no_numbers_in_torch_either_are_counted(tmp_path: Path) -> None:
    rows = NUMERIC[:8].copy()
    rows[:, 0] = [-1, 1, 2, -3, 4, 5, 6, 7]
    with pytest.raises(ExportFailed, match="RootOfNegatives answers NaN or infinity on 2 of 8 rows") as caught:
        export(RootOfNegatives(), {"numeric": rows}, tmp_path / "model.onnx")
    assert "a root of what may be 0" in caught.value.hint
    with pytest.raises(ExportFailed, match="Alone answers NaN or infinity on a row that comes alone"):
        export(Alone(), {"numeric": rows}, tmp_path / "model.onnx")
