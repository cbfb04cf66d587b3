"""What a person writes of the data. Importable without torch, ray or pyarrow, as `training.config` is."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from training.data.column_config import ColumnKind, ColumnSetting, FeaturesConfig, KindConfig
from training.package.shapes import StrictModel

DataFormat = Literal["auto", "csv", "parquet", "arrow", "jsonl", "images"]
CastType = Literal["integer", "number", "text", "boolean", "date"]
CheckValue = bool | int | float | str

DEFAULT_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")


class FoldsConfig(StrictModel):
    """Cross-validation: one fold of k."""

    count: int = Field(ge=2, description="folds that the rows are divided into")
    index: int = Field(default=0, ge=0, description="the fold held out this time, from 0")
    part: Literal["validation", "test"] = Field(
        default="validation",
        description="what the fold is held out for; validation: the test part is taken off before, the same for "
        "every fold; test: validation is cut from the other folds. Folds by time train on earlier rows only, so the "
        "earliest rows are held out by no fold",
    )

    @model_validator(mode="after")
    def _index_exists(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"index={self.index} does not exist; the last of {self.count} folds is {self.count - 1}")
        return self


class SplitConfig(StrictModel):
    """How rows are divided. The ids of each part are stored with the run."""

    kind: Literal["random", "group", "time", "hash"] = Field(
        default="random",
        description="random rows; whole groups of split.by; the latest rows by split.by held out; or by a hash of the "
        "row id in split.by (of the row's content without it), so that a row keeps its part when others are appended",
    )
    by: str | None = Field(
        default=None,
        description="the column of groups, times or row ids that split.kind goes by; one of groups or ids is no "
        "feature, one of times is, unless data.ignore names it",
    )
    validation: float = Field(default=0.15, gt=0, lt=1, description="share of the rows that judges trials and epochs")
    test: float = Field(
        default=0.15, gt=0, lt=1, description="share held out to the end; unused when data.test names a source"
    )
    stratify: bool = Field(
        default=True,
        description="keep the share of each class, or of each bin of a regression target, equal in the parts of a "
        "random division, and as equal as whole groups allow in one by groups",
    )
    bins: int = Field(default=10, ge=2, description="equally filled bins of a regression target to stratify by")
    folds: FoldsConfig | None = Field(default=None, description="cross-validation instead of one division")
    seed: int = Field(default=0, ge=0, description="seed of the division")

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.folds is not None and self.folds.part == "test":
            fold = 1 / self.folds.count
            if self.validation + fold >= 1:
                raise ValueError(
                    f"validation={self.validation} and a fold of {self.folds.count} ({fold:.3g}) leave no training "
                    f"rows; validation must stay below {1 - fold:.3g}"
                )
        elif self.folds is None and self.validation + self.test >= 1:
            raise ValueError(
                f"validation={self.validation} and test={self.test} leave no training rows; "
                "together they must stay below 1"
            )
        return self

    @model_validator(mode="after")
    def _names_its_column(self) -> Self:
        if self.kind in ("group", "time") and self.by is None:
            raise ValueError(f"kind={self.kind} needs `by`, the column of {self.kind}s")
        if self.kind == "random" and self.by is not None:
            raise ValueError(f"by={self.by} is not used by kind=random; kind must be group, time or hash")
        return self


class ColumnCheck(StrictModel):
    """What a column's values must be. A row that is not so is bad; see data.checks.max_bad_fraction."""

    type: CastType | None = Field(default=None, description="integer, number, text, boolean or date")
    min: float | None = Field(default=None, description="smallest value allowed")
    max: float | None = Field(default=None, description="largest value allowed")
    allowed: tuple[CheckValue, ...] | None = Field(default=None, min_length=1, description="the only values allowed")
    pattern: str | None = Field(default=None, description="regular expression that every whole text must match")
    unique: bool = Field(default=False, description="no value may stand twice; the later rows are bad")
    nullable: bool = Field(default=True, description="whether a value may be missing")
    max_missing_fraction: float | None = Field(
        default=None, ge=0, le=1, description="share of missing values beyond which the run stops"
    )


class ChecksConfig(StrictModel):
    """What the table must be before anything learns from it. Bad rows are set aside, counted and kept with the run."""

    columns: dict[str, ColumnCheck] = Field(
        default={}, description="column -> what its values must be; `manta data` prints what this table's are"
    )
    max_bad_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="share of bad rows beyond which the run stops instead of leaving them out"
    )
    duplicates: Literal["note", "drop", "refuse"] = Field(
        default="note", description="rows equal in every column: note counts them, drop keeps the first, refuse stops"
    )
    overlap: Literal["note", "drop", "refuse"] = Field(
        default="note",
        description="training rows that stand in validation or test too: note counts them, drop leaves them out of "
        "training, refuse stops",
    )
    leaks: Literal["note", "refuse"] = Field(
        default="refuse", description="what to do when a single column gives away the target"
    )
    leak_score: float = Field(
        default=0.999, gt=0.5, le=1, description="score of a single column (balanced accuracy, or R2) that is a leak"
    )


