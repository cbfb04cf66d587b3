"""The manifest: what serving may rely on. The folder is a package only once this file is in it."""

from typing import Any, Literal

from pydantic import Field

from training.package.shapes import StoredModel

FORMAT_VERSION = 2  # raise it when an older reader would be wrong, and add a golden package in the same change

MANIFEST_FILE = "manifest.json"
TRANSFORMS_FILE = "transforms.json"
GOLDEN_FILE = "golden.json"
EXPERIMENT_FILE = "experiment.yaml"
CARD_FILE = "MODEL_CARD.md"
WEIGHTS_FILE = "weights.safetensors"
REFERENCE_FILE = "reference.json"  # optional: packages of older versions have none

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
    """Time of one model call (transforms not included), one thread, milliseconds."""

    p50_ms: float
    p99_ms: float


class Variant(StoredModel):
    """One compressed form of the model, with what was measured of exactly these weights."""

    name: str  # "fp32", "int8"
    file: str  # path inside the package
    runtime: Literal["onnxruntime"] = "onnxruntime"
    size_bytes: int
    metrics: dict[str, float]  # held-out scores, named like "test/accuracy"
    latency: dict[str, Latency]  # by batch size: "1", "32"
    weights_quantized_fraction: float  # share of weight elements stored in 8 bits, from the file itself
    tolerance: float  # largest absolute difference allowed when golden rows are replayed
    offered: bool  # False: kept for the record only
    note: str = ""  # why it is offered or not, in one sentence


class Lineage(StoredModel):
    """Where the package came from."""

    run: str
    trial: str | None = None
    data_fingerprint: str
    data_sources: tuple[dict[str, Any], ...] = ()  # each with location, rows, columns, content digest, file versions
    versions: dict[str, str] = Field(default_factory=dict)  # library -> version
    machine: str = ""  # where the measurements were taken


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
    lineage: Lineage
    sha256: dict[str, str]  # every other file in the folder, by path inside it

    def variant(self, name: str | None = None) -> Variant:
        """The named variant, or the chosen one. Raises KeyError for a name that is not there."""
        wanted = name or self.chosen
        for variant in self.variants:
            if variant.name == wanted:
                return variant
        raise KeyError(wanted)
