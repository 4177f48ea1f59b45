"""Table contracts: one declaration a table, from which DDL, validation and documentation are derived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql.types import DataType, LongType, StringType, StructField, StructType, TimestampType


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Column name; units are part of it.
        type: Spark type.
        comment: What a reader must know, one sentence.
        required: True when the column is never null.
        audit: True when the column tells about the run and is no content: not hashed, not compared.
        in_order: True when equal maps always come with their entries in one order: they are hashed without sorting,
            which is four fifths of what hashing wide rows takes.
    """

    name: str
    type: DataType
    comment: str
    required: bool = False
    audit: bool = False
    in_order: bool = False


@dataclass(frozen=True)
class Check:
    """A condition that every stored row meets; enforced by Delta as a CHECK constraint."""

    name: str
    condition: str


AUDIT_COLUMNS = (
    Column("row_hash", LongType(), "Hash of the row's content columns; tells whether a row changed.", audit=True),
    Column("run_id", StringType(), "Run that last wrote the row; see job_run.", audit=True),
    Column("written_at", TimestampType(), "When the row was last written (UTC).", audit=True),
)


SLICE_COLUMN = "as_of_date"


@dataclass(frozen=True)
class TableContract:
    """A table of the store.

    Attributes:
        name: Table name, a noun.
        layer: bronze, silver, gold or runs.
        comment: What the table holds, one sentence.
        columns: Content columns; the audit columns are added to each table.
        key: Columns that identify a row.
        partition_by: Partition columns; readers and writers replace whole partitions.
        checks: Conditions that Delta enforces.
        retention_days: Rows whose `retention_column` is older are deleted by maintenance; None keeps them.
        retention_column: Date or timestamp column that retention looks at.
        change_feed: True when Delta's change data feed is kept for consumers.
        stats_columns: Columns whose lowest and highest values Delta keeps for each file, so that readers skip files.
            Empty is Delta's default, the first 32 columns, which took a seventh of the time of writing `user_topk`.
        slices_in: Table that names the slice to read, of a table that is published in slices.
    """

    name: str
    layer: str
    comment: str
    columns: Sequence[Column]
    key: Sequence[str]
    partition_by: Sequence[str] = ()
    checks: Sequence[Check] = ()
    retention_days: int | None = None
    retention_column: str | None = None
    change_feed: bool = False
    stats_columns: Sequence[str] = ()
    slices_in: str = "current_slice"

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """Content columns followed by the audit columns."""
        return (*self.columns, *AUDIT_COLUMNS)

    @property
    def has_slices(self) -> bool:
        """True when it is published in slices by date, of which `slices_in` names the one to read."""
        return SLICE_COLUMN in self.partition_by

    @property
    def content_columns(self) -> list[str]:
        """Names of the columns that make up a row's content (key included, audit excluded)."""
        return [column.name for column in self.columns if not column.audit]

    @property
    def schema(self) -> StructType:
        """Spark schema of the stored table, audit columns included."""
        return struct_of(self.all_columns)

    @property
    def input_schema(self) -> StructType:
        """Spark schema of what a job hands to a writer: everything but the audit columns that writers add."""
        return struct_of(self.columns)


def struct_of(columns: Sequence[Column]) -> StructType:
    """Spark schema of columns, comments included."""
    return StructType(
        [StructField(c.name, c.type, nullable=not c.required, metadata={"comment": c.comment}) for c in columns]
    )
