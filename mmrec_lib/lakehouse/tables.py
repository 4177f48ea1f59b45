"""Reading and writing tables: the only code that commits to Delta."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import date, datetime

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.contracts.table import SLICE_COLUMN, TableContract
from mmrec_lib.lakehouse.checksum import ListedTable
from mmrec_lib.lakehouse.commits import MAINTENANCE
from mmrec_lib.lakehouse.config import StoreConfig
from mmrec_lib.lakehouse.creation import create_table
from mmrec_lib.lakehouse.ddl import conform
from mmrec_lib.lakehouse.deletion_vectors import enable_deletion_vectors, purge_deleted
from mmrec_lib.lakehouse.evolution import evolve, is_current, with_gained_columns
from mmrec_lib.lakehouse.merging import (
    OPERATION,
    Staged,
    StoredKeys,
    WriteResult,
    compare_slice,
    completed,
    count_changes,
    differing,
    hashes,
    in_slice,
    merge_statement,
    slice_condition,
)
from mmrec_lib.lakehouse.session_settings import LARGE_ROWS, MANY_ROWS, for_many_rows, with_settings
from mmrec_lib.lakehouse.staging import Staging, read_parquet
from mmrec_lib.lakehouse.store import store_id
from mmrec_lib.lakehouse.table_location import table_location
from mmrec_lib.lakehouse.worker_files import Work, WorkerFiles, write_in_workers
from mmrec_lib.location import filesystem_of


class Lakehouse:
    """The tables of one store, as one run sees them.

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

    # names

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
        """Files of a table where its checksum lists them; None where it does not, and in catalogue mode."""
        return self._location.listed(name)

    # reading

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
        return read_parquet(self.spark, rows.schema, [path])

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

    def stage_in_workers(self, name: str, rows: DataFrame, work: Work, schema: StructType) -> WorkerFiles:
        """Compute rows once, by workers that write them into this run's staging folder themselves.

        Args:
            name: Names the folder.
            rows: Input of the tasks.
            work: See `write_in_workers`.
            schema: Columns of the result.
        """
        return write_in_workers(rows, work, self.staging_path(f"{name}-{next(self._stage_numbers)}"), schema)

    def staging_path(self, name: str) -> str:
        """A place in this run's folder for files that workers read; gone when the run ends."""
        return self._staging.path(name)

    def from_arrow(self, table: pa.Table, contract: TableContract) -> DataFrame:
        """Rows made in this process as a frame, through a staged Parquet file; columns as in the contract."""
        path = self.staging_path(f"{contract.name}-{next(self._stage_numbers)}")
        fs, root = filesystem_of(path)
        fs.create_dir(root)
        pyarrow.parquet.write_table(table, f"{root}/rows.parquet", filesystem=fs)
        return read_parquet(self.spark, contract.input_schema, [path])

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

    # writing

    def ensure(self, name: str) -> None:
        """Create the table if it is missing; else bring columns and constraints to what its contract has now."""
        if name in self._ensured:
            return
        contract, was_there = CONTRACTS[name], self.exists(name)
        has_rows = self.data_version(name) is not None
        if not has_rows:
            # Also when a killed run made the table and no more.
            create_table(self.spark, contract, self.table(name), self._location.folder(name))
        if (has_rows or was_there) and not is_current(self._location.schema(name), contract):
            evolve(self.spark, contract, self.table(name), self._location.load(name))
        self._ensured.add(name)

    def mark_deleted_rows(self, *names: str) -> None:
        """Let tables have deletion vectors from now on, see `deletion_vectors`; their readers must know them."""
        for name in names:
            self.ensure(name)
            enable_deletion_vectors(self.spark, self.table(name))

    def merge(self, name: str, rows: DataFrame | Staged, *, delete_keys: DataFrame | None = None) -> WriteResult:
        """Bring a keyed table to contain `rows`, in one commit or none.

        Args:
            name: Table.
            rows: The contract's content columns, one row a key. Computed twice when the table is empty, else once;
                staged ones are read again instead.
            delete_keys: Key columns of rows to remove; a key that is also in `rows` stays.

        Returns:
            What changed. Nothing is committed when every row is there already with the same content.

        Raises:
            ValueError: When `rows` holds a key twice.
        """
        have = hashes(self.read(name), CONTRACTS[name])
        return self._merge(name, rows, have=have, delete_keys=delete_keys, where={})

    def stored_keys(self, name: str, where: Mapping[str, str | date], owners: DataFrame) -> StoredKeys:
        """Find the rows of a slice that some users or items have, in one pass over its keys.

        Args:
            name: Table.
            where: The slice, see `replace_slice`.
            owners: Some columns of the table's key, such as user_id, one row for each user.
        """
        contract = CONTRACTS[name]
        found = hashes(self.read(name).where(in_slice(where)), contract).join(owners, owners.columns, "left_semi")
        return StoredKeys(name, self.stage(f"keys_{name}", found), where, owners)

    def replace_keys(self, name: str, rows: Staged, stored: StoredKeys) -> WriteResult:
        """Put `rows` in the place of stored rows of some users or items and leave all others, in one commit or none.

        Only files that hold a row that changes are written again.

        Args:
            name: Table.
            rows: The contract's content columns; every row lies in the slice and is of one of the owners.
            stored: See `stored_keys`; what is not in `rows` goes.

        Raises:
            ValueError: When `rows` holds a key twice, or the stored keys are of another table.
        """
        if stored.name != name:
            raise ValueError(f"rows for {name} cannot take the place of rows of {stored.name}")
        return self._merge(name, rows, have=stored.rows, delete_keys=stored.rows, where=stored.where)

    def _merge(
        self,
        name: str,
        rows: DataFrame | Staged,
        *,
        have: DataFrame,
        delete_keys: DataFrame | None,
        where: Mapping[str, str | date],
    ) -> WriteResult:
        """Write the difference between rows and stored ones, which lie in a slice where one is given."""
        contract, is_staged = CONTRACTS[name], isinstance(rows, Staged)
        new = conform(rows.rows if isinstance(rows, Staged) else rows, contract)
        is_fresh = self.data_version(name) is None
        if is_fresh:
            path, changed = None, new.withColumn(OPERATION, F.lit("insert"))
        else:
            # What changed is little; counting it, and a MERGE that reads its source twice, must not compare again.
            compared = new.select(*contract.key, "row_hash") if is_staged else new
            changed = differing(compared, have, contract, delete_keys)
            path = self.stage_path(f"changes_{name}", changed)
            changed = read_parquet(self.spark, changed.schema, [path])
        result = count_changes(changed, contract, path)
        if not result.committed:
            return result
        self.ensure(name)
        rows_changed = completed(changed, new, contract) if is_staged and not is_fresh else changed
        if is_fresh or result.only_inserted:
            self._append(name, rows_changed)
        else:
            self._merge_changes(contract, rows_changed, where, inserts=bool(result.inserted))
        return result

    def append(self, name: str, rows: DataFrame) -> None:
        """Add rows whose keys only this run can have made, in one commit; nothing is compared.

        Args:
            name: Table.
            rows: The contract's content columns.
        """
        self.ensure(name)
        self._append(name, conform(rows, CONTRACTS[name]))

    def require_writable(self, name: str) -> None:
        """Check that this view of the store may write a table; the whole store may write all."""

    def _stamped(self, rows: DataFrame, contract: TableContract, *more: str) -> DataFrame:
        """All columns of a table, audit columns of this run among them, and further ones of `rows`."""
        stamps = {"run_id": F.lit(self.run_id), "written_at": F.lit(self.written_at)}
        named = [stamps[name].alias(name) if name in stamps else F.col(name) for name in contract.schema.names]
        return rows.select(*named, *more)

    def _append(self, name: str, rows: DataFrame) -> None:
        self._save(name, self._stamped(rows, CONTRACTS[name]).write.format("delta").mode("append"))

    def _save(self, name: str, writer: DataFrameWriter) -> None:
        self._location.save(writer, name)
        self._versions.pop(name, None)

    def _merge_changes(
        self, contract: TableContract, changes: DataFrame, where: Mapping[str, str | date], *, inserts: bool
    ) -> None:
        view = f"mmrec_{contract.name}_{uuid.uuid4().hex}"
        self._stamped(changes, contract, OPERATION).createOrReplaceTempView(view)
        try:
            self.spark.sql(merge_statement(contract, self.table(contract.name), view, where, inserts=inserts))
        finally:
            self.spark.catalog.dropTempView(view)
        self._versions.pop(contract.name, None)

    def replace_slice(self, name: str, rows: DataFrame | Staged, where: Mapping[str, str | date]) -> WriteResult:
        """Make a slice of a table consist of exactly `rows`, atomically, in one commit or none.

        Args:
            name: Table.
            rows: The contract's content columns; every row lies in the slice. Staged here, so computed once, unless
                they are staged already.
            where: Column and value pairs that define the slice, such as `{"as_of_date": date(2025, 10, 1)}`.
        """
        contract = CONTRACTS[name]
        self.ensure(name)
        new = conform(rows.rows, contract) if isinstance(rows, Staged) else self.stage(name, conform(rows, contract))
        listed = self._location.listed(name)
        is_new = listed is not None and not listed.may_hold(where)
        if is_new:
            known = rows.num_rows if isinstance(rows, Staged) else None
            result = WriteResult(inserted=new.count() if known is None else known)
        else:
            result = compare_slice(new, hashes(self.read(name).where(in_slice(where)), contract), contract)
        if not result.committed:
            return result
        if is_new:
            self._append(name, new)
        else:
            writer = self._stamped(new, contract).write.format("delta").mode("overwrite")
            self._save(name, writer.option("replaceWhere", slice_condition(where)))
        return result

    # maintenance

    def maintain(self, name: str, retain_hours: int, expired_before: datetime | None) -> dict[str, int]:
        """Delete expired rows, compact small files and remove files that no version of the last hours needs.

        Args:
            name: Table.
            retain_hours: Versions of so many last hours stay readable.
            expired_before: Rows whose retention column is older are deleted, but never those of the current slice;
                None deletes nothing.

        Returns:
            `{"rows_expired", "files_compacted"}`. None of it counts as a change of rows for readers.
        """
        identifier = self.table(name)
        num_expired = 0
        if expired_before is not None:
            condition = f"`{CONTRACTS[name].retention_column}` < '{expired_before:%Y-%m-%d}'"
            current = self.current_slice(name) if CONTRACTS[name].has_slices else None
            if current is not None:
                condition += f" AND `{SLICE_COLUMN}` <> '{current}'"
            num_expired = self.read(name).where(condition).count()
            if num_expired:
                self._delete_as_maintenance(identifier, condition)
        compacted = self.spark.sql(f"OPTIMIZE {identifier}").select("metrics.numFilesRemoved").collect()[0][0]
        purge_deleted(self.spark, identifier)
        self.spark.sql(f"VACUUM {identifier} RETAIN {retain_hours} HOURS")
        return {"rows_expired": num_expired, "files_compacted": int(compacted or 0)}

    def _delete_as_maintenance(self, identifier: str, condition: str) -> None:
        key = "spark.databricks.delta.commitInfo.userMetadata"
        self.spark.conf.set(key, MAINTENANCE)
        try:
            self.spark.sql(f"DELETE FROM {identifier} WHERE {condition}")
        finally:
            self.spark.conf.unset(key)
