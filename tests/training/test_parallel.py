"""Training over ranks: real processes that exchange gradients, against one process with the whole batch."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training import ranks
from tests.training.ranks import CPU, NUM_STEPS, SAVED_AT, WAYS, Block, Net, Training
from training.blocks import parts_of, repeated_blocks
from training.errors import ConfigError
from training.parallel import is_sharded, wrap
from training.train_config import TrainConfig

TIMEOUT_S = 120


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the ranks have: threads cost more than they give on tensors this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two and then three processes that trained in every way."""
    folder = tmp_path_factory.mktemp("ranks")
    root = Path(ranks.__file__).parents[2]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(root)}
    worker = subprocess.run(
        [sys.executable, "-W", "ignore", ranks.__file__, str(folder)],
        env=environment, timeout=TIMEOUT_S, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert worker.returncode == 0, worker.stdout + worker.stderr
    return folder


@pytest.fixture(scope="module")
def two(trained: Path) -> dict[str, Any]:
    """What the two ranks ended with, each way."""
    found: dict[str, Any] = torch.load(trained / "found-2.pt", weights_only=True)
    return found


def farthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    assert set(one) == set(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("way", [way for way in WAYS if "bf16" not in way])
def test_two_ranks_train_as_one_does(way: str, two: dict[str, Any]) -> None:
    """Weights, averages, optimizer state and judged outputs; only the order of sums differs."""
    one = Training(way, 0, 1)
    first = {name: weight.clone() for name, weight in one.model.state_dict().items()}
    one.run(NUM_STEPS)
    state = one.checkpoint()
    assert farthest(first, state["model"]) > 0.01
    for part in ("model", "ema"):
        assert farthest(state[part], two[way][part]) < 1e-6
    assert [group["params"] for group in state["optimizer"]["param_groups"]] == [
        group["params"] for group in two[way]["optimizer"]["param_groups"]
    ]
    for place, values in state["optimizer"]["state"].items():
        tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
        assert farthest(tensors, {key: two[way]["optimizer"]["state"][place][key] for key in tensors}) < 1e-6
    averaged, plain = one.judged()
    assert not torch.allclose(averaged, plain)
    torch.testing.assert_close((averaged, plain), tuple(two[way]["judged"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", ["ddp_bf16", "fsdp_bf16"])
def test_bf16_stays_near_fp32_with_fp32_weights(way: str, two: dict[str, Any]) -> None:
    assert 1e-6 < farthest(two[way]["model"], two["ddp"]["model"]) < 0.05
    assert {weight.dtype for weight in two[way]["model"].values()} == {torch.float32}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_recomputed_activations_change_no_bit(parallel: str, two: dict[str, Any]) -> None:
    assert farthest(two[f"{parallel}_recompute"]["model"], two[parallel]["model"]) == 0.0


@pytest.mark.parametrize("name", ["shards", "ddp_shards", "full", "sgd"])
def test_three_ranks_go_on_from_what_two_saved(name: str, trained: Path, two: dict[str, Any]) -> None:
    three = torch.load(trained / "found-3.pt", weights_only=True)[name]
    assert three["step"] == NUM_STEPS
    for part in ("model", "ema"):
        assert farthest(three[part], two["fsdp_sgd" if name == "sgd" else "fsdp"][part]) < 1e-6


@pytest.mark.parametrize("name", ["fsdp-shards", "ddp-shards", "fsdp.pt"])
def test_one_rank_goes_on_from_what_two_saved(name: str, trained: Path, two: dict[str, Any]) -> None:
    one = Training("ddp", 0, 1)
    if name.endswith(".pt"):
        one.load(torch.load(trained / name, weights_only=True))
    else:
        one.load(ranks.kept(trained / name))
    assert one.step == SAVED_AT
    assert farthest(one.run(NUM_STEPS).checkpoint()["model"], two["fsdp"]["model"]) < 1e-6


def test_a_shard_lies_in_each_ranks_file(trained: Path) -> None:
    sizes = [path.stat().st_size for path in sorted((trained / "fsdp-shards").rglob("*.distcp"))]
    assert len(sizes) == 2
    assert min(sizes) > 0.5 * max(sizes)


def test_a_parameter_without_part_in_a_persons_model_is_no_error(two: dict[str, Any]) -> None:
    assert two["unused"] is True


def test_parts_that_are_known_are_not_searched_for_unused_ones(two: dict[str, Any]) -> None:
    """The search walks the graph in every step."""
    assert two["of_torch"]["looks"] is False
    one = Training("ddp", 0, 1, ranks.of_torch_alone()).run(NUM_STEPS)
    assert farthest(one.checkpoint()["model"], two["of_torch"]["model"]) < 1e-6


def test_a_micro_batch_that_is_not_the_last_exchanges_nothing(two: dict[str, Any]) -> None:
    alone = ranks.gradients_alone("ddp", 0, 1)
    assert two["unsynced"]["fsdp"] == [None] * len(alone)  # they stay with the gathered weights
    for found, expected in zip(two["unsynced"]["ddp"], alone, strict=True):
        torch.testing.assert_close(found, expected)


def test_ranks_agree(two: dict[str, Any]) -> None:
    assert two["smallest"] == 10
    assert two["synced"] == [5.0, 5.0]  # rank 0's


def gradients(model: nn.Module, *, is_checkpointed: bool) -> list[Tensor]:
    config = TrainConfig(activation_checkpointing=is_checkpointed)
    torch.manual_seed(1)  # of dropout
    wrap(model, config, CPU, world_size=1)(torch.randn(6, 7)).square().sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_recomputation_draws_the_same_dropout_and_keeps_names_and_copies() -> None:
    torch.manual_seed(0)
    plain = Net(dropout=0.5)
    again = copy.deepcopy(plain)
    expected, found = gradients(plain, is_checkpointed=False), gradients(again, is_checkpointed=True)
    assert len(found) == len(expected) == len(list(plain.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert list(again.state_dict()) == list(plain.state_dict())
    copied = copy.deepcopy(again)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert bool((copied.eval()(torch.randn(2, 7)) == 0).all())  # its blocks are its own, not those it was copied from


def test_recomputation_keeps_less() -> None:
    """Bytes that the graph holds between forward and backward."""

    def kept(*, is_checkpointed: bool) -> int:
        model = wrap(Net(), TrainConfig(activation_checkpointing=is_checkpointed), CPU, world_size=1)
        held: dict[int, int] = {}

        def hold(tensor: Tensor) -> Tensor:
            held[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            model(torch.randn(64, 7)).sum()
        return sum(held.values())

    assert kept(is_checkpointed=True) < 0.5 * kept(is_checkpointed=False)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(7, 7), nn.BatchNorm1d(7), nn.ReLU()) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_recomputation_remembers_a_batch_once() -> None:
    torch.manual_seed(0)
    plain = Normed()
    again = copy.deepcopy(plain)
    for model, is_checkpointed in ((plain, False), (again, True)):
        gradients(model, is_checkpointed=is_checkpointed)
    assert int(again.state_dict()["blocks.0.1.num_batches_tracked"]) == 1
    assert farthest(plain.state_dict(), again.state_dict()) == 0.0


def test_recomputation_without_blocks_is_an_error() -> None:
    config = TrainConfig(activation_checkpointing=True)
    with pytest.raises(ConfigError, match="repeated blocks, and Linear has none"):
        wrap(nn.Linear(2, 2), config, CPU, world_size=1)
    with pytest.raises(ConfigError, match="do not go together"):
        wrap(Normed(), config.model_copy(update={"compile": True}), CPU, world_size=1)


def test_one_worker_needs_no_wrapping() -> None:
    model = Net()
    assert wrap(model, TrainConfig(parallel="fsdp"), CPU, world_size=1) is model
    assert not is_sharded(model)


def test_blocks_are_those_declared_else_those_repeated_else_the_large_parts() -> None:
    net = Net()
    assert repeated_blocks(nn.Sequential(net, nn.Linear(3, 3))) == list(net.blocks)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3, enable_nested_tensor=False)
    assert repeated_blocks(encoder) == list(encoder.layers)
    nested = nn.ModuleList([Block(4, 0.0), nn.Linear(2, 2)])
    assert repeated_blocks(nested) == []
    large, small, tiny = nn.Linear(100, 100), nn.Linear(100, 10), nn.Linear(5, 5)
    assert parts_of(nn.Sequential(nn.Sequential(large, nn.ReLU()), small, tiny)) == [large, small]
    assert parts_of(nn.Linear(2, 2)) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # of torch's own compiler
def test_compiled_trains_the_same_under_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "compiled", {"compile": True, "activation_checkpointing": True})
    compiled, plain = Training("compiled", 0, 1).run(NUM_STEPS), Training("ddp", 0, 1).run(NUM_STEPS)
    assert list(compiled.model.state_dict()) == list(Net().state_dict())
    assert farthest(compiled.checkpoint()["model"], plain.checkpoint()["model"]) < 1e-6
