"""`manta init`: a table and its target to a config that a person can read, run and change."""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from training.config import NAME_PATTERN
from training.data.config import DataConfig, SplitConfig
from training.data.raw import Raw
from training.data.sources import read_sources
from training.data.table import MAX_WHOLE_NUMBER_CLASSES, Schema, infer_schema
from training.errors import ConfigError, DataError
from training.package.images import image_files, image_size, is_encoded
from training.package.transforms import text_column
from training.yaml_text import dump_yaml

SMALL_ROWS = 5_000  # below it more passes and small batches cost nothing
LARGE_ROWS = 200_000
RARE_CLASS = 0.2  # share of the smaller of two classes below which accuracy says little
MANY_VALUES = 0.5  # share of distinct texts above which a column names its rows
IMAGE_SIDES = {64: 8, 784: 28}  # pixel counts of well-known square images
MAX_IMAGE_SIDE = 64  # of image files; larger ones cost much, and a first run should be quick
LOOKED_AT_IMAGES = 100
MAX_TOLD_CHARS = 40


@dataclass(frozen=True)
class Table:
    """What the choices are made from."""

    num_rows: int
    num_columns: int
    num_categorical: int
    classes: tuple[int, ...]  # rows of each class, in the order of the model's outputs; empty for a regression
    task_is_said: bool  # data.task=auto would take the target for something else
    ignore: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    missing: tuple[str, ...] | None
    has_image_files: bool = False
    bad: str = ""  # what was wrong with the first row that cannot be read
    bad_fraction: float = 0.0


def config_text(source: str, target: str, name: str | None = None, names: tuple[str, ...] | None = None) -> str:
    """The config as YAML. Raises DataError when the table cannot be learned from, ConfigError for a wrong name.

    Args:
        source: as `data.source`.
        target: the column to predict.
        name: of the experiment; made from the source when None.
        names: columns of a CSV file without a header line.
    """
    if name is not None and not re.match(NAME_PATTERN, name):
        raise ConfigError(
            f"{name!r} cannot be an experiment's name",
            f"lower-case letters, digits, '.', '_' and '-', 63 at most: --name {_as_name(name)}",
        )
    config = DataConfig(source=source, target=target, names=names)
    missing = None
    raw = read_sources(config)
    if _has_question_marks(raw):
        missing = (*config.missing, "?")
        raw = read_sources(config.model_copy(update={"missing": missing}))
    seen = replace(look_at(raw.table, target, missing), **_bad_rows(raw))
    lines = [*_head(config, name or _name_of(source), seen), "", *_model(seen), "", *_train(seen)]
    return "\n".join([*lines, "", *_search(seen), "", *_rest()]) + "\n"


def look_at(table: pa.Table, target: str, missing: tuple[str, ...] | None = None) -> Table:
    """Facts of a table. Raises DataError when the target is not in it."""
    if target not in table.column_names:
        raise DataError(
            f"there is no column {target}",
            f"columns: {', '.join(table.column_names[:20])}; a file without a header line needs --names a,b,c",
        )
    features = [column for column in table.column_names if column != target]
    texts = [column for column in features if _is_text(table[column].type)]
    files = [column for column in features if is_encoded(table[column].type)]
    ignore = tuple(
        column for column in features
        if table[column].null_count == table.num_rows
        or (column in texts and (_names_its_rows(table[column]) or (column == "path" and bool(files))))
    )  # fmt: skip
    task_is_said = pa.types.is_floating(table[target].type) and _few_whole_numbers(table[target])
    shape = _shape_of_files(table[files[0]]) if files else _shape_of_pixels(table, features, texts)
    task: Literal["auto", "classification"] = "classification" if task_is_said else "auto"
    schema = infer_schema(table, _as_read(target, ignore, task, shape if files else None))
    return Table(
        num_rows=table.num_rows,
        num_columns=len(features) - len(ignore),
        num_categorical=len([column for column in texts if column not in ignore]),
        classes=_classes(table[target], schema),
        task_is_said=task_is_said,
        ignore=ignore,
        image_shape=shape,
        missing=missing,
        has_image_files=bool(files),
    )


