"""Rows that workers write themselves: Arrow goes straight into staged Parquet files, and back from them to workers.

Between Python workers and files Spark would turn each Arrow batch into rows and those into Parquet, which for nested
lists costs several times what pyarrow takes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from mmrec_lib.lakehouse.arrow_tables import arrow_schema
from mmrec_lib.lakehouse.staging import read_parquet
from mmrec_lib.location import filesystem_of

Work = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What a task does with its batches."""

_WRITTEN = "file string, num_rows long"
# Rows of lists or vectors that a worker reads at once.
_READ_ROWS = 4_096


@dataclass(frozen=True)
class WorkerFiles:
    """Staged Parquet files, each written by one task that succeeded.

    Attributes:
        paths: Files, paths or URIs, in the order of the tasks; none where there were no rows.
        schema: Their columns.
        num_rows: Rows of all files.
    """

    paths: tuple[str, ...]
    schema: StructType
    num_rows: int

    def frame(self, spark: SparkSession) -> DataFrame:
        """Their rows for Spark."""
        if not self.paths:
            return spark.createDataFrame([], self.schema)
        return read_parquet(spark, self.schema, self.paths)

    def map_in_workers(
        self, spark: SparkSession, columns: Sequence[str], work: Work, schema: StructType | str
    ) -> DataFrame:
        """Let workers read the files, a task each.

        Args:
            spark: Session.
            columns: Columns to read.
            work: What a task makes of the batches of its file.
            schema: Columns of its answer.
        """
        paths, names = self.paths, list(columns)

        def read(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in numbers:
                for number in batch["id"].to_pylist():
                    yield from work(_batches(paths[number], names))

        return spark.range(0, len(paths), 1, max(1, len(paths))).mapInArrow(read, schema)


def write_in_workers(rows: DataFrame, work: Work, folder: str, schema: StructType) -> WorkerFiles:
    """Run a task on each partition and keep what it yields in a Parquet file that the worker writes.

    A file counts only where its task said so when it had ended: what a task left that failed, was repeated or was
    overtaken by its copy is in none of the rows.

    Args:
        rows: Partitions of the input.
        work: Work of a task, from the input's batches to batches of `schema`.
        folder: Folder that all workers can write to; made where it is missing.
        schema: Columns of the files.
    """
    arrow = arrow_schema(schema)

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        name, num_rows = f"part-{uuid.uuid4().hex}.parquet", 0
        writer: pyarrow.parquet.ParquetWriter | None = None
        try:
            for batch in work(batches):
                if not batch.num_rows:
                    continue
                if writer is None:
                    files, root = filesystem_of(folder)
                    writer = pyarrow.parquet.ParquetWriter(
                        f"{root}/{name}", arrow, filesystem=files, compression="zstd"
                    )
                writer.write_table(pa.Table.from_batches([batch]).cast(arrow))
                num_rows += batch.num_rows
        finally:
            if writer is not None:
                writer.close()
        if num_rows:
            yield pa.RecordBatch.from_pydict({"file": [name], "num_rows": [num_rows]})

    # By the driver, which removes it.
    files, root = filesystem_of(folder)
    files.create_dir(root, recursive=True)
    written = rows.mapInArrow(write, _WRITTEN).collect()
    return WorkerFiles(
        tuple(f"{folder.rstrip('/')}/{row['file']}" for row in written), schema, sum(row["num_rows"] for row in written)
    )


def _batches(path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    files, place = filesystem_of(path)
    with files.open_input_file(place) as source, pyarrow.parquet.ParquetFile(source) as file:
        yield from file.iter_batches(batch_size=_READ_ROWS, columns=list(columns))