class SourceShape(StrictModel):
    """How one source is read and brought into shape: shared by the main source and the joined ones."""

    format: DataFormat = Field(
        default="auto",
        description="auto goes by the ending; arrow is Arrow IPC or Feather; images is a folder with a folder a class",
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="CSV field separator")
    names: tuple[str, ...] | None = Field(default=None, description="column names of a CSV file without a header line")
    query: str | None = Field(default=None, description="SQL to send where the source is a database")
    args: dict[str, Any] = Field(default={}, description="keyword arguments where the source is module:function")
    rename: dict[str, str] = Field(default={}, description="column in the source -> its name here")
    cast: dict[str, CastType] = Field(
        default={}, description="column -> type to read it as; values that cannot be are bad rows"
    )
    convert: dict[str, str] = Field(
        default={}, description="column -> units, as in `inch -> cm`, `degF -> degC`, `lb -> kg`"
    )

    @field_validator("names")
    @classmethod
    def _names_are_distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} stand more than once")
        return names

    @field_validator("convert")
    @classmethod
    def _conversions_have_two_sides(cls, convert: dict[str, str]) -> dict[str, str]:
        for column, text in convert.items():
            before, arrow, after = text.partition("->")
            if not (arrow and before.strip() and after.strip()):
                raise ValueError(f"{column}: {text!r} is not of the form `unit -> unit`, as in `inch -> cm`")
        return convert


class JoinConfig(SourceShape):
    """A further source, joined to the rows of the main one."""

    source: str = Field(description="as data.source")
    on: dict[str, str] | tuple[str, ...] | str = Field(
        description="key: a column that both have, a list of them, or column here -> column there"
    )
    how: Literal["left", "inner"] = Field(
        default="left", description="left: rows without a match keep missing values; inner: they are left out"
    )
    take: tuple[str, ...] | None = Field(default=None, description="columns to take; null: all beside the key")
    max_unmatched_fraction: float = Field(
        default=0.0, ge=0, le=1, description="share of rows without a match beyond which the run stops"
    )
    max_duplicate_fraction: float = Field(
        default=0.0, ge=0, le=1,
        description="share of the joined source's keys that stand more than once beyond which the run stops; the "
        "first row of a key counts",
    )  # fmt: skip

    @property
    def keys(self) -> dict[str, str]:
        """Column here -> column there."""
        if isinstance(self.on, str):
            return {self.on: self.on}
        return dict(self.on) if isinstance(self.on, dict) else {name: name for name in self.on}


