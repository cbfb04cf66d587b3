"""One training: steps, optimizer, workers, checkpoints. Importable without torch or ray."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from training.learning_config import AugmentConfig, ImbalanceConfig, LossConfig
from training.package.shapes import StrictModel

IMPORT_PATH = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


class EarlyStopping(StrictModel):
    """Stop when the validation score no longer improves, and keep the best epoch's weights."""

    patience: int = Field(default=8, ge=1, description="epochs without improvement before stopping")
    min_delta: float = Field(default=0.0, ge=0, description="smallest change that counts as an improvement")


class Workers(StrictModel):
    """Elastic workers: training shrinks and grows between these as machines come and go."""

    min: int = Field(ge=1, description="fewest workers to train with")
    max: int = Field(ge=1, description="most workers to train with")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; max must be at least {self.min}")
        return self


class OptimizerConfig(StrictModel):
    """What turns gradients into steps."""

    kind: Literal["adamw", "sgd", "lion"] = Field(
        default="adamw", description="adamw (fused), sgd with momentum, lion (Chen et al. 2023)"
    )
    target: str | None = Field(
        default=None,
        pattern=IMPORT_PATH,
        description="package.module:Class of another torch optimizer, in place of kind",
    )
    args: dict[str, Any] = Field(default={}, description="further keyword arguments of target's class")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = Field(
        default=None, description="adamw, lion: decay of the means; null: 0.9 and 0.999, for lion 0.9 and 0.99"
    )
    eps: float = Field(default=1e-8, gt=0, description="adamw: keeps the division finite")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd: share of the last step that is kept")
    nesterov: bool = Field(default=True, description="sgd: look ahead along the momentum")

    @model_validator(mode="after")
    def _one_optimizer(self) -> Self:
        if self.target is not None and self.kind != "adamw":  # the default: whether it was written is not known
            raise ValueError(f"kind={self.kind} and target={self.target} are two optimizers; leave one of them out")
        return self


class ScheduleConfig(StrictModel):
    """How the learning rate goes from step to step; `train.warmup_fraction` is its rise."""

    kind: Literal["cosine", "one_cycle", "plateau", "constant"] = Field(
        default="cosine",
        description="after the rise: half a cosine to the end; one_cycle: momentum runs against the rate (Smith 2018); "
        "plateau: smaller when the validation score stalls; constant",
    )
    final_fraction: float = Field(default=0.0, ge=0, le=1, description="cosine, one_cycle: last rate / peak rate")
    patience: int = Field(default=3, ge=1, description="plateau: epochs without improvement before it gets smaller")
    factor: float = Field(default=0.3, gt=0, lt=1, description="plateau: what the rate is multiplied by")


class EmaConfig(StrictModel):
    """An exponential moving average of the weights, which is then what is judged and kept."""

    decay: float = Field(default=0.999, gt=0, lt=1, description="share of the average that a step leaves as it is")


class CheckpointConfig(StrictModel):
    """When training saves itself, and what is kept. The best and the newest always are."""

    mean_s_between_losses: float = Field(
        default=3600.0,
        gt=0,
        description="expected time between losses of a machine; the interval is "
        "sqrt(2 x seconds a checkpoint costs x this) (Young 1974)",
    )
    max_interval_s: float = Field(default=300.0, gt=0, description="longest time between checkpoints")
    keep: int = Field(default=2, ge=1, description="newest checkpoints kept")
    keep_mb: float | None = Field(
        default=None, gt=0, description="megabytes (10^6 bytes) that checkpoints may take in all; null: no limit"
    )


class TrainConfig(StrictModel):
    """One training run. Sizes count all workers together unless the name says `worker`."""

    epochs: int = Field(default=30, ge=1, description="passes over the training rows at most")
    global_batch_size: int = Field(default=128, ge=1, description="rows per optimizer step, all workers together")
    peak_lr: float = Field(default=3e-3, gt=0, lt=1, description="highest learning rate, reached after warm-up")
    warmup_fraction: float = Field(
        default=0.1, ge=0, lt=1, description="share of all steps in which the rate rises; a cosine takes it to 0 after"
    )
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="what turns gradients into steps")
    schedule: ScheduleConfig = Field(default=ScheduleConfig(), description="how the learning rate goes")
    weight_decay: float = Field(
        default=1e-2, ge=0, description="decoupled weight decay, of matrices only: not of norms and biases"
    )
    l1: float = Field(default=0.0, ge=0, description="weight of the sum of absolute weights in the loss, matrices only")
    ema: EmaConfig | None = Field(default=None, description="moving average of the weights; null: none")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of a label spread over all classes")
    loss: LossConfig = Field(default=LossConfig(), description="what training makes small")
    imbalance: ImbalanceConfig = Field(default=ImbalanceConfig(), description="for classes that are rare")
    augment: AugmentConfig = Field(default=AugmentConfig(), description="changed copies of the training rows")
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, description="gradients are clipped to this norm; null: they are not"
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = Field(
        default="fp32",
        description="of matrix products; weights stay fp32. tf32: GPUs only; fp16: GPUs only, with loss scaling",
    )
    compile: bool = Field(default=False, description="torch.compile the model; needs a C++ compiler on a CPU")
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default=None,
        description="rows that a worker puts through the model at a time, gradients adding up to the global batch; "
        "auto: the most that memory holds; null: all of its share",
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="ddp: each worker holds the model; fsdp: workers share out weights and optimizer"
    )
    activation_checkpointing: bool = Field(
        default=False, description="compute activations again in the backward pass instead of keeping them"
    )
    deterministic: bool = Field(
        default=False, description="only kernels that give the same bits twice; slower on GPUs, an error without one"
    )
    on_nan: Literal["stop", "rollback"] = Field(
        default="stop",
        description="when the loss is no number or explodes: stop, or go back to the last good checkpoint with half "
        "the rate, three times at most",
    )
    seed: int = Field(default=0, ge=0, description="seed of weights, sample order and dropout")
    early_stopping: EarlyStopping | None = Field(default=EarlyStopping(), description="null trains every epoch")
    device: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="auto takes GPUs where the cluster has one for every worker"
    )
    workers: Annotated[int, Field(ge=1)] | Workers = Field(
        default=1, description="training processes: a number, or {min, max} for elastic training"
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs that Ray reserves for each worker")
    checkpoint: CheckpointConfig = Field(default=CheckpointConfig(), description="when training saves itself")
    max_failures: int = Field(
        default=3,
        ge=0,
        description="worker crashes survived without a new checkpoint between; lost machines do not count",
    )
    hang_timeout_s: float = Field(
        default=300.0, gt=0, description="a worker that makes no step for so long, compilation aside, counts as hung"
    )

    @property
    def min_workers(self) -> int:
        """Fewest training processes the run can go on with."""
        return self.workers.min if isinstance(self.workers, Workers) else self.workers

    @property
    def max_workers(self) -> int:
        """Most training processes the run uses."""
        return self.workers.max if isinstance(self.workers, Workers) else self.workers

    @model_validator(mode="after")
    def _micro_batch_is_said_for_shards(self) -> Self:
        if self.parallel == "fsdp" and self.micro_batch == "auto":
            raise ValueError(
                "micro_batch=auto tries sizes on one worker by itself, and parallel=fsdp needs all of them for every "
                "try; give micro_batch a number, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _batch_feeds_every_worker(self) -> Self:
        if self.global_batch_size < self.max_workers:
            raise ValueError(
                f"global_batch_size={self.global_batch_size} is below workers={self.max_workers}, so some would "
                f"have no row; at least {self.max_workers} is needed"
            )
        return self
