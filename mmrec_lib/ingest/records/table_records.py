"""Delta tables of a landing folder → parsed records: rows as they are, deleted ones as deletions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from mmrec_lib.ingest.landing.arrivals import Arrivals
from mmrec_lib.ingest.landing.delivery import Delivery, FileProblem
from mmrec_lib.ingest.landing.parquet import batch_rows
from mmrec_lib.ingest.landing.raw_row import RawRow
from mmrec_lib.ingest.records.frames import DELETABLE_KINDS, RecordBatches, parsed_schema
from mmrec_lib.ingest.records.parse import ID_FIELDS
from mmrec_lib.ingest.records.values import Rules
from mmrec_lib.lakehouse.delta_source import IS_DELETE, ROW_NUMBER, DeltaReadError, read_delta
from mmrec_lib.lakehouse.tables import Lakehouse

_log = logging.getLogger(__name__)


def read_tables(
    lakehouse: Lakehouse, arrivals: Arrivals, rules: Rules, *, whole: Collection[str]
) -> tuple[Arrivals, dict[str, list[DataFrame]]]:
    """The records of the Delta tables among the deliveries.

    A row that the change feed shows as deleted deletes its item or user. Events, reviews, edges and transcripts stay:
    what happened is not undone by a table that forgets it.

    Args:
        lakehouse: The store.
        arrivals: What arrived.
        rules: What records are held to.
        whole: Kinds of which the whole version is read and never the change feed.

    Returns:
        The arrivals, a table that Spark cannot read with its problem; kind → parsed records.
    """
    deliveries, frames = [], dict[str, list[DataFrame]]()
    for delivery in arrivals.deliveries:
        if delivery.table is None or delivery.problem is not None:
            deliveries.append(delivery)
            continue
        path, kind = delivery.file.path, delivery.kind
        read = replace(delivery.table, changes_from=None) if kind in whole else delivery.table
        problem = None
        if kind == "provided_vector":
            problem = "vectors are read from vectors/<modality>[-<encoder>].parquet, not from a Delta table"
        else:
            try:
                rows = read_delta(
                    lakehouse, arrivals.landing.uri_of(path), ID_FIELDS[kind], read.version, read.changes_from
                )
                frames.setdefault(kind, []).append(_parsed(rows, delivery, rules))
            except DeltaReadError as error:
                problem = f"this Delta table cannot be read: {error}"
        refused = None if problem is None else FileProblem("unreadable_file", f"{path}: {problem}", b"")
        deliveries.append(replace(delivery, problem=refused))
    return replace(arrivals, deliveries=deliveries), frames


def _parsed(rows: DataFrame, delivery: Delivery, rules: Rules) -> DataFrame:
    kind = delivery.kind
    if kind not in DELETABLE_KINDS:
        num_deleted = rows.where(IS_DELETE).count()
        if num_deleted:
            _log.warning("%s: %d deleted rows of kind %s are not applied", delivery.file.path, num_deleted, kind)
            rows = rows.where(~F.col(IS_DELETE))
    reader = _TableReader(kind, delivery.file.path, delivery.file_id, rules)
    return rows.mapInArrow(reader, parsed_schema(kind))


@dataclass(frozen=True)
class _TableReader:
    """Reader of rows of a table in a worker: a function of Arrow batches that pickles with its rules."""

    kind: str
    path: str
    file_id: str
    rules: Rules

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        records = RecordBatches(self.kind, self.path, self.file_id, self.rules)
        for batch in batches:
            yield from records.of(self._rows(batch), given={})

    def _rows(self, batch: pa.RecordBatch) -> Iterator[RawRow]:
        numbers = batch.column(ROW_NUMBER).to_pylist()
        deleted = batch.column(IS_DELETE).to_pylist()
        rows = batch.drop_columns([ROW_NUMBER, IS_DELETE])
        for row in batch_rows(rows, 0, self.rules.max_record_bytes):
            is_delete = row.values is not None and deleted[row.line]
            values = {**(row.values or {}), "op": "delete"} if is_delete else row.values
            yield replace(row, line=numbers[row.line], values=values)
