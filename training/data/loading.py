"""The loader of a training: from memory, or from a stream."""

from functools import partial

from training.data.batches import Loader, Pick, sample_order
from training.data.memory import MemoryLoader, Rows
from training.data.order import balanced_order
from training.data.prepared import Part
from training.data.stream.loader import StreamLoader
from training.data.stream.part import StreamPart
from training.data.stream.windows import Feeder, ThreadFeeder
from training.errors import ConfigError
from training.session import Session
from training.train_config import TrainConfig


def open_loader(
    train: Part | StreamPart, config: TrainConfig, session: Session, feeder: Feeder | None, *, balanced_by: str = "",
    pick: Pick | None = None,
) -> Loader:  # fmt: skip
    """This rank's loader of the training rows.

    Args:
        train: the rows, or where a stream reads them.
        config: seed and global batch size.
        session: rank, world size and device.
        feeder: of a stream's windows; None decodes them in this process.
        balanced_by: the setting that has every class drawn equally often; empty where none does.
        pick: the rows that each is to be mixed with, or None for none.

    Raises:
        ConfigError: a stream cannot draw rows that way.
    """
    size, rank, world_size = config.global_batch_size, session.rank, session.world_size
    if isinstance(train, StreamPart):
        if balanced_by:
            raise ConfigError(
                f"{balanced_by} needs all rows in memory, and these are streamed",
                "do without it, with train.imbalance.class_weights: balanced, which does the same to the loss; or set "
                "data.loading: memory",
            )
        feeder = feeder or ThreadFeeder(train.decode)
        return StreamLoader(train, feeder, config.seed, size, rank, world_size, session.device, pick)
    order = partial(balanced_order, train.target) if balanced_by else partial(sample_order, len(train))
    return MemoryLoader(Rows.of(train, session.device), partial(order, config.seed), size, rank, world_size, pick)
