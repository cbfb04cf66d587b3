"""What a person may say about serving. It travels inside the package, so it belongs to the contract."""

from typing import Self

from pydantic import Field, model_validator

from training.package.shapes import StrictModel


class Replicas(StrictModel):
    """How far a deployment may shrink and grow."""

    min: int = Field(default=1, ge=1, description="replicas kept when nothing is asked")
    max: int = Field(default=2, ge=1, description="replicas at most; Ray Serve adds them as requests queue up")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; max must be at least {self.min}")
        return self


class ServeConfig(StrictModel):
    """How the model is served over HTTP."""

    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 opens it to the network")
    port: int = Field(default=8000, ge=1, le=65535, description="HTTP port")
    replicas: Replicas = Field(default=Replicas(), description="autoscaling bounds of the model's replicas")
    target_ongoing_requests: int = Field(
        default=16, ge=1, description="requests in flight per replica before another replica is added"
    )
    max_batch_size: int = Field(default=64, ge=1, description="rows joined into one model call at most")
    max_batch_wait_ms: float = Field(
        default=0.0,
        ge=0,
        description="how long a request may wait for others to join its batch; 0 joins only what is already queued",
    )
    max_queued_requests: int = Field(
        default=512, ge=1, description="requests in flight per replica before new ones get 503"
    )
    max_body_mb: float = Field(default=16.0, gt=0, description="largest request body; a larger one gets 413")
    cpus_per_replica: float = Field(default=1.0, gt=0, description="CPUs that Ray reserves for each replica")
    gpus_per_replica: float | None = Field(
        default=None,
        ge=0,
        description="GPUs that Ray reserves for each replica; null: 1 where the chosen form is one for GPUs and the "
        "cluster has any, else none",
    )
    latency_slo_ms: float | None = Field(
        default=None, gt=0, description="answer time aimed at; shown beside the measured one in the report"
    )
