"""Compression: which smaller or faster forms are tried, and what they may cost. Importable without torch or ray."""

import difflib
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from training.metric_names import METRIC_MODES
from training.package.shapes import StrictModel

Form = Literal["fp16", "bf16", "int8", "int8_static", "int8_weights", "int4", "fp8"]
Objective = Literal["latency_p99", "latency_p50", "size", "cost"]
FORMS_OF_CPU: tuple[Form, ...] = ("int8", "int8_static", "int4", "fp16", "bf16")
FORMS_OF_GPU: tuple[Form, ...] = ("bf16", "fp16", "int8", "int8_weights", "fp8")
Share = Annotated[float, Field(gt=0, lt=1)]


class LabelTarget(StrictModel):
    """Nodes with labels of Ray, for example an instance type."""

    label: dict[str, str] = Field(
        min_length=1, description="labels that a node must have, as `ray start --labels` gives them"
    )
    device: Literal["cpu", "gpu"] = Field(default="cpu", description="what of such a node serves the model")


class PruneConfig(StrictModel):
    """Weights that do little are taken out, and the rest trains on."""

    kind: Literal["structured", "magnitude"] = Field(
        default="structured",
        description="structured: whole units, channels and attention heads, so that what is left is smaller and "
        "faster; magnitude: single weights become 0",
    )
    sparsity: tuple[Share, ...] = Field(
        default=(0.5,), min_length=1, description="share of units (or weights) taken out; a form of each"
    )
    epochs: int = Field(default=5, ge=0, description="passes of fine-tuning afterwards")
    peak_lr: float | None = Field(default=None, gt=0, lt=1, description="of it; null: a tenth of train.peak_lr")


class DistilConfig(StrictModel):
    """A smaller model of the same kind learns from the answers of the trained one."""

    trials: int = Field(default=6, ge=1, description="sizes tried; Optuna proposes them")
    size: tuple[Share, Share] = Field(
        default=(0.1, 0.7), description="widths of the student as shares of the teacher's, the least and the most"
    )
    epochs: int | None = Field(default=None, ge=1, description="passes of each student; null: train.epochs")
    peak_lr: float | None = Field(default=None, gt=0, lt=1, description="of them; null: train.peak_lr")
    temperature: float = Field(default=2.0, gt=0, description="softens the teacher's answers (Hinton et al. 2015)")
    teacher_share: float = Field(
        default=0.7, ge=0, le=1, description="share of the loss that is the distance from the teacher"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.size[0] > self.size[1]:
            raise ValueError(f"size={list(self.size)}: the least share comes first")
        return self


class QatConfig(StrictModel):
    """Quantization-aware fine-tuning: the model trains on with rounded weights and activations."""

    when: Literal["needed", "always"] = Field(
        default="needed", description="needed: where int8 would be chosen but for its loss of score"
    )
    epochs: int = Field(default=3, ge=1, description="passes of it")
    peak_lr: float | None = Field(default=None, gt=0, lt=1, description="of it; null: a twentieth of train.peak_lr")


class CompressConfig(StrictModel):
    """Which smaller or faster forms to try, and what they may cost."""

    target: Literal["cpu", "gpu"] | LabelTarget = Field(
        default="cpu", description="what will serve the model; forms are made and measured on such a node"
    )
    objective: Objective = Field(
        default="latency_p99",
        description="what is made small: time of a call, bytes of the file, or USD per million predictions",
    )
    batch_size: Literal[1, 8, 32] = Field(default=1, description="rows of the call whose latency decides")
    metric: str | None = Field(
        default=None, description="held-out score that must be kept; null: the one that the search or training is by"
    )
    max_drop: float = Field(
        default=0.005,
        ge=0,
        description="loss of that score allowed; of one where less is better, as rmse or log_loss, its rise as a share",
    )
    max_slice_drop: float | None = Field(
        default=None,
        ge=0,
        description="loss of right answers allowed in any slice, where chance does not explain it; of a regression the "
        "rise of its mean absolute error as a share, of texts the loss of log-likelihood a byte; null: twice max_drop, "
        "at least 0.01",
    )
    slices: Literal["auto"] | tuple[str, ...] = Field(
        default="auto",
        description="columns whose values divide the held-out rows; auto: the classes, and columns of few categories",
    )
    forms: Literal["auto"] | tuple[Form, ...] = Field(
        default="auto", description="number formats tried; auto: those that the target's runtime has; []: none"
    )
    openvino: bool = Field(
        default=True, description="try OpenVINO beside ONNX Runtime on CPUs, where it is installed (manta[openvino])"
    )
    prune: PruneConfig | None = Field(default=None, description="pruning; null: none")
    distil: DistilConfig | None = Field(default=None, description="a smaller student; null: none")
    qat: QatConfig | None = Field(
        default=QatConfig(), description="quantization-aware fine-tuning of int8; null: never"
    )
    calibration_rows: int = Field(
        default=512, ge=8, description="training rows that activations are ranged by for int8_static"
    )
    measure_s: float = Field(
        default=1.0, gt=0, description="time given to measuring each batch size, all forms in turn"
    )
    usd_per_hour: float | None = Field(
        default=None,
        gt=0,
        description="price of a whole node of the target; without it there is no cost. Of model calls alone, full "
        "batches on all cores",
    )

    @property
    def device(self) -> Literal["cpu", "gpu"]:
        """What of a node serves the model."""
        return self.target.device if isinstance(self.target, LabelTarget) else self.target

    @property
    def formats(self) -> tuple[Form, ...]:
        """The number formats to try."""
        if self.forms != "auto":
            return self.forms
        return FORMS_OF_GPU if self.device == "gpu" else FORMS_OF_CPU

    @property
    def slice_drop(self) -> float:
        """What a slice may lose."""
        return max(2 * self.max_drop, 0.01) if self.max_slice_drop is None else self.max_slice_drop

    @field_validator("metric")
    @classmethod
    def _metric_exists(cls, metric: str | None) -> str | None:
        if metric is not None and metric.rpartition("/")[2] not in METRIC_MODES:
            near = difflib.get_close_matches(metric.rpartition("/")[2], METRIC_MODES, n=1)
            raise ValueError(f"{metric} is no score{f' (nearest: {near[0]})' if near else ''}")
        return metric

    @model_validator(mode="after")
    def _cost_needs_a_price(self) -> Self:
        if self.objective == "cost" and self.usd_per_hour is None:
            raise ValueError("objective=cost needs usd_per_hour, the price of a node of the target")
        return self

    @model_validator(mode="after")
    def _forms_suit_the_device(self) -> Self:
        known = FORMS_OF_GPU if self.device == "gpu" else FORMS_OF_CPU
        if self.forms != "auto" and (wrong := [form for form in self.forms if form not in known]):
            raise ValueError(
                f"forms={', '.join(wrong)} has no kernels on a {self.device}; there are: {', '.join(known)}"
            )
        return self
