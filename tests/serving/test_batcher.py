"""Batcher: requests that arrive together share a call, and each gets its own rows back."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

from serving.batcher import Arrays, Batcher


class Doubler:
    """A model that doubles, and remembers the size and the thread of each call."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, inputs: Arrays) -> Arrays:
        self.sizes.append(len(inputs["x"]))
        self.threads.add(threading.get_ident())
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}


def batcher_of(model: Doubler, *, call_s: Callable[[int], float] = lambda _: 0.0, wait_s: float = 0.0) -> Batcher:
    return Batcher(model, call_s, max_rows=8, max_wait_s=wait_s)


async def ask(batcher: Batcher, *values: float) -> list[float]:
    answer = await batcher({"x": np.array(values)}, len(values))
    return list(answer["y"].tolist())


@pytest.mark.parametrize("call_s", [lambda _: 0.0, lambda _: 1.0], ids=["inline", "thread"])
def test_each_request_gets_its_own_rows(call_s: Callable[[int], float]) -> None:
    model = Doubler()

    async def run() -> list[list[float]]:
        batcher = batcher_of(model, call_s=call_s)
        return await asyncio.gather(*(ask(batcher, *([float(i)] * (1 + i % 3))) for i in range(50)))

    answers = asyncio.run(run())
    assert answers == [[2.0 * i] * (1 + i % 3) for i in range(50)]
    assert max(model.sizes) <= 8
    assert len(model.sizes) < 50
    assert (threading.get_ident() in model.threads) == (call_s(1) == 0.0)


def test_a_request_larger_than_a_batch_goes_alone() -> None:
    model = Doubler()

    async def run() -> None:
        batcher = batcher_of(model)
        await asyncio.gather(ask(batcher, *range(20)), ask(batcher, 1))

    asyncio.run(run())
    assert model.sizes == [20, 1]


def test_a_wait_ends_early_when_the_batch_is_full() -> None:
    model = Doubler()

    async def run() -> None:
        batcher = batcher_of(model, wait_s=60.0)
        await asyncio.wait_for(asyncio.gather(*(ask(batcher, i) for i in range(8))), timeout=5)

    asyncio.run(run())
    assert model.sizes == [8]


def test_a_wait_lets_later_requests_join() -> None:
    model = Doubler()

    async def run() -> None:
        batcher = batcher_of(model, wait_s=0.2)
        first = asyncio.create_task(ask(batcher, 1))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, ask(batcher, 2))

    asyncio.run(run())
    assert model.sizes == [2]


@pytest.mark.parametrize("call_s", [lambda _: 0.0, lambda _: 1.0], ids=["inline", "thread"])
def test_a_failing_call_reaches_its_requests_and_no_later_one(call_s: Callable[[int], float]) -> None:
    async def run() -> None:
        batcher = batcher_of(Doubler(), call_s=call_s)
        with pytest.raises(ValueError, match="negative"):
            await ask(batcher, -1)
        assert await ask(batcher, 4) == [8.0]

    asyncio.run(run())


def test_a_client_that_leaves_is_not_computed_for() -> None:
    model = Doubler()

    async def run() -> None:
        batcher = batcher_of(model)
        gone = asyncio.create_task(ask(batcher, 1))
        await asyncio.sleep(0)
        gone.cancel()
        assert await ask(batcher, 2) == [4.0]

    asyncio.run(run())
    assert model.sizes == [1]
