"""From an experiment to tensors: read, check, split, fit transforms, apply them."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from training.data.checks import Checked, check_rows
from training.data.config import DataConfig, SplitConfig
from training.data.fingerprint import content_digest
from training.data.held_out import require_held_out_fits
from training.data.labels import with_labels
from training.data.leaks import find_leaks, settle_leaks
from training.data.overlap import part_hashes, settle_overlap
from training.data.prepared import Facts, Part, Prepared, told
from training.data.raw import Raw, SourceFacts
from training.data.reference_rows import reference_rows
from training.data.sources import read_sources
from training.data.sources.pii import privacy_of
from training.data.split import Split, columns_left_out, sampled, split_rows
from training.data.stream.choose import should_stream
from training.data.stream.prepare import prepare_stream
from training.data.table import Schema, encode_target, infer_schema, target_scale
from training.data.text_windows import text_part
from training.features import fit_transforms
from training.package.manifest import InputSpec
from training.package.transforms import FeatureEncoder, Transforms, encoder_inputs


def prepare(
    data: DataConfig, base: Path | None = None, quarantine: Path | None = None, code_path: str = ""
) -> Prepared:
    """Read, check, split, fit and apply. Raises DataError for anything that cannot be learned from.

    Args:
        data: what to read and how.
        base: folder that relative paths start from; the working directory by default.
        quarantine: Parquet file for rows that are set aside; nowhere by default. Those of a separate test source go
            to a file beside it, `<name>_test.parquet`.
        code_path: folder that module:function sources are imported from, besides the usual places.
    """
    if should_stream(data, base):
        return prepare_stream(data, base, quarantine)
    tables = read_tables(data, base, quarantine, code_path)
    split, notes, counts = _divide(tables, data)
    prepared = encode_split(tables, data, split, privacy_of(data, base or Path.cwd()).key_check)
    return replace(prepared, counts={**tables.counts, **counts}, notes=(*tables.notes, *notes))


def encode_split(tables: "Tables", data: DataConfig, split: Split, hash_key_check: str = "") -> Prepared:
    """Fit transforms on the training rows of a division and apply them to all its parts; raises as `prepare`.

    Args:
        tables: rows that passed the checks.
        data: how they become model inputs.
        split: which row is in which part.
        hash_key_check: `Privacy.key_check` of the key that columns of `data.pii` were hashed with.
    """
    training_rows = tables.main.raw.table.take(split.train)
    transforms, inputs = fit_transforms(training_rows, tables.schema, data, hash_key_check)
    return _encoded(tables, data, split, transforms, inputs, training_rows)


@dataclass(frozen=True)
class Tables:
    """What was read and passed the checks."""

    main: Checked
    test: Checked | None  # of a separate test source
    schema: Schema
    sources: tuple[SourceFacts, ...]

    @property
    def held_out(self) -> pa.Table | None:
        """The separate test source's rows."""
        return self.test.raw.table if self.test else None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by what happened to them, both sources together."""
        counts = dict(self.main.counts)
        for name, count in (self.test.counts if self.test else {}).items():
            counts[name] = counts.get(name, 0) + count
        return counts

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading and checking have to say."""
        of_test = tuple(f"data.test: {note}" for note in (*self.test.raw.notes, *self.test.notes)) if self.test else ()
        return (*self.main.raw.notes, *self.main.notes, *of_test, *self.schema.notes)


def read_tables(
    data: DataConfig, base: Path | None = None, quarantine: Path | None = None, code_path: str = ""
) -> Tables:
    """Read and check the sources, and find out what the columns are; arguments as of `prepare`."""
    left_out = columns_left_out(data.split)
    main = check_rows(read_sources(data, base, code_path=code_path), data, quarantine)
    main = _labelled(main, data)
    schema = infer_schema(main.raw.table, data.model_copy(update={"ignore": (*data.ignore, *left_out)}))
    test = _read_test(data, schema, base, quarantine, code_path) if data.test else None
    sources = _with_whole(main.raw) + (_with_whole(test.raw) if test else ())
    return Tables(main, test, schema, sources)