def _bad_rows(raw: Raw) -> dict[str, Any]:
    if not raw.bad.num_rows:
        return {}
    first = raw.bad.slice(0, 1).to_pylist()[0]
    value = f" ({first['value'][:MAX_TOLD_CHARS]!r})" if first["value"] else ""
    place = f"row {first['row']}" + (f", {first['column']}" if first["column"] else "")
    said = f"{raw.num_bad} of {raw.num_read} rows cannot be read, such as {place}: {first['reason']}{value}"
    return {"bad": said, "bad_fraction": math.ceil(raw.num_bad / raw.num_read * 1000) / 1000}


def _has_question_marks(raw: Raw) -> bool:
    texts = [column for column in raw.table.columns if _is_text(column.type)]
    return any(pc.any(pc.equal(column, "?")).as_py() for column in [raw.bad.column("value"), *texts])


def _shape_of_pixels(table: pa.Table, features: list[str], texts: list[str]) -> tuple[int, int, int] | None:
    """Of images that stand as one column a pixel, or None where the columns are something else."""
    if texts or len(features) not in IMAGE_SIDES or not _same_range(table, features):
        return None
    side = IMAGE_SIDES[len(features)]
    return 1, side, side


def _shape_of_files(column: pa.ChunkedArray) -> tuple[int, int, int] | None:
    """The size that most of the first images have, made smaller where it is large."""
    files = image_files(column.slice(0, LOOKED_AT_IMAGES))
    sizes = Counter(size for file in files if file is not None and (size := image_size(file)) is not None)
    if not sizes:
        return None
    channels = max(size[0] for size in sizes)
    _, height, width = sizes.most_common(1)[0][0]
    smaller = max(1.0, max(height, width) / MAX_IMAGE_SIDE)
    return channels, max(1, round(height / smaller)), max(1, round(width / smaller))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _names_its_rows(column: pa.ChunkedArray) -> bool:
    return len(column) > 20 and pc.count_distinct(column).as_py() > MANY_VALUES * len(column)


def _same_range(table: pa.Table, columns: list[str]) -> bool:
    """Pixels are whole numbers from 0 up to one of the usual whites."""
    highest = max(pc.max(table[column]).as_py() for column in columns)
    lowest = min(pc.min(table[column]).as_py() for column in columns)
    return lowest == 0 and highest in (1, 15, 16, 255)


def _as_read(
    target: str,
    ignore: tuple[str, ...],
    task: Literal["auto", "classification"],
    image_shape: tuple[int, int, int] | None,
) -> DataConfig:
    # Not stratified: a class of a single row is for the run to refuse, once the person has seen the config.
    split = SplitConfig(stratify=False)
    return DataConfig(source="-", target=target, ignore=ignore, task=task, image_shape=image_shape, split=split)


def _few_whole_numbers(target: pa.ChunkedArray) -> bool:
    values = target.drop_null()
    is_whole = pc.all(pc.equal(values, pc.floor(values))).as_py()
    return bool(is_whole) and pc.count_distinct(values).as_py() <= MAX_WHOLE_NUMBER_CLASSES


def _classes(target: pa.ChunkedArray, schema: Schema) -> tuple[int, ...]:
    texts = text_column(pa.table({"target": target}), "target").tolist()
    return tuple(texts.count(label) for label in schema.labels)


def _name_of(source: str) -> str:
    location = source.partition("?")[0] if "://" in source else source  # without a URI's options
    stem = location.rpartition(":")[2] if "://" not in location else location
    stem = Path(stem.rstrip("/*")).stem
    return _as_name(stem)


def _as_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:63]
    return name if re.match(NAME_PATTERN, name) else "experiment"


