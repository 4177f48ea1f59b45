"""Reading tables, and staging rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date, datetime

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import SLICE_COLUMN, TableContract
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.evolution import with_gained_columns
from mmrec_lib.lakehouse.session_settings import LARGE_ROWS, MANY_ROWS, for_many_rows, with_settings
from mmrec_lib.lakehouse.staging import Staging, read_parquet
from mmrec_lib.lakehouse.store import store_id
from mmrec_lib.lakehouse.table_files import ListedTable
from mmrec_lib.lakehouse.table_location import table_location
from mmrec_lib.location import filesystem_of


class StoreTables:
    """The tables of one store, as one run reads them, and the rows that it stages.

    Attributes:
        spark: Session.
        run_id: Written into the audit column of every row that this run writes.
        written_at: Written likewise.
    """

    def __init__(self, spark: SparkSession, store: StoreConfig, run_id: str, written_at: datetime) -> None:
        """Bind the store to a session and a run; writes nothing yet."""
        self.spark = spark
        self.store = store
        self.run_id = run_id
        self.written_at = written_at
        self._ensured: set[str] = set()
        self._versions: dict[str, int | None] = {}
        self._location = table_location(spark, store)
        self._staging = Staging(store.staging_root, store_id(store), run_id)
        self._stage_numbers = itertools.count(1)

    def table(self, name: str) -> str:
        """SQL identifier of a table: a path in path mode, a three-part name in catalogue mode."""
        return self._location.identifier(name)

    def location(self, name: str) -> str | None:
        """Folder of a table in path mode; None in catalogue mode."""
        return self._location.folder(name)

    def table_source(self, name: str) -> str:
        """A table's folder or name, for lineage."""
        return self._location.source(name)

    @property
    def tables_root(self) -> str:
        """Place of the tables, for people."""
        return self._location.root

    def exists(self, name: str) -> bool:
        """Tell if the table has been created."""
        return name in self._ensured or self._location.exists(name)

    def listed(self, name: str) -> ListedTable | None:
        """Files of a table where its log tells them; None where it does not, and in catalogue mode."""
        return self._location.listed(name)

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """A table with its audit columns; an empty frame of the same schema when it does not exist yet.

        Columns that the contract has gained since the table was written are there, and null.
        """
        if not self.exists(name):
            return self.spark.createDataFrame([], CONTRACTS[name].schema)
        if version is None:
            stored = self._location.read(name)
        else:
            stored = self.spark.sql(f"SELECT * FROM {self.table(name)} VERSION AS OF {version}")
        return with_gained_columns(stored, CONTRACTS[name])

    def current_slice(self, name: str) -> date | None:
        """Date of the slice that readers of a published table should take; None where nothing was published yet.

        It is the one that the last run published. In a store of an earlier version, which has no table that names
        it, it is the newest one.
        """
        named = self.read(CONTRACTS[name].slices_in).where(F.col("table_name") == name).select(SLICE_COLUMN).collect()
        found: date | None = (named or self.read(name).agg(F.max(SLICE_COLUMN)).collect())[0][0]
        return found

    def data_version(self, name: str) -> int | None:
        """Version of the last commit that changed rows; None when there is no table or no row was ever written.

        Maintenance does not count. Remembered until this run writes the table: a lock (path mode) or the
        scheduler's one-run-at-a-time rule (catalogue mode) keeps other writers out.
        """
        if name not in self._versions:
            self._versions[name] = self._location.newest_change(name) if self.exists(name) else None
        return self._versions[name]

    def data_versions(self, names: tuple[str, ...]) -> dict[str, int | None]:
        """`data_version` of several tables."""
        return {name: self.data_version(name) for name in names}

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Compute rows once into this run's staging folder and read them back, cutting their lineage."""
        path = self.stage_path(name, rows)
        return read_parquet(self.spark, nullable(rows.schema), [path])

    def large_rows(self) -> AbstractContextManager[None]:
        """Inside the block rows of tens of megabytes are read and handed to workers, a few at a time."""
        return with_settings(self.spark, LARGE_ROWS)

    def many_rows(self, num_rows: int) -> AbstractContextManager[None]:
        """Inside the block a session for small tables works as one for large ones, where so many rows are worth it.

        What was read or staged before the block stays one partition.
        """
        return with_settings(self.spark, for_many_rows(self.spark) if num_rows >= MANY_ROWS else {})

    def stage_path(self, name: str, rows: DataFrame) -> str:
        """Write rows as Parquet into the staging folder; returns the folder."""
        path = self.staging_path(f"{name}-{next(self._stage_numbers)}")
        rows.write.mode("error").parquet(path)
        return path

    def staging_path(self, name: str) -> str:
        """A place in this run's folder for files that workers read; gone when the run ends."""
        return self._staging.path(name)

    def from_arrow(self, table: pa.Table, contract: TableContract) -> DataFrame:
        """Rows made in this process as a frame, through a staged Parquet file; columns as in the contract."""
        path = self.staging_path(f"{contract.name}-{next(self._stage_numbers)}")
        fs, root = filesystem_of(path)
        fs.create_dir(root)
        pyarrow.parquet.write_table(table, f"{root}/rows.parquet", filesystem=fs)
        return read_parquet(self.spark, nullable(contract.input_schema), [path])

    def stream_arrow(self, name: str, rows: DataFrame, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Bring rows to this process as Arrow batches through staged files; memory holds one batch at a time."""
        fs, root = filesystem_of(self.stage_path(name, rows))
        infos = fs.get_file_info(pyarrow.fs.FileSelector(root))
        files = sorted(info.path for info in infos if info.path.endswith(".parquet"))
        yield from pyarrow.dataset.dataset(files, filesystem=fs, format="parquet").to_batches(batch_size=batch_rows)

    def remove_staging(self) -> None:
        """Delete this run's temporary files."""
        self._staging.remove()

    def remove_stale_staging(self, *, holds_lock: bool) -> None:
        """Delete what runs of this store left that were killed; see `Staging.remove_stale`."""
        self._staging.remove_stale(holds_lock=holds_lock)


def nullable(schema: StructType) -> StructType:
    """The schema as Parquet gives it back: every column nullable."""
    return StructType.fromJson({**schema.jsonValue(), "fields": [{**f.jsonValue(), "nullable": True} for f in schema]})