class DataConfig(SourceShape):
    """Where the table is and how to read it."""

    source: str = Field(
        description="sklearn:<name>; a CSV, Parquet, Arrow or JSON lines file, a folder or a glob, local or any "
        "pyarrow filesystem URI; a folder of images; sqlite:///file or postgresql://... with `query`; module:function"
    )
    test: str | None = Field(default=None, description="a separate source of held-out rows, read like `source`")
    join: tuple[JoinConfig, ...] = Field(default=(), description="further sources, joined in this order")
    target: str | Annotated[tuple[str, ...], Field(min_length=2)] = Field(
        description="the column to predict; of task multilabel also several columns of 0 and 1, one a label; of "
        "language_modelling the column of texts"
    )
    task: Literal["auto", "classification", "regression", "multilabel", "language_modelling"] = Field(
        default="auto",
        description="auto: text, booleans and few whole numbers are classes, other numbers a regression; multilabel: "
        "any number of labels a row; language_modelling: the next byte of a text",
    )
    label_separator: str | None = Field(
        default=None, min_length=1, description="multilabel: what stands between the labels of a target that is text"
    )
    sequence_length: int = Field(
        default=128, ge=2, description="language_modelling: bytes of a text that the model sees at a time"
    )
    missing: tuple[str, ...] = Field(default=DEFAULT_MISSING, description="texts that mean a missing value")
    columns: dict[str, ColumnSetting] = Field(
        default={},
        description="column -> its kind where the inferred one is wrong (numeric, categorical, date, text, image), or "
        "a mapping of `kind` and settings as in data.features",
    )
    features: FeaturesConfig = Field(default=FeaturesConfig(), description="how columns become model input, by kind")
    ignore: tuple[str, ...] = Field(default=(), description="columns to leave out")
    pii: dict[str, Literal["drop", "hash"]] = Field(
        default={},
        description="columns of personal data: drop leaves them out as they are read, hash replaces each value by a "
        "keyed digest",
    )
    pii_key_file: str | None = Field(
        default=None, description="file with the key of data.pii; null: the environment variable MANTA_PII_KEY"
    )
    rename_labels: dict[str, str] = Field(
        default={}, description="target values to read as another, for sources that spell them differently"
    )
    positive_label: str | None = Field(
        default=None, description="of two classes, the one that is looked for; null: the one that sorts last"
    )
    image_shape: tuple[int, int, int] | None = Field(
        default=None,
        description="[channels, height, width] of the image that the feature columns are the pixels of, or that an "
        "image column is resized to",
    )
    sample: float | None = Field(
        default=None, gt=0, le=1, description="share of every part to work with, classes kept in proportion"
    )
    checks: ChecksConfig = Field(default=ChecksConfig(), description="what the table must be")
    split: SplitConfig = Field(default=SplitConfig(), description="train, validation and test parts")
    loading: Literal["auto", "memory", "stream"] = Field(
        default="auto",
        description="memory: decoded once a node and shared; stream: Parquet files are read window by window; auto "
        "streams Parquet that would take more than half of the free memory",
    )
    window_mb: int = Field(
        default=256,
        ge=1,
        description="size of a decoded window of a stream; two are held at a time, a third while it is handed over",
    )
    max_held_out_rows: int = Field(
        default=100_000, ge=2, description="rows of validation and of test that a stream keeps; the rest is not used"
    )

    @model_validator(mode="after")
    def _split_fits_the_columns(self) -> Self:
        by = self.split.by
        if by is not None and by in self.targets:
            raise ValueError(f"split.by={by} is the target; rows of one value of it would stand in one part only")
        if by is not None and self.pii.get(by) == "drop":
            raise ValueError(f"split.by={by} is dropped by data.pii; `hash` keeps it fit to split by")
        if self.test is not None and self.split.folds is not None and self.split.folds.part == "test":
            raise ValueError(
                "split.folds.part=test holds rows of data.source out, but data.test names a source of its own; "
                "part must be validation, or data.test be left out"
            )
        return self

    @model_validator(mode="after")
    def _personal_data_stays_as_it_is(self) -> Self:
        personal = {*self.pii, *(new for old, new in self.rename.items() if old in self.pii)}
        if named := [name for name in self.targets if name in personal]:
            raise ValueError(f"pii names {', '.join(named)}, which is the target; what is predicted cannot be hidden")
        shapes: tuple[SourceShape, ...] = (self, *self.join)
        for shape in shapes:
            theirs = {*personal, *(new for old, new in shape.rename.items() if old in self.pii)}
            changed = {*shape.convert, *(name for name, kind in shape.cast.items() if kind != "text")}
            if both := sorted(theirs & changed):
                raise ValueError(f"pii names {', '.join(both)}, which cast or convert would change; leave it out there")
        return self

    @model_validator(mode="after")
    def _task_has_what_it_needs(self) -> Self:
        if isinstance(self.target, tuple):
            if self.task != "multilabel":
                raise ValueError(f"target names {len(self.target)} columns, which needs task: multilabel")
            if len(set(self.target)) < len(self.target):
                raise ValueError("target names a column twice")
            if self.rename_labels:
                raise ValueError("rename_labels is of labels in one column; here the columns' names are the labels")
        if self.label_separator is not None and (self.task != "multilabel" or isinstance(self.target, tuple)):
            raise ValueError("label_separator needs task: multilabel, and a target of one column of text")
        if self.task not in ("multilabel", "language_modelling"):
            return self
        if self.loading == "stream":
            raise ValueError(f"loading=stream does not know task={self.task}; loading must be memory or auto")
        if self.positive_label is not None:
            raise ValueError(f"positive_label is of two classes, and task is {self.task}")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that say what is to be predicted."""
        return self.target if isinstance(self.target, tuple) else (self.target,)

    @property
    def target_name(self) -> str:
        """The one column of the target after reading: several are made one, see `training.data.labels`."""
        return ", ".join(self.targets)

    def kind_of(self, name: str) -> ColumnKind | None:
        """The declared kind of a column, or None."""
        setting = self.columns.get(name)
        return setting if isinstance(setting, str) or setting is None else setting.kind

    def settings_of(self, name: str, kind: ColumnKind) -> KindConfig | None:
        """A column's settings: its own before those of its kind; None for images, which have none."""
        if kind == "image":
            return None
        of_kind: KindConfig = getattr(self.features, kind)
        own = self.columns.get(name)
        if own is None or isinstance(own, str):
            return of_kind
        set_here = {key: getattr(own, key) for key in own.model_fields_set if key != "kind"}
        return of_kind.model_copy(update=set_here)
