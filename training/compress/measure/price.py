"""What predictions cost: from the price of a node and how many calls it makes an hour."""

from collections.abc import Mapping

from training.package.machine import Machine
from training.package.manifest import Latency

MILLION = 1_000_000
HOUR_MS = 3_600_000.0


def usd_per_million(
    latency: Mapping[str, Latency], machine: Machine, num_threads: int, usd_per_hour: float, *, on_gpu: bool
) -> float:
    """USD for a million predictions on a node that does nothing else, at the batch size of most throughput.

    Args:
        latency: of a call, by batch size.
        machine: the node; its cores are shared out among replicas of `num_threads` each.
        num_threads: that one replica uses.
        usd_per_hour: price of the whole node.
        on_gpu: one replica then has the node.
    """
    row_ms = min(found.p50_ms / int(batch_size) for batch_size, found in latency.items())
    num_replicas = 1 if on_gpu else max(1, machine.num_cores // num_threads)
    predictions_per_hour = num_replicas * HOUR_MS / row_ms
    return usd_per_hour / predictions_per_hour * MILLION
