"""Models with branches: `torch.cond` becomes an If, whose branches take names of the graph around them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from training.compress.errors import NotMade
from training.compress.forms.branches import graphs_within, sort_nodes
from training.compress.forms.export import export_onnx
from training.compress.forms.make import FORMS, make_onnx_form
from training.compress.forms.weights import num_weights_nonzero
from training.package.runtime import VariantRunner

WIDTH = 136
RNG = np.random.default_rng(0)
ROWS = {"numeric": RNG.normal(size=(40, WIDTH)).astype(np.float32), "categorical": np.ones((40, 1), np.int64)}
OTHER = ROWS | {"categorical": -ROWS["categorical"]}
CLOSE = {"int8": 0.01, "int8_static": 0.02, "int4": 0.05, "fp16": 0.001}


class Branches(nn.Module):
    """The choice is known at once; the branches take what comes later: the output of a Relu."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.one, self.other = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        hidden = torch.relu(self.before(numeric))

        def first(value: Tensor) -> Tensor:
            return torch.relu(self.one(value))

        def second(value: Tensor) -> Tensor:
            return self.other(value) * 0.5

        chosen = torch.cond(categorical.sum() > 0, first, second, (hidden,))
        return self.out(chosen + hidden)


class OnlyBranches(Branches):
    """Its large layers stand in branches."""

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        def first(value: Tensor) -> Tensor:
            return self.one(value) * 2

        def second(value: Tensor) -> Tensor:
            return self.other(value) * 0.5

        return self.out(torch.cond(categorical.sum() > 0, first, second, (numeric,)))


def exported(make: Callable[[], nn.Module], folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "fp32.onnx"
    few = {name: values[:4] for name, values in ROWS.items()}
    export_onnx(make(), few, task="classification", target_mean=0.0, target_scale=1.0, path=path)
    return path


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(Branches, tmp_path_factory.mktemp("branches"))


@pytest.mark.parametrize("form", FORMS)
def test_each_form_keeps_what_branches_take(branches: Path, form: str, tmp_path: Path) -> None:
    both = {name: np.concatenate([ROWS[name], OTHER[name]]) for name in ROWS}
    make_onnx_form(form, branches, tmp_path / "form.onnx", both)
    before, after = VariantRunner(branches), VariantRunner(tmp_path / "form.onnx")
    for rows in (ROWS, OTHER):
        np.testing.assert_allclose(after(rows), before(rows), atol=CLOSE[form])
    assert (tmp_path / "form.onnx").stat().st_size < 0.85 * branches.stat().st_size
    assert num_weights_nonzero(tmp_path / "form.onnx") == pytest.approx(3 * WIDTH * (WIDTH + 1), rel=0.05)


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_large_products_in_branches_alone_are_said_to_stand_there(form: str, tmp_path: Path) -> None:
    source = exported(OnlyBranches, tmp_path)
    with pytest.raises(NotMade, match="16,384 constant weights or more outside its branches"):
        make_onnx_form(form, source, tmp_path / "form.onnx", ROWS)


def test_branches_tell_nothing_of_the_machine_either(branches: Path) -> None:
    assert str(Path(__file__).parents[3]).encode() not in branches.read_bytes()
    assert b"stack_trace" not in branches.read_bytes()


def with_inner_weight(weight: np.ndarray, *, backwards: bool = False) -> onnx.ModelProto:
    """scores = (numeric @ weight) where the choice is true, else numeric @ weight @ weight; the weight is outside."""

    def branch(name: str, *nodes: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "M"])])

    then = branch("a", helper.make_node("MatMul", ["same", "w"], ["a"]))
    other = branch("b", helper.make_node("MatMul", ["same", "w"], ["c"]), helper.make_node("MatMul", ["c", "w"], ["b"]))
    nodes = [
        helper.make_node("Identity", ["numeric"], ["same"]),
        helper.make_node("If", ["choice"], ["scores"], then_branch=then, else_branch=other),
    ]
    graph = helper.make_graph(
        nodes[::-1] if backwards else nodes, "chooses",
        [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["N", len(weight)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "M"])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([True]), "choice")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_nodes_are_put_behind_what_their_branches_take() -> None:
    model = with_inner_weight(np.ones((2, 2), np.float32), backwards=True)
    sort_nodes(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Identity", "If"]
    assert len(list(graphs_within(model.graph))) == 3
    onnx.checker.check_model(model)


def test_fp16_names_a_weight_of_a_branch_that_it_cannot_hold(tmp_path: Path) -> None:
    model = with_inner_weight(np.full((2, 2), 7e4, np.float32))
    model.graph.initializer.pop()  # a choice that is constant would be folded away
    choice = helper.make_tensor_value_info("choice", TensorProto.BOOL, [1])
    model.graph.input.append(choice)
    onnx.save(model, tmp_path / "source.onnx")
    with pytest.raises(NotMade, match="w holds 7e\\+04, and fp16 ends at 65504"):
        make_onnx_form("fp16", tmp_path / "source.onnx", tmp_path / "half.onnx", {})
