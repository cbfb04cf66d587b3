"""The manifest: what serving may rely on. The folder is a package only once this file is in it."""

from typing import Any, Literal

from pydantic import Field

from training.package.machine import Machine
from training.package.shapes import StoredModel

FORMAT_VERSION = 3  # raise it when an older reader would be wrong, and add a golden package in the same change

MANIFEST_FILE = "manifest.json"
TRANSFORMS_FILE = "transforms.json"
GOLDEN_FILE = "golden.json"
EXPERIMENT_FILE = "experiment.yaml"
CARD_FILE = "MODEL_CARD.md"
WEIGHTS_FILE = "weights.safetensors"
REFERENCE_FILE = "reference.json"  # optional: packages of older versions have none
SIGNATURE_FILE = "signature.json"  # optional; the only file beside the manifest that this has no digest of

BASELINE = "fp32"  # the model as trained for ONNX Runtime: every package has it, and it answers where no other can
Runtime = Literal["onnxruntime", "openvino", "torch"]
Task = Literal["classification", "regression", "multilabel", "language_modelling"]


class InputSpec(StoredModel):
    """One named input of the model as a client sends it: a table's column, or an image.

    BYTES of a date are ISO 8601 text; of an image they are an encoded file, in JSON as base64 text. An image input of
    either datatype also takes pixels of its shape.
    """

    name: str
    kind: Literal["numeric", "categorical", "date", "text", "image"]
    datatype: Literal["FP32", "BYTES"]  # Open Inference Protocol names
    shape: tuple[int, ...] = ()  # without the batch axis: () for a column, (C, H, W) for an image
    columns: tuple[str, ...] = ()  # image only: the table columns that hold its pixels, in order
    categories: tuple[str, ...] = ()  # seen in training, most frequent first; others are accepted as unknown
    minimum: float | None = None  # seen in training; a hint for people, not a bound; of dates, seconds since 1970
    maximum: float | None = None
    format: str | None = None  # date only: how a table's texts are written, as strptime has it; None: ISO 8601
    missing: tuple[str, ...] = ()  # date only: texts that mean that there is none
    nullable: bool = True  # False: a row without it is refused, as of images

    @property
    def is_file(self) -> bool:
        """Whether it is an image that comes as an encoded file."""
        return self.kind == "image" and self.datatype == "BYTES"


class OutputSpec(StoredModel):
    """One named output; `training.package.answers` says which a task has."""

    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: tuple[int, ...] = ()  # without the batch axis


class Latency(StoredModel):
    """Time of one model call (transforms not included), milliseconds."""

    p50_ms: float
    p99_ms: float
    p50_range_ms: tuple[float, float] | None = None  # 95 % of bootstrap draws over the rounds of measuring
    p99_range_ms: tuple[float, float] | None = None
    busy: bool = False  # other programs had the processor in most calls, and these calls count, too


class SliceDrop(StoredModel):
    """What a variant lost on some of the held-out rows, against the baseline on the same rows."""

    column: str
    value: str
    num_rows: int
    baseline: float  # share of right answers; of numbers the mean absolute error
    score: float
    drop: float  # positive is worse, in the metric's own unit; of numbers a share of the baseline's error
    p_value: float  # of a paired test that nothing was lost
    sacrificed: bool  # lost more than a slice may, and not by chance


class Quality(StoredModel):
    """What a variant lost on the held-out rows, against the baseline on the same rows."""

    metric: str  # "test/accuracy"
    drop: float  # positive is worse: absolute where higher is better, a share of the baseline's error else
    low: float  # 95 % interval of the drop, paired bootstrap over the rows
    high: float
    num_rows: int
    num_other_answers: int = 0  # rows that are answered with another label
    slices: tuple[SliceDrop, ...] = ()


class Cost(StoredModel):
    """What a variant takes on one machine."""

    latency: dict[str, Latency]  # by batch size
    memory_mb: float | None = None  # resident, that loading and running it adds to a bare process
    usd_per_million: float | None = None  # predictions, at the batch size of most throughput, all cores busy