def _labelled(checked: Checked, data: DataConfig) -> Checked:
    return replace(checked, raw=replace(checked.raw, table=with_labels(checked.raw.table, data)))


def _with_whole(raw: Raw) -> tuple[SourceFacts, ...]:
    """The sources, and where several were joined the table that they became."""
    if len(raw.sources) == 1:
        return raw.sources
    columns = {field.name: str(field.type) for field in raw.table.schema}
    name = "table" if raw.sources[0].name == "source" else "test table"
    whole = SourceFacts(name, "the sources joined", raw.table.num_rows, columns, content_digest(raw.table))
    return (*raw.sources, whole)


def fingerprint_of(sources: tuple[SourceFacts, ...], split: SplitConfig) -> str:
    """One digest (32 hex) for the contents of all sources; where they lie does not count.

    The order of rows counts, unless they find their part by a hash: the same numbers would then name other rows, and
    a run that goes on would train on those that judge it.
    """
    is_ordered = split.kind != "hash"
    text = "\n".join(f"{source.name} {source.digest} {source.order if is_ordered else ''}" for source in sources)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _read_test(data: DataConfig, schema: Schema, base: Path | None, quarantine: Path | None, code_path: str) -> Checked:
    beside = quarantine.with_name(f"{quarantine.stem}_test{quarantine.suffix}") if quarantine else None
    # With the kinds of training: a small table's columns may look like something else.
    as_trained = data.model_copy(update={"columns": {**schema.features, **data.columns}})
    checked = _labelled(check_rows(read_sources(as_trained, base, data.test, code_path), as_trained, beside), data)
    require_held_out_fits(checked.raw.table, schema, data)
    return checked


def _divide(tables: Tables, data: DataConfig) -> tuple[Split, tuple[str, ...], dict[str, int]]:
    """The parts, without what `data.checks` leaves out of training; notes and counts of it."""
    table, held_out = tables.main.raw.table, tables.held_out
    rows = tables.main.raw.rows
    split = split_rows(table, tables.schema, data, held_out.num_rows if held_out is not None else None, rows)
    hashes_N = part_hashes(table, tables.schema, data)
    test_hashes = part_hashes(held_out, tables.schema, data) if held_out is not None else hashes_N
    others = {"validation": hashes_N[split.validation], "test": test_hashes[split.test]}
    overlap = settle_overlap(hashes_N[split.train], others, data.checks.overlap)
    split = sampled(replace(split, train=split.train[overlap.kept]), table, held_out, tables.schema, data)
    leaks = settle_leaks(find_leaks(table, tables.schema, data, split.train), data.checks.leaks)
    notes = (*split.notes, *filter(None, [overlap.note]), *leaks)
    return split, notes, {"overlap": overlap.num_rows}


def _encoded(
    tables: Tables, data: DataConfig, split: Split, transforms: Transforms, inputs: tuple[InputSpec, ...],
    training_rows: pa.Table,
) -> Prepared:  # fmt: skip
    table, schema = tables.main.raw.table, tables.schema
    encoder = FeatureEncoder(transforms)

    def part(rows: pa.Table) -> Part:
        if transforms.bytes is not None:
            return text_part(rows.column(schema.target), transforms.bytes)
        return Part(encoder(encoder_inputs(rows, inputs)), encode_target(rows, schema, data))

    train, validation = part(training_rows), part(table.take(split.validation))
    test_rows = (tables.held_out if tables.held_out is not None else table).take(split.test)
    mean, scale = target_scale(train.target, schema.task)
    facts = Facts(
        task=schema.task, labels=schema.labels, inputs=inputs, transforms=transforms, target_mean=mean,
        target_scale=scale, fingerprint=fingerprint_of(tables.sources, data.split),
        sources=told(tables.sources),
    )  # fmt: skip
    return Prepared(
        facts, split, train, validation, part(test_rows), test_rows, tables.sources, rows=tables.main.raw.rows,
        test_source_rows=tables.test.raw.rows if tables.test else None,
        reference_rows=reference_rows(training_rows),
    )  # fmt: skip
