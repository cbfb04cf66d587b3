"""How many lanes, found by measuring."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.search.fused.lanes import CPU, changed, experiment
from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.search.fused import LanesFound, find_lanes

DIGITS = experiment("sklearn:digits", {"global_batch_size": 128}, {"kind": "mlp", "hidden": [32], "dropout": 0.2})
IRIS = experiment("sklearn:iris", {}, {"kind": "mlp"})

OWN = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs.num_numeric, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, numeric):
        return self.layers(numeric)

class Counting(Plain):
    calls = 0

    def forward(self, numeric):
        self.calls += 1
        return self.layers(numeric) / self.calls

class Deciding(Plain):
    def forward(self, numeric):
        return self.layers(numeric) if numeric.mean() + self.layers[0].bias.mean() > 0 else self.layers(-numeric)

class Drawing(Plain):
    def forward(self, numeric):
        return self.layers(numeric + torch.randn_like(numeric))

class Nosy(Plain):
    def __init__(self, inputs):
        super().__init__(inputs)
        self.share = {"seen": 1}

    def forward(self, numeric):
        self.share["seen"] += 1
        return self.layers(numeric) / self.share["seen"]
"""


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(DIGITS.data)


def found(one: Experiment, data: Prepared, code_path: str = "", most: int = 16, cap: float | None = None) -> LanesFound:
    return find_lanes(
        one, data.facts, data.train, data.validation, metric="accuracy", device=CPU, most=most, memory_cap_mb=cap,
        code_path=code_path,
    )  # fmt: skip


def test_small_models_train_faster_together(digits: Prepared) -> None:
    measured = found(DIGITS, digits)
    assert 4 <= measured.lanes <= 16
    assert measured.speedup > 1.2
    assert set(measured.samples_per_s) >= {1, 4, 8}
    assert "times as fast" in measured.reason


def test_no_more_lanes_than_are_of_use_or_fit(digits: Prepared) -> None:
    assert found(DIGITS, digits, most=3).lanes <= 3
    assert found(DIGITS, digits, most=1) == LanesFound(1, reason="one trial at a time is of use")
    tight = found(DIGITS, digits, cap=1.2)  # a lane of this model takes about 0.3 MB
    assert max(tight.samples_per_s) < 8
    assert "of 0" in found(DIGITS, digits, cap=0.1).reason


def test_what_has_no_shape_is_not_measured(digits: Prepared) -> None:
    measured = found(changed(DIGITS, precision="bf16"), digits)
    assert (measured.lanes, measured.samples_per_s) == (1, {})
    assert "bf16" in measured.reason


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Plain", "times as fast"),
        ("Counting", "beside its tensors: calls"),
        ("Deciding", "cannot be stacked"),
        ("Drawing", "cannot be stacked"),
        ("Nosy", "the loss of a lane is"),
    ],
)
def test_models_of_somebodys_own_are_tried_first(
    tmp_path: Path, name: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"own_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = Experiment.model_validate(IRIS.model_dump(by_alias=True) | {"model": {"target": f"{module}:{name}"}})
    assert told in found(own, prepare(own.data), str(tmp_path)).reason


def test_a_layer_of_ones_own_stays_what_it_is() -> None:
    class Half(nn.Dropout):
        def forward(self, given: Tensor) -> Tensor:
            return given / 2

    model = nn.Sequential(Half(0.5))
    from training.search.fused.dropout import take_masks

    take_masks(model, {})
    assert torch.equal(model(torch.ones(2)), torch.full((2,), 0.5))
