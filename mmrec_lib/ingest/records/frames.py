"""Landing pieces → a DataFrame of parsed records: the columns of the kind's table, or a reason and the raw bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.ingest.landing import LandingFolder, Split
from mmrec_lib.ingest.landing.names import folder_fields, format_of
from mmrec_lib.ingest.landing.rows import LostRows, RawRow, csv_row, iter_rows, iter_vector_batches, split_fields
from mmrec_lib.ingest.records.folder_fields import with_folder_fields
from mmrec_lib.ingest.records.parse import Parsed, parse_record
from mmrec_lib.ingest.records.spellings import json_text
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.ingest.records.vectors import parse_vectors

SOURCE = ("source_path", "source_file_id", "source_line")
IMMUTABLE_KINDS = ("event", "review")
DELETABLE_KINDS = ("item", "user", "user_control", "query", "answer", "label")
CONTRADICTABLE_KINDS = ("label",)
"""Kinds of which two records of one version that say something else are a fault of the data, not an update."""

_NOTE = StructType(
    [
        StructField("field", StringType()),
        StructField("reason", StringType()),
        StructField("detail", StringType()),
        StructField("raw", BinaryType()),
    ]
)
_EXTRA = (
    StructField("_deleted", BooleanType()),
    StructField("_derived_id", BooleanType()),
    StructField("_notes", ArrayType(_NOTE)),
    StructField("_raw", BinaryType()),
    StructField("_reason", StringType()),
    StructField("_detail", StringType()),
    StructField("_record_id", StringType()),
)
_BATCH_ROWS = 2048
_BATCH_BYTES = 8 * 2**20
_MAX_PARTITIONS = 1024

_ARROW: dict[type[DataType], pa.DataType] = {
    StringType: pa.string(),
    DoubleType: pa.float64(),
    FloatType: pa.float32(),
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    BinaryType: pa.binary(),
    TimestampType: pa.timestamp("us", tz="UTC"),
}


def parsed_schema(kind: str) -> StructType:
    """Columns of a parsed record: those of the kind's table, all nullable, and what the ingest keeps besides.

    `_deleted` marks `op: delete`, `_derived_id` a key that is a hash because the source gave none. `_notes` are the
    fields of an accepted record that could not be kept as delivered. `_raw` holds the bytes of rejected records and of
    those that may still be refused (events and reviews); `_reason`, `_detail` and `_record_id` tell why one was
    rejected.
    """
    columns = [StructField(column.name, column.type) for column in CONTRACTS[kind].columns]
    return StructType([*columns, *_EXTRA])


def read_records(
    spark: SparkSession, landing: LandingFolder, kind: str, splits: Sequence[Split], rules: Rules
) -> DataFrame:
    """The records of landing pieces of one kind, parsed in the workers; see `parsed_schema`."""
    frame = spark.createDataFrame([tuple(asdict(split).values()) for split in splits], _SPLIT_SCHEMA)
    if len(splits) > 1:
        frame = frame.repartition(min(len(splits), _MAX_PARTITIONS), "file_id", "start")
    return frame.mapInArrow(_SplitReader(landing, kind, rules), parsed_schema(kind))


def reread_raw(quarantine: DataFrame, kind: str, rules: Rules) -> DataFrame:
    """Quarantined records of one kind, parsed again from their raw bytes; see `parsed_schema`.

    For rows of stores that kept nothing else of records that wait for their item.
    """
    rows = quarantine.select(*SOURCE, F.col("raw").alias("_raw"))
    return rows.mapInArrow(_RawReader(kind, rules), parsed_schema(kind))


def arrow_schema(schema: StructType) -> pa.Schema:
    """Arrow schema of a Spark schema, with microseconds UTC for times."""
    return pa.schema([pa.field(field.name, _arrow_type(field.dataType)) for field in schema])


def _arrow_type(spark_type: DataType) -> pa.DataType:
    if isinstance(spark_type, ArrayType):
        return pa.list_(_arrow_type(spark_type.elementType))
    if isinstance(spark_type, MapType):
        return pa.map_(_arrow_type(spark_type.keyType), _arrow_type(spark_type.valueType))
    if isinstance(spark_type, StructType):
        return pa.struct([pa.field(field.name, _arrow_type(field.dataType)) for field in spark_type])
    return _ARROW[type(spark_type)]


_SPARK_OF_PYTHON: dict[str, DataType] = {"int": LongType(), "int | None": LongType()}
_SPLIT_SCHEMA = StructType(
    [StructField(field.name, _SPARK_OF_PYTHON.get(str(field.type), StringType())) for field in fields(Split)]
)


@dataclass(frozen=True)
class _SplitReader:
    """Reader of splits in a worker: a function of Arrow batches that pickles with its rules."""

    landing: LandingFolder
    kind: str
    rules: Rules

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                split = Split(**row)
                if self.kind == "provided_vector":
                    yield from self._read_vectors(split)
                else:
                    yield from self._read(split)

    def _read_vectors(self, split: Split) -> Iterator[pa.RecordBatch]:
        schema = arrow_schema(parsed_schema(self.kind))
        for part in iter_vector_batches(self.landing, split):
            if isinstance(part, tuple):
                yield parse_vectors(part[1], split, part[0], schema, self.rules)
            else:
                yield from self._refused(split, part.rows() if isinstance(part, LostRows) else [part])

    def _refused(self, split: Split, rows: Iterable[RawRow]) -> Iterator[pa.RecordBatch]:
        yield from RecordBatches(self.kind, split.path, split.file_id, self.rules).of(rows, given={})

    def _read(self, split: Split) -> Iterator[pa.RecordBatch]:
        rows = iter_rows(self.landing, split, self.rules.max_record_bytes)
        yield from RecordBatches(self.kind, split.path, split.file_id, self.rules).of(rows, given=split_fields(split))


@dataclass(frozen=True)
class RecordBatches:
    """Turns the rows of one delivery into Arrow batches of parsed records."""

    kind: str
    path: str
    file_id: str
    rules: Rules

    def of(self, rows: Iterable[RawRow], *, given: Mapping[str, str | None]) -> Iterator[pa.RecordBatch]:
        """Batches of bounded size.

        Args:
            rows: Rows as their format gives them.
            given: Fields that the folders of the file give.
        """
        builder = _BatchBuilder(self.kind)
        for row in rows:
            parsed = _judge(self.kind, row, self.rules, given)
            builder.add(parsed, (self.path, self.file_id, row.line), row.raw, row.values)
            if builder.is_full:
                yield builder.flush()
        yield builder.flush()


@dataclass(frozen=True)
class _RawReader:
    """Reader of raw bytes from quarantine in a worker."""

    kind: str
    rules: Rules

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            builder = _BatchBuilder(self.kind)
            for row in batch.to_pylist():
                raw, path = row["_raw"] or b"", row["source_path"] or ""
                is_csv = format_of(path) == "csv"
                cut = csv_row(raw, self.rules.max_record_bytes) if is_csv else RawRow(0, raw)
                parsed = _judge(self.kind, cut, self.rules, folder_fields(path))
                builder.add(parsed, (path, row["source_file_id"], row["source_line"]), raw, None)
            yield builder.flush()


def _judge(kind: str, row: RawRow, rules: Rules, given: Mapping[str, str | None]) -> Parsed:
    if row.problem is not None:
        return Parsed(None, row.reason, row.problem, None)
    values = with_folder_fields(row.raw, row.values, given, rules) if given else row.values
    return parse_record(kind, row.raw, values, rules)


class _BatchBuilder:
    """Collects parsed records into Arrow batches of bounded size."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._schema = arrow_schema(parsed_schema(kind))
        self._keep_raw = kind in IMMUTABLE_KINDS or kind in CONTRADICTABLE_KINDS
        self._start()

    def _start(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self._rows) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES

    def add(
        self, parsed: Parsed, source: tuple[str, str, int], raw: bytes | None, values: dict[str, Any] | None
    ) -> None:
        row = parsed.columns if parsed.columns is not None else {}
        row.update(zip(SOURCE, source, strict=True))
        if parsed.reason is not None or self._keep_raw:
            row["_raw"] = raw if raw is not None else _as_json(values)
        row["_reason"], row["_detail"], row["_record_id"] = parsed.reason, parsed.detail, parsed.record_id
        if parsed.notes:
            row["_notes"] = [asdict(note) for note in parsed.notes]
            self._bytes += sum(len(note.raw) for note in parsed.notes)
        attributes = row.get("attributes")
        if attributes is not None:
            row["attributes"] = list(attributes.items())
        self._bytes += _size_of(row)
        self._rows.append(row)

    def flush(self) -> pa.RecordBatch:
        arrays = [pa.array([row.get(field.name) for row in self._rows], field.type) for field in self._schema]
        self._start()
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _size_of(row: Mapping[str, Any]) -> int:
    """About how many bytes the texts of a row take, notes aside."""
    size = 0
    for name, value in row.items():
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, list) and name != "_notes":
            size += sum(len(part) if isinstance(part, str) else sum(map(len, part)) for part in value)
    return size


def _as_json(values: dict[str, Any] | None) -> bytes:
    # NaN stays readable in the raw bytes: that is often what the record is in quarantine for.
    try:
        return json_text(values, allow_nan=True).encode("utf-8", "replace")
    except (ValueError, TypeError, RecursionError):
        return json.dumps(str(values)).encode()