def _head(config: DataConfig, name: str, seen: Table) -> list[str]:
    task = f"{len(seen.classes)} classes" if seen.classes else "a regression"
    lines = [
        f"# {seen.num_rows:,} rows, {seen.num_columns} columns ({seen.num_categorical} of text), {task}.",
        "# Written by `manta init`; every other key keeps its default: `manta check --explain` lists them.",
        f"name: {_yaml(name)}",
        "data:",
        f"  source: {_yaml(config.source)}",
        f"  target: {_yaml(config.target)}",
    ]
    if seen.task_is_said:
        lines.append("  task: classification  # few whole numbers; as they are written, they could also be amounts")
    if config.names:
        lines.append(f"  names: {_yaml(list(config.names))}  # the file has no header line")
    if seen.missing:
        lines.append(f"  missing: {_yaml(list(seen.missing))}  # the table writes ? where a value is missing")
    if seen.ignore:
        lines.append(f"  ignore: {_yaml(list(seen.ignore))}  # empty, or a text of its own in most rows: no use")
    if seen.image_shape:
        reason = "what images are resized to" if seen.has_image_files else "equal whole numbers: read as pixels"
        lines.append(f"  image_shape: {list(seen.image_shape)}  # {reason}")
    if seen.bad:
        lines.append(f"  # {' '.join(seen.bad.split())}")
        lines.append(
            f"  checks: {{max_bad_fraction: {seen.bad_fraction}}}  # without it, the first of them stops a run"
        )
    return lines


def _model(seen: Table) -> list[str]:
    if seen.image_shape:
        return [
            "# Neighbouring pixels belong together, which a convolutional net knows.",
            "model: {kind: convnet, channels: [16, 32]}",
        ]
    width = 64 if seen.num_rows < SMALL_ROWS else 256 if seen.num_rows > LARGE_ROWS else 128
    reason = f"Two layers of {width} suit {seen.num_rows:,} rows; text columns enter through embeddings."
    return [f"# {reason}", f"model: {{kind: mlp, hidden: [{width}, {width}], dropout: 0.1}}"]


def _train(seen: Table) -> list[str]:
    epochs = 60 if seen.num_rows < SMALL_ROWS else 20 if seen.num_rows > LARGE_ROWS else 30
    batch = 64 if seen.num_rows < SMALL_ROWS else 1024 if seen.num_rows > LARGE_ROWS else 256
    steps = max(1, seen.num_rows * 7 // 10 // batch)
    return [
        f"# At most {epochs} passes of about {steps} steps; early stopping usually ends sooner.",
        f"train: {{epochs: {epochs}, global_batch_size: {batch}, peak_lr: 3.0e-3}}",
    ]


def _search(seen: Table) -> list[str]:
    trials = 16 if seen.num_rows > LARGE_ROWS else 24
    lines = ["search:"]
    if _is_rare(seen.classes):
        share = min(seen.classes) / sum(seen.classes)
        lines.append(
            f"  # {share:.1%} of the rows are of the rarer class: accuracy would praise a model that ignores it."
        )
        # The average precision is that of the last class; of a common one it says as little as accuracy.
        is_last = seen.classes[1] < seen.classes[0]
        lines.append(f"  metric: validation/{'average_precision' if is_last else 'roc_auc'}")
    lines += [
        f"  trials: {trials}",
        "  space:",
        "    # The learning rate decides most, and only its order of magnitude matters.",
    ]
    lines.append("    train.peak_lr: {log: [3.0e-4, 3.0e-2]}")
    if seen.image_shape:
        lines += [
            "    # More channels see more kinds of strokes and cost time.",
            "    model.channels: {choice: [[16, 32], [32, 64]]}",
        ]
    else:
        width = 64 if seen.num_rows < SMALL_ROWS else 128
        lines += [
            "    # Narrow, the middle, deep.",
            f"    model.hidden: {{choice: [[{width}], [{width}, {width}], [{2 * width}, {width}, {width}]]}}",
        ]
    lines += ["    # Keeps a model from learning rows by heart.", "    model.dropout: {range: [0.0, 0.4]}"]
    return lines


def _is_rare(classes: tuple[int, ...]) -> bool:
    return len(classes) == 2 and min(classes) / sum(classes) < RARE_CLASS


def _rest() -> list[str]:
    return [
        "# Smaller forms are taken only where they are faster on this machine and lose no more of the score than this.",
        "compress: {max_drop: 0.005}",
        "serve: {port: 8000, replicas: {min: 1, max: 2}}",
    ]


def _yaml(value: object) -> str:
    """One value on one line of YAML."""
    text = re.sub(r"\n\s*", " ", dump_yaml([value]).strip())
    return text.removeprefix("- ") if text.startswith("- ") else text.removeprefix("[").removesuffix("]")
