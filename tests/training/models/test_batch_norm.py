"""Batch norm over two real processes gives what one process with all rows gives."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.model_config import ResNetConfig, TableResNetConfig
from training.models import ModelInputs, build_model
from training.models.batch_norm import BatchNorm, SharedOnCpu, apart, share_statistics

CPU = torch.device("cpu")
NUM_ROWS, SHARES = 9, (slice(0, 5), slice(5, 9))  # unequal, as at the end of an epoch
State = dict[str, Tensor]


def table_net() -> nn.Module:
    config = TableResNetConfig(kind="table_resnet", dim=16, hidden_dropout=0.0)
    return build_model(config, ModelInputs(4, (), None, 3), seed=0)


def image_net() -> nn.Module:
    return build_model(ResNetConfig(kind="resnet", width=4, depths=(1, 1)), ModelInputs(0, (), (1, 8, 8), 3), seed=0)


NETS = {"table": (table_net, (NUM_ROWS, 4)), "image": (image_net, (NUM_ROWS, 1, 8, 8))}


def after_two_steps(name: str, rows: slice, num_ranks: int, share: bool) -> State:
    """Weights and statistics after two steps of this process's rows."""
    build, shape = NETS[name]
    model: nn.Module = build()
    given = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    target = torch.arange(NUM_ROWS) % 3
    wrapped = share_statistics(model, CPU) if share else model
    if num_ranks > 1:
        wrapped = DistributedDataParallel(wrapped)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss_B = nn.functional.cross_entropy(wrapped(given[rows]), target[rows], reduction="none")
        (loss_B.sum() * num_ranks / NUM_ROWS).backward()
        optimizer.step()
    return model.state_dict()


def on_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    state = {(name, share): after_two_steps(name, SHARES[rank], 2, share) for name in NETS for share in (True, False)}
    norm = share_statistics(BatchNorm(2), CPU)
    if rank == 0:  # its peer is not asked, so this would wait forever if it were not apart
        with apart(norm):
            norm(torch.rand(4, 2))
    torch.save(state, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, bool], State]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(on_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", NETS)
def test_shared_statistics_are_those_of_one_process(
    name: str, of_two_ranks: list[dict[tuple[str, bool], State]]
) -> None:
    alone = after_two_steps(name, slice(None), 1, share=False)
    for rank in (0, 1):
        shared = of_two_ranks[rank][name, True]
        assert list(shared) == list(alone)  # a checkpoint fits either form
        for key, value in alone.items():
            torch.testing.assert_close(shared[key], value, atol=2e-5, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")
    apart_ = of_two_ranks[0][name, False]
    # The test could see a difference: without sharing, means are of one rank's rows.
    assert max(float((apart_[key] - alone[key]).abs().max()) for key in alone if key.endswith("running_mean")) > 0.01


def test_sharing_keeps_parameters_and_evaluation() -> None:
    model, rows = image_net(), torch.rand(3, 1, 8, 8)
    parameters, expected = list(model.parameters()), model.eval()(rows)
    shared = share_statistics(model, CPU)
    assert shared is model
    assert all(one is other for one, other in zip(parameters, shared.parameters(), strict=True))
    assert sum(isinstance(module, SharedOnCpu) for module in shared.modules()) == 6
    torch.testing.assert_close(shared(rows), expected)
    again = share_statistics(shared, CPU)
    assert [type(module) for module in again.modules()] == [type(module) for module in shared.modules()]


def test_your_own_batch_norms_are_shared_too(tmp_path: Path) -> None:
    own = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.BatchNorm1d(4, momentum=None))
    expected = own(torch.ones(2, 3) * torch.tensor([[1.0], [2.0]]))
    shared = share_statistics(own, CPU).train()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        torch.testing.assert_close(shared(torch.ones(2, 3) * torch.tensor([[1.0], [2.0]])), expected)
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(shared[2].num_batches_tracked, torch.tensor(2))


def test_one_row_is_normalised_as_in_evaluation_and_not_remembered() -> None:
    norm = BatchNorm(3)
    norm(torch.randn(8, 3))
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    row = torch.randn(1, 3)
    assert torch.equal(norm(row), norm.eval()(row))
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


def test_evaluation_takes_weights_that_fsdp_gathered_in_bf16() -> None:
    norm = share_statistics(BatchNorm(3), CPU).eval()
    given = torch.randn(8, 3).bfloat16()
    expected = norm(given)
    for name in ("weight", "bias"):
        setattr(norm, name, nn.Parameter(getattr(norm, name).detach().bfloat16()))
    assert torch.equal(norm(given), expected)