class Comparison(StoredModel):
    """Variants measured side by side on one machine, and what was chosen for machines like it."""

    at: str  # ISO 8601, UTC
    machine: Machine
    target: str  # "cpu", "gpu", or the label that chose the node
    objective: str
    batch_size: int  # that the objective's latency is of
    num_threads: int
    usd_per_hour: float | None = None  # of the whole machine
    baseline: str
    metric: str = ""  # that had to be kept, and on which rows: "test/accuracy"; "other/" where rows were brought along
    scores: dict[str, float] = Field(default_factory=dict)  # of it, by variant
    qualities: dict[str, Quality] = Field(default_factory=dict)  # by variant, but the baseline
    costs: dict[str, Cost]  # by variant
    passed: tuple[str, ...] = ()  # variants that keep the quality here
    front: tuple[str, ...] = ()  # of these, none of which another beats in size, latency and quality at once
    notes: dict[str, str] = Field(default_factory=dict)  # by variant: why it is offered or not
    chosen: str
    reason: str
    ranking: tuple[str, ...] = ()  # what to serve where the chosen one cannot run: the best first, the baseline last


class Variant(StoredModel):
    """One compressed form of the model, with what was measured of exactly these weights when it was made."""

    name: str  # "fp32", "int8", "structured-50+int8", "bf16@openvino"
    file: str  # path inside the package
    runtime: Runtime = "onnxruntime"
    device: Literal["cpu", "cuda"] = "cpu"
    steps: tuple[str, ...] = ()  # how it was made of the trained model, in order
    size_bytes: int
    metrics: dict[str, float]  # held-out scores, named like "test/accuracy"
    latency: dict[str, Latency]  # by batch size: "1", "8", "32"
    weights_quantized_fraction: float  # share of weight elements stored in fewer than 32 bits, from the file itself
    weights_removed_fraction: float = 0.0  # share of the trained model's weights that are gone or zero
    tolerance: float  # largest absolute difference allowed when golden rows are replayed
    offered: bool  # False: kept for the record only
    note: str = ""  # why it is offered or not, in one sentence
    machine: Machine | None = None  # where it was measured; None of packages of before format 3
    quality: Quality | None = None  # against the baseline; None of the baseline itself, and of before format 3

    @property
    def instruction_sets(self) -> tuple[str, ...]:
        """What the machine had that it was measured on."""
        return self.machine.instruction_sets if self.machine else ()


class Lineage(StoredModel):
    """Where the package came from."""

    run: str
    trial: str | None = None
    data_fingerprint: str
    num_rows: dict[str, int] = Field(default_factory=dict)  # by part: train, validation, test
    data_sources: tuple[dict[str, Any], ...] = ()  # each with location, rows, columns, content digest, file versions
    versions: dict[str, str] = Field(default_factory=dict)  # library -> version
    machine: str = ""  # where the package was made
    code_digest: str = ""  # sha256 of Manta's source files
    own_code_digest: str = ""  # sha256 of the modules that the experiment names; empty where it names none
    commit: str | None = None  # of the git checkout that Manta's source lies in


class Manifest(StoredModel):
    """What serving may rely on."""

    format_version: int
    name: str
    created_at: str  # ISO 8601, UTC
    task: Task
    labels: tuple[str, ...] = ()  # in the order of `probabilities`; empty where numbers are answered
    threshold: float | None = None  # of two classes: probability of the last from which it is the label; of several
    # labels a row: the probability from which each is given, None for 0.5
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    metric: str  # the score that decided, for example "test/accuracy"
    metric_mode: Literal["max", "min"]
    variants: tuple[Variant, ...]
    chosen: str  # name of the variant to serve
    chosen_reason: str
    comparisons: tuple[Comparison, ...] = ()  # the newest last, one a kind of machine that variants were measured on
    not_made: dict[str, str] = Field(default_factory=dict)  # forms that were tried in vain, and why
    lineage: Lineage
    sha256: dict[str, str]  # every other file in the folder, by path inside it

    def variant(self, name: str | None = None) -> Variant:
        """The named variant, or the chosen one. Raises KeyError for a name that is not there."""
        wanted = name or self.chosen
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        raise KeyError(wanted)


def score_of(variant: Variant, metric: str) -> tuple[str, float] | None:
    """A variant's score with the name that it stands under; None where it was not measured.

    A form that was judged on rows that somebody brought along has the score under another part: "other/accuracy".

    Args:
        variant: the form.
        metric: such as "test/accuracy".
    """
    if metric in variant.metrics:
        return metric, variant.metrics[metric]
    plain = metric.rpartition("/")[2]
    return next(((name, value) for name, value in variant.metrics.items() if name.rpartition("/")[2] == plain), None)
